"""Readers beside a writer: do answers stay whole while every item of a collection is rewritten, again and again?

    python -m benchmarks.readers
    python -m benchmarks.readers --updates 5 --readers 4

Each update edits every picture and every caption and indexes the folder; readers search, evaluate, ask for the status
and export all the while, as new processes' first calls do and as searchers that stay open do. An answer is wrong
where it fails, is shorter than the collection, names an item without a file or a task, or mixes states: all pictures
of one state have the number of its update in their captions. To results/readers.json.
"""

import argparse
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import machine, markdown, write
from engine.ingest.setup import WorkspaceOptions
from engine.ranking.query import Input
from engine.types import Hit, TrainSettings
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.serving import export
from indexer.serving.index import index
from indexer.serving.search import Searcher, open_searcher
from indexer.serving.status import status
from training.lesson import learn

OUT = Path(__file__).parent / "results" / "readers.json"
TASKS = ("sky", "sea")
QUERY = [Input("text", b"a cloud")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=40, help="of each of two tasks")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = measured(Path(folder), given.updates, given.readers, given.pictures)
    rows: list[dict[str, object]] = [
        {"readers": name, "answers": count.pop("answers", 0), "wrong": sum(count.values()), **dict(count)}
        for name, count in counts.items()
    ]
    print(markdown([{name: row[name] for name in ("readers", "answers", "wrong")} for row in rows]))
    for row in rows:
        if row["wrong"]:
            print(row)
    write(OUT, {**machine(), "updates": given.updates, "pictures": 2 * given.pictures, "rows": rows})


def draw(folder: Path, update: int, pictures: int) -> None:
    """Write every picture and caption of a state over those of the one before."""
    rng = np.random.default_rng(update)
    for task in TASKS:
        (folder / task).mkdir(parents=True, exist_ok=True)
        for number in range(pictures):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
                folder / task / f"{number}.png"
            )
            (folder / task / f"{number}.txt").write_text(f"a cloud {number} over the {task}, state {update}")


def measured(folder: Path, updates: int, readers: int, pictures: int) -> dict[str, Counter[str]]:
    """Run readers through updates; return how many answers of each kind there were, and what was wrong."""
    media, root = folder / "media", folder / ".mneme"
    draw(media, 0, pictures)
    options = WorkspaceOptions(["builtin"])
    for task in TASKS:
        learn(root, [media / task], options, TrainSettings(task, epochs=1))
        index(root, [media / task], options, task=task)
    fork = multiprocessing.get_context("forkserver")
    end, results = fork.Event(), fork.SimpleQueue()
    names = [list(READERS)[number % len(READERS)] for number in range(readers)]
    processes = [
        fork.Process(target=read, args=(name, root, pictures, end, results), daemon=True) for name in names
    ]
    for process in processes:
        process.start()
    for update in range(1, updates + 1):
        draw(media, update, pictures)
        for task in TASKS:
            index(root, [media / task], options, task=task)
    end.set()
    counts: dict[str, Counter[str]] = {}
    for _ in processes:
        name, count = results.get()
        counts.setdefault(name, Counter()).update(count)
    for process in processes:
        process.join()
    return counts


def read(
    name: str, root: Path, pictures: int, end: Event, results: "multiprocessing.SimpleQueue[object]"
) -> None:
    """Answer in one way until the end, and count."""
    count: Counter[str] = Counter()
    while not end.is_set():
        try:
            with READERS[name](root, pictures) as answers:
                for wrong in answers:
                    count["answers"] += 1
                    if wrong:
                        count[wrong] += 1
                    if end.is_set():
                        break
        except Exception as error:  # whatever it is, a reader was not answered
            count["answers"] += 1
            count[f"{type(error).__name__}: {str(error).replace(str(root), '')[:90]}"] += 1
    results.put((name, count))


def fault(hits: list[Hit], expected: int) -> str | None:
    """Return what is wrong with the answer to a query for all captions."""
    if len(hits) != expected:
        return "short"
    if any(not hit.tasks or not hit.text for hit in hits):
        return "an item without a task"
    states = {(hit.task, (hit.text or "").rpartition(" ")[2]) for hit in hits}
    return "mixed states" if len(states) != len(TASKS) else None


def _asked(searcher: Searcher, pictures: int) -> str | None:
    return fault(searcher.search(QUERY, "text", 2 * pictures, searcher.all_tasks()).hits, 2 * pictures)


def _paths(searcher: Searcher, pictures: int) -> str | None:
    hits = searcher.search(QUERY, "image", 2 * pictures, searcher.all_tasks()).hits
    if len(hits) != 2 * pictures:
        return "short"
    return None if all(hit.path and hit.tasks for hit in hits) else "a picture without a path or a task"


@contextmanager
def _searching(root: Path, pictures: int) -> Iterator[Iterator[str | None]]:
    with open_searcher(root) as searcher:
        yield iter([_asked(searcher, pictures), _paths(searcher, pictures)])


@contextmanager
def _staying(root: Path, pictures: int) -> Iterator[Iterator[str | None]]:
    with open_searcher(root) as searcher:
        yield (ask(searcher, pictures) for _ in range(200) for ask in (_asked, _paths))


@contextmanager
def _planned(root: Path, pictures: int) -> Iterator[Iterator[str | None]]:
    with open_searcher(root, policy="reindex") as searcher:
        yield iter([_asked(searcher, pictures)])


@contextmanager
def _before(root: Path, pictures: int) -> Iterator[Iterator[str | None]]:
    with open_searcher(root, at="1") as searcher:
        hits = searcher.search(QUERY, "text", 2 * pictures, searcher.all_tasks()).hits
        yield iter([None if len(hits) >= pictures and all(hit.text for hit in hits) else "short"])


@contextmanager
def _evaluated(root: Path, pictures: int) -> Iterator[Iterator[str | None]]:
    with open_evaluation(root, EvalSettings(policies=("reindex", "matched"))) as evaluation:
        yield iter([None if list(evaluation.results()) else "no results"])


@contextmanager
def _status(root: Path, pictures: int) -> Iterator[Iterator[str | None]]:
    items = status(root).items
    yield iter([None if items["image"] >= 2 * pictures else "short"])


@contextmanager
def _exported(root: Path, pictures: int) -> Iterator[Iterator[str | None]]:
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as folder:
        export.export(root, Path(folder, "out"))
        rows = sum(pq.read_metadata(file).num_rows for file in Path(folder, "out").glob("*.parquet"))
    yield iter([None if rows == 4 * pictures else "short"])


READERS: dict[str, Callable[[Path, int], AbstractContextManager[Iterator[str | None]]]] = {
    "a query": _searching,
    "a searcher that stays open": _staying,
    "query --policy": _planned,
    "query --at": _before,
    "evaluate": _evaluated,
    "status": _status,
    "export": _exported,
}


if __name__ == "__main__":
    main()
