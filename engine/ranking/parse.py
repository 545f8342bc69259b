"""Questions as people put them: texts, files, several at once, one a line."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from engine.errors import Setting, UserError
from engine.media import clean_text, modality_of
from engine.ranking.query import Input, file_input, text_input
from engine.types import Modality


def target_of(question: Sequence[Input], to: Modality | None) -> Modality:
    """Return the modality to be found: the one asked for, else image for a text and text for all else."""
    return to or ("image" if all(one.modality == "text" for one in question) else "text")


def title(question: Sequence[Input]) -> str:
    """Return a question in words."""
    return " + ".join(one.data.decode() if one.modality == "text" else one.name for one in question)


INPUTS = IMAGE, AUDIO, TEXT = Setting("image"), Setting("audio"), Setting("text")
"""What a question can be put together from, as messages name it."""


def read(
    what: str | None,
    files: Mapping[Modality, Sequence[Path]],
    texts: Sequence[str],
    lines: Iterable[str],
) -> Iterator[list[Input]]:
    """Yield what is asked: the lines of a stream for `-`, else one question of one or more inputs."""
    if what == "-":
        if texts or any(files.values()):
            raise UserError(
                f"- reads whole queries from stdin: leave out {IMAGE}, {AUDIO} and {TEXT}", INPUTS
            )
        yield from ([_bare(line.rstrip("\r\n"))] for line in lines if line.strip())
        return
    inputs = [] if what is None else [_bare(what)]
    inputs += [file_input(modality, path) for modality, paths in files.items() for path in paths]
    inputs += [text_input(text) for text in texts]
    if not inputs:
        raise UserError(f"nothing to look for: give a text or a file, or {IMAGE}, {AUDIO}, {TEXT}", INPUTS)
    yield inputs


def _bare(what: str) -> Input:
    """Return what a bare argument means: a file where one of that name exists, else a text."""
    path = Path(what)
    modality = modality_of(path)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # no file can be called so
        is_file = False
    if is_file and modality:
        return file_input(modality, path)
    if is_file:
        raise UserError(
            f"{what} is a file, but no medium that can be read (to search for the words: {TEXT})", [TEXT]
        )
    if modality:
        raise UserError(f"no such file: {what} (to search for the words: {TEXT})", [TEXT])
    return Input("text", clean_text(what).encode())
