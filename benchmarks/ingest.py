"""What `mneme index` of many files costs, when all are new and when none is; beside another checkout of mneme.

    python -m benchmarks.ingest
    python -m benchmarks.ingest --files 2000 --than /path/to/another/checkout --rounds 3

Half of the files are pictures (JPEG, 256 x 192), half are their captions. Checkouts take turns, each run is a process
of its own. "processor seconds" tell more than the clock's where other programs run too. To results/ingest.json.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import machine, markdown, write

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks" / "results" / "ingest.json"
WIDTH, HEIGHT = 256, 192
COLOURS = ("red", "green", "blue", "white", "black", "orange", "purple", "yellow")

Cost = tuple[float, float, float]
"""Seconds on the clock, seconds on the processor, MB of memory at most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--than", type=Path, action="append", default=[], help="another checkout of mneme")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        media = Path(folder, "media")
        draw(media, given.files // 2)
        rows = measured([ROOT, *given.than], media, given.rounds)
    print(markdown(rows))
    write(OUT, {**machine(), "files": given.files, "rounds": given.rounds, "rows": rows})


def draw(folder: Path, pictures: int) -> None:
    """Write pictures of smooth noise, no two alike, each with a caption beside it."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(pictures):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(folder / f"{number:05d}.jpg")
        colour = COLOURS[number % len(COLOURS)]
        (folder / f"{number:05d}.txt").write_text(f"cloud {number} over a {colour} field\n")


def measured(trees: Sequence[Path], media: Path, rounds: int) -> list[dict[str, object]]:
    """Return a row for each checkout and state of the files: medians over rounds, ratios to the last checkout."""
    costs: dict[tuple[Path, str], list[Cost]] = {}
    for _ in range(rounds):
        for tree in trees:
            for state, cost in _states(tree, media):
                costs.setdefault((tree, state), []).append(cost)
    medians = {
        key: [statistics.median(column) for column in zip(*runs, strict=True)] for key, runs in costs.items()
    }
    rows: list[dict[str, object]] = []
    for (tree, state), (wall, processor, memory) in medians.items():
        base = medians[trees[-1], state]
        rows.append(
            {
                "checkout": "this" if tree == ROOT else _commit(tree),
                "files are": state,
                "seconds": round(wall, 2),
                "processor seconds": round(processor, 2),
                "processor ratio": round(processor / base[1], 3),
                "memory, MB": round(memory),
                "memory ratio": round(memory / base[2], 3),
            }
        )
    return rows


def _states(tree: Path, media: Path) -> Iterator[tuple[str, Cost]]:
    """Index into a new workspace, twice; yield what each run cost."""
    with tempfile.TemporaryDirectory() as folder:
        for state in ("new", "known"):
            yield state, _cost(tree, ["index", str(media), "--backbone", "builtin", "-w", folder])


def _cost(tree: Path, arguments: Sequence[str]) -> Cost:
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments],
        cwd=tree,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"error: {tree}: index ended with {process.returncode}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _commit(tree: Path) -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=tree, capture_output=True, text=True, check=True
    )
    return told.stdout.strip()


if __name__ == "__main__":
    main()
