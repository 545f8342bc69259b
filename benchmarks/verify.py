"""What `verify` takes and checksums cost, in seconds of CPU: one features file, two modalities, 512 numbers each.

    python -m benchmarks.verify
    python -m benchmarks.verify --rows 50000

Each cost is of work done in this process, once as it is and once with checksums left out, in turns. Query: a shard is
opened and searched once, warm. Evaluate: all features are read. Index: rows and features are stored. To
results/verify.json.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.report import machine, markdown, write
from engine.ingest.setup import WorkspaceOptions
from engine.ranking.query import Part
from engine.storage import blocks, changes, rows
from engine.types import AllTasks
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.serving.index import index
from indexer.serving.search import open_searcher
from indexer.shards import files as shards
from indexer.verification.verify import verify

OUT = Path(__file__).parent / "results" / "verify.json"
WIDTH = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = costs(Path(folder), given.rows, given.turns)
    print(markdown(measured))
    write(OUT, {**machine(), "rows_of_file": given.rows, "items": 2 * given.rows, "rows": measured})


def costs(folder: Path, count: int, turns: int) -> list[dict[str, object]]:
    """Return seconds of CPU of each kind of work, with and without checksums."""
    draw = np.random.default_rng(0)
    arrays = {m: draw.standard_normal((count, WIDTH), np.float32) for m in ("image", "text")}
    source, root = folder / "rows.npz", folder / ".mneme"
    np.savez(source, image_embedding=arrays["image"], text_embedding=arrays["text"], id=np.arange(count))
    numbers = iter(range(1000))

    def indexed() -> None:
        index(folder / f"{next(numbers)}", [source], WorkspaceOptions(), policy="matched")

    def queried() -> None:
        with open_searcher(root) as searcher:
            searcher.nearest([Part("text", arrays["text"][0])], "image", 10, AllTasks("raw"))

    def evaluated() -> None:
        with open_evaluation(root, EvalSettings(policies=("matched",))) as evaluation:
            list(evaluation.results())

    index(root, [source], WorkspaceOptions(), policy="matched")
    measured = [
        compared(name, work, turns)
        for name, work in (("query", queried), ("index", indexed), ("evaluate", evaluated))
    ]
    for deep in (False, True):
        seconds, _ = timed(partial(verify, root, deep=deep))
        row: dict[str, object] = {"work": "verify --deep" if deep else "verify", "seconds": seconds}
        measured.append({**row, "without": None, "per 100,000 items": round(seconds / (2 * count) * 1e5, 2)})
    return measured


def compared(name: str, work: Callable[[], object], turns: int) -> dict[str, object]:
    """Return the least seconds of CPU that work took, with checksums and without."""
    with_them, without = [], []
    for _ in range(turns):
        with_them.append(timed(work)[0])
        with unchecked():
            without.append(timed(work)[0])
    return {"work": name, "seconds": min(with_them), "without": min(without), "per 100,000 items": None}


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Return seconds of CPU, and what the work returned."""
    began = time.process_time()
    done = work()
    return round(time.process_time() - began, 4), done


@contextmanager
def unchecked() -> Iterator[None]:
    """Leave out all checksums of values and vectors, but not the bytes that these take."""
    with (
        mock.patch.object(rows, "unsealed", lambda value: value[: -rows.CRC.size]),
        mock.patch.object(blocks.Block, "holds", return_value=True),
        mock.patch.object(blocks, "summed", lambda _, row: (row, bytes(4))),
        mock.patch.object(changes, "sealed", lambda value: value + bytes(4) + b"\1"),
        mock.patch.object(shards, "total", return_value=None),
        mock.patch.object(shards, "read_facts", _without_total(shards.read_facts)),
    ):
        yield


def _without_total(read: Callable[[Path], shards.Facts]) -> Callable[[Path], shards.Facts]:
    def facts(folder: Path) -> shards.Facts:
        read_facts = read(folder)
        object.__setattr__(read_facts, "total", None)
        return read_facts

    return facts


if __name__ == "__main__":
    main()
