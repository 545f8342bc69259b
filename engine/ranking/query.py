"""A query from the words and files a person gives to the unit embedding that shards are searched with."""

import errno
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine import media
from engine.backbones import Backbone
from engine.decoding.jobs import Decode, here
from engine.errors import Note, Setting, Unreadable, UserError
from engine.heads.embedder import Embedder
from engine.ids import clean_name, clean_text
from engine.types import Modality


@dataclass(frozen=True)
class Input:
    """One input of a query as a person gave it: a file's bytes and name, or a text's bytes; and its weight."""

    modality: Modality
    data: bytes
    weight: float = 1.0
    name: str = ""


Query: TypeAlias = Sequence[Input]
"""One or more inputs that are looked for together."""

INPUTS = IMAGE, AUDIO, TEXT = Setting("image"), Setting("audio"), Setting("text")
"""What a query can be put together from, as messages name it."""


@dataclass(frozen=True)
class Part:
    """One input of a query as its backbone reads it: features (D,) of one modality, and its weight."""

    modality: Modality
    features: NDArray[np.float32]
    weight: float = 1.0


def text_input(text: str) -> Input:
    """Return a text as an input, its weight parsed off: `2:beach`, `-1:people`."""
    weighted = re.fullmatch(r"([-+]?\d+(?:\.\d+)?):(.+)", text, re.DOTALL)
    weight, words = (float(weighted[1]), weighted[2]) if weighted else (1.0, text)
    if not weight:
        raise UserError(f"a text of weight 0 has no say in a query: {text!r}")
    return Input("text", clean_text(words).encode(), weight)


def file_input(modality: Modality, path: Path) -> Input:
    """Return a file as an input, whichever way the accents of its name are composed."""
    path = media.spelled(path)
    try:
        return Input(modality, media.read(path), name=path.name)
    except Unreadable as error:
        raise UserError(f"cannot read {path}: {error}") from None


def parse_queries(
    argument: str | None,
    files: Mapping[Modality, Sequence[Path]],
    texts: Sequence[str],
    lines: Iterable[str],
) -> Iterator[list[Input]]:
    """Yield the queries that were given: one of all inputs, or with `-` as the argument one for each line.

    Args:
        argument: a text, or a file's name where a file of that name exists; None where there is none.
        files: further inputs by modality; texts: further texts, which may be weighted.
        lines: read only for `-`; blank ones are left out.
    """
    if argument == "-":
        if texts or any(files.values()):
            raise UserError(
                f"- reads whole queries from stdin: leave out {IMAGE}, {AUDIO} and {TEXT}", INPUTS
            )
        yield from ([_bare_input(line.rstrip("\r\n"))] for line in lines if line.strip())
        return
    inputs = [] if argument is None else [_bare_input(argument)]
    inputs += [file_input(modality, path) for modality, paths in files.items() for path in paths]
    inputs += [text_input(text) for text in texts]
    if not inputs:
        raise UserError(f"nothing to look for: give a text or a file, or {IMAGE}, {AUDIO}, {TEXT}", INPUTS)
    yield inputs


def _bare_input(argument: str) -> Input:
    """Return a bare argument as an input: a file where one of that name exists, else a text."""
    path = Path(argument) if argument.isascii() else media.spelled(Path(argument))
    mode, words = _mode(path), f"(to search for the words: {TEXT})"
    is_file = stat.S_ISREG(mode or 0)
    modality = media.modality_at(path) if is_file else media.modality_of(path) if path.suffix else None
    if modality and (is_file or mode == 0):
        return file_input(modality, path)
    if is_file:
        raise UserError(f"{argument} is a file, but no medium that can be read {words}", [TEXT])
    if mode and not stat.S_ISDIR(mode):
        raise UserError(f"{argument} is not a regular file {words}", [TEXT])
    if modality:
        problem = f"{argument} is a folder" if mode else f"no such file: {argument}"
        raise UserError(f"{problem} {words}", [TEXT])
    return Input("text", clean_text(argument).encode())


def as_words(text: str) -> list[Note]:
    """Return what to know of a text that is looked for as words, though a file or folder is called so here."""
    mode = _mode(Path(text))
    if mode and stat.S_ISDIR(mode):
        return [Note(f"{text} is a folder here; searched as words")]
    return [Note(f"{text} is a file here; searched as words: to search by it pass Path(...)")] if mode else []


def _mode(path: Path) -> int | None:
    """Return the mode of what stands at a path; None where nothing can, 0 where that cannot be looked at."""
    try:
        return path.stat().st_mode
    except ValueError:
        return None
    except OSError as error:
        return None if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG) else 0


def target_of(query: Query, to: Modality | None) -> Modality:
    """Return the modality to be found: `to` where it is given, else image for a text and text for all else."""
    return clean_name(to) if to else ("image" if all(part.modality == "text" for part in query) else "text")


def title(query: Query) -> str:
    """Return a query in words."""
    return " + ".join(part.data.decode() if part.modality == "text" else part.name for part in query)


def encode(query: Query, backbone: Callable[[Modality], Backbone], decode: Decode = here) -> list[Part]:
    """Return the features of a query's inputs, each read by the backbone of its modality."""
    parts = []
    for given in query:
        try:
            encoder = backbone(given.modality)
            prepared = encoder.prepare(given.modality, given.data, decode)
        except Unreadable as error:
            raise UserError(
                f"the {given.modality} of the query cannot be used: {error}", error.settings
            ) from None
        features = encoder.encode(given.modality, [prepared])[0]
        parts.append(Part(given.modality, features, given.weight))
    return parts


def compose(embedder: Embedder, version: int, parts: Sequence[Part]) -> NDArray[np.float32]:
    """Embed a query of several parts by a head version (1, E): their weighted sum, of unit length."""
    embedded = [
        part.weight * embedder.embed(version, part.modality, part.features[None]).astype(np.float64)
        for part in parts
    ]
    if len(parts) > 1 and np.linalg.norm(np.sum(embedded, axis=0)) < 1e-9:
        raise UserError("the parts of the query cancel each other out: change their weights")
    return unit_sum(embedded)


def unit_sum(embedded: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
    """Return the sums (Q, E) of the embeddings of queries' parts, each (Q, E), of unit length; zero stays zero."""
    total = np.sum(embedded, axis=0, dtype=np.float64)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (total / np.maximum(length, 1e-12)).astype(np.float32)
    return unit
