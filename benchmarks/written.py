"""How much `index`, `train` and `reindex` write, and keep, over the features and vectors that must stand.

    python -m benchmarks.written
    python -m benchmarks.written --rows 10000

A features file of two arrays (rows x width, float32) is indexed, learned and served anew, each in a process of its
own. Written is what was handed to write calls (`wchar` of /proc/self/io; `write_bytes` counts whole extents of the
page cache, which depend on the file system and on what else happens); kept is the size of the workspace's files on
disk. Both are over the bytes of features and vectors. To results/written.json.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from benchmarks.report import machine, markdown, write
from engine.ingest.setup import WorkspaceOptions
from engine.types import TrainSettings
from indexer.serving.index import index
from indexer.serving.reindex import reindex
from indexer.serving.wanted import ServingRequest
from training.lesson import learn

OUT = Path(__file__).parent / "results" / "written.json"
TASK = "rows"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(Path(folder), given.rows, given.width)
    print(markdown(rows))
    write(OUT, {**machine(), "pairs": given.rows, "width": given.width, "rows": rows})


def measured(folder: Path, count: int, width: int) -> list[dict[str, object]]:
    """Index, learn and reindex a features file; return what each wrote, and what is kept after it, in bytes."""
    source, root = draw(folder / f"{TASK}.npz", count, width), folder / ".mneme"
    must = 2 * count * width * 4 * 2
    rows = []
    for name, command in COMMANDS.items():
        wrote, seconds, memory = apart(partial(command, root, source))
        kept = sum(file.stat().st_blocks * 512 for file in root.rglob("*") if file.is_file())
        store = (root / "store/data.mdb").stat().st_blocks * 512
        rows.append(
            {
                "command": name,
                "written MB": round(wrote / 1e6),
                "written, of what must stand": round(wrote / must, 2),
                "kept MB": round(kept / 1e6),
                "kept, of what must stand": round(kept / must, 2),
                "store MB": round(store / 1e6),
                "seconds": round(seconds, 1),
                "peak MB": round(memory / 1e6),
            }
        )
    return rows


def _index(root: Path, source: Path) -> None:
    index(root, [source], WorkspaceOptions())


def _learn(root: Path, source: Path) -> None:
    learn(root, [], WorkspaceOptions(), TrainSettings(TASK, epochs=1))


def _reindex(root: Path, source: Path) -> None:
    reindex(root, ServingRequest("reindex"))


COMMANDS: dict[str, Callable[[Path, Path], None]] = {
    "index": _index,
    "index, nothing to do": _index,
    "train": _learn,
    "reindex": _reindex,
}


def draw(path: Path, count: int, width: int) -> Path:
    """Write a features file of random numbers."""
    rng = np.random.default_rng(0)
    image, sound = (rng.standard_normal((count, width), np.float32) for _ in range(2))
    np.savez(path, id=[f"row{n}" for n in range(count)], image=image, sound=sound)
    return path


def apart(command: Callable[[], object]) -> tuple[int, float, int]:
    """Run a command in a process of its own; return the bytes it wrote, its seconds, its peak of memory in bytes."""
    context = multiprocessing.get_context("spawn")
    heard, told = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(told, command))
    process.start()
    wrote, seconds, memory = heard.recv()
    process.join()
    return wrote, seconds, memory


def _run(told: Connection, command: Callable[[], object]) -> None:
    before, began = _written(), time.perf_counter()
    command()
    seconds = time.perf_counter() - began
    told.send((_written() - before, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def _written() -> int:
    facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(facts["wchar"])


if __name__ == "__main__":
    main()
