"""Streams of tasks made of a pack: in its order or others, cut by lot, with few pairs, in many parts."""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from engine.types import Relevance

PARTS = 5
FEW = {"train": 20, "val": 5}

Row: TypeAlias = dict[str, Any]
"""A line of metadata.jsonl."""
Dealt: TypeAlias = tuple[list[Row], list[str]]
"""Rows with their new tasks, and those tasks in order."""


def by_lot(rows: list[Row], order: Sequence[str]) -> Dealt:
    """Deal all rows to five tasks by lot, so that no domain shifts."""
    names = [f"part{number}" for number in range(PARTS)]
    return [{**row, "task": names[number % PARTS]} for number, row in enumerate(rows)], names


def few(rows: list[Row], order: Sequence[str]) -> Dealt:
    """Keep 20 training and 5 validation rows of each task."""
    counts: dict[tuple[str, str], int] = {}
    kept = []
    for row in rows:
        group = (row["task"], row["split"])
        counts[group] = counts.get(group, 0) + 1
        if counts[group] <= FEW.get(row["split"], len(rows)):
            kept.append(row)
    return kept, list(order)


def sevenths(rows: list[Row], order: Sequence[str]) -> Dealt:
    """Deal each task's rows to seven, which come round after round: 49 tasks, of domains that return."""
    counts: dict[str, int] = {}
    dealt = []
    for row in rows:
        counts[row["task"]] = counts.get(row["task"], 0) + 1
        dealt.append({**row, "task": f"{row['task']}-{counts[row['task']] % 7}"})
    return dealt, [f"{task}-{number}" for number in range(7) for task in order]


@dataclass(frozen=True)
class Stream:
    """A pack as a stream of tasks.

    Attributes:
        k, relevance: how its answers are judged.
        order: in which its tasks come, as places in the pack's own order; empty: in that.
        deal: how its rows are dealt to other tasks, after they were shuffled.
    """

    pack: str
    k: int
    relevance: Relevance
    order: tuple[int, ...] = ()
    deal: Callable[[list[Row], Sequence[str]], Dealt] | None = None


STREAMS = {
    "scenes": Stream("scenes", 10, "pair"),
    "scenes-backwards": Stream("scenes", 10, "pair", (6, 5, 4, 3, 2, 1, 0)),
    "scenes-mixed": Stream("scenes", 10, "pair", (3, 6, 1, 4, 0, 5, 2)),
    "scenes-at-random": Stream("scenes", 10, "pair", deal=by_lot),
    "scenes-few": Stream("scenes", 10, "pair", deal=few),
    "scenes-49": Stream("scenes", 10, "pair", deal=sevenths),
    "spoken": Stream("spoken", 10, "pair"),
    "sounds": Stream("sounds", 1, "label"),
    "digits": Stream("digits", 1, "label"),
}


def prepare(stream: Stream, data: Path, folder: Path) -> tuple[Path, list[str]]:
    """Return the source of a stream and its tasks in order; a pack that is dealt anew is copied to a folder."""
    source = (data / stream.pack).absolute()
    order = json.loads((source / "tasks.json").read_text(encoding="utf-8"))["order"]
    order = [order[place] for place in stream.order] or order
    if stream.deal is None:
        return source, order
    rows = [json.loads(line) for line in (source / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    random.Random(0).shuffle(rows)
    dealt, tasks = stream.deal(rows, order)
    if not folder.is_dir():
        shutil.copytree(source, folder)
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, dealt)) + "\n", encoding="utf-8")
    return folder, tasks
