"""What the two data sets of Wang et al. 2021 share: files that must be there, splits by seed, the folder written."""

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from engine.errors import Unreadable, UserError
from engine.ids import clean_text
from engine.types import Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")
Counts = Mapping[str, Mapping[Split, int]]
"""Rows of each task and split."""


@dataclass(frozen=True)
class MetadataRow:
    """One line of metadata.jsonl.

    Attributes:
        image: path relative to the folder, with forward slashes.
    """

    id: str
    task: str
    split: Split
    image: str
    texts: Sequence[str]
    labels: Sequence[str]


def present(path: Path, origin: str) -> Path:
    """Return the path of a file that must be there, or say where it can be had."""
    if not path.is_file():
        raise UserError(f"no file {path}: get it from {origin}")
    return path


def cleaned(texts: Sequence[str]) -> list[str]:
    """Return the texts on one line each, less those that mneme would refuse."""
    kept = []
    for text in texts:
        try:
            kept.append(clean_text(" ".join(text.split())))
        except Unreadable:
            continue
    return kept


def draw_splits(ids: Sequence[int], size: int, name: str, seed: int) -> dict[int, Split]:
    """Draw a task's or category's splits: `size` ids for val and for test, the rest for train.

    Fewer than 3 * size ids give a tenth each, and stderr says so.

    Args:
        name: of what is drawn; with the seed it seeds the draw, so that no draw depends on another.
    """
    if len(ids) < 3 * size:
        size = len(ids) // 10
        print(f"{name}: only {len(ids)} found, so {size} each for val and test", file=sys.stderr)
    order = Random(f"{seed} {name}").sample(sorted(ids), len(ids))
    return {id_: "val" if n < size else "test" if n < 2 * size else "train" for n, id_ in enumerate(order)}


def place(image: Path, out: Path, name: str) -> None:
    """Have the image stand in the folder under this name: as it is, as a hard link, else as a copy."""
    target = out / name
    if not target.resolve().is_relative_to(out.resolve()):
        raise UserError(
            f"{name} leads out of {out}, where mneme does not read: name another folder with --out"
        )
    if target.exists():
        if target.samefile(image) or target.stat().st_size == image.stat().st_size:
            return
        raise UserError(f"{target} is not the file {image}: name another folder with --out")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(image.resolve(), target)
    except OSError:  # another file system, or one without hard links
        copy = target.with_name(f"{target.name}.part")
        shutil.copyfile(image, copy)
        copy.replace(target)


def claim(out: Path, prefix: str) -> None:
    """Refuse a folder whose metadata.jsonl came from elsewhere: its first id has not our prefix."""
    table = out / "metadata.jsonl"
    if table.exists():
        with table.open("rb") as file:
            if not file.readline().startswith(f'{{"id": "{prefix}'.encode()):
                raise UserError(f"{table} was not written by this script: name another folder with --out")


def write(out: Path, rows: Sequence[MetadataRow]) -> None:
    """Write metadata.jsonl, in one step."""
    out.mkdir(parents=True, exist_ok=True)
    part = out / "metadata.jsonl.part"
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
    part.replace(out / "metadata.jsonl")


def summary(rows: Sequence[MetadataRow], paper: Counts) -> str:
    """Return the rows of each task and split beside the paper's, tab-separated."""
    counts = Counter((row.task, row.split) for row in rows)
    lines = [
        f"{task}\t{split}\t{counts[task, split]}\t{paper[task][split]}" for task in paper for split in SPLITS
    ]
    return "\n".join(["task\tsplit\trows\tpaper", *lines])


def exit_code(main: Callable[[], None]) -> int:
    """Run a script's main; a person's error is one line on stderr and exit 1."""
    try:
        main()
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
