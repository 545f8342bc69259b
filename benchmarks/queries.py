"""How fast is a shard searched? 1 to 256 queries, beside bare FAISS at its better setting for each.

    python -m benchmarks.queries
    python -m benchmarks.queries --threads 1 --rounds 50

100,000 drawn unit vectors of width 512. ours: ten items by `Shard.search`, vectors mapped from a file, exact scores
and ids. bare: ten rows by faiss.IndexFlatIP, vectors in memory, vector by vector (up to 4 queries; beyond, it is many
times slower) or by BLAS, which its distance_compute_blas_threshold decides: the faster of the two counts. All take
turns in one process, round by round, with new queries each; a process for each number of threads. Milliseconds are
medians; ratio is the median over the rounds of bare / ours, which other work on the machine hardly moves.
To results/queries.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import machine, markdown, write
from engine.types import ShardKey
from indexer.shards import files as shards
from indexer.shards.shard import build_shard, load_faiss

OUT = Path(__file__).parent / "results" / "queries.json"
QUERIES = (1, 2, 4, 16, 256)
SEED = 0
K = 10
NEVER = (1 << 31) - 1
FEW = 4
"""Queries that bare FAISS is also given to compare vector by vector."""

Vectors = NDArray[np.float32]
Search = Callable[[Vectors], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.items, given.width, given.rounds)))
        return
    rows = [row for threads in given.threads for row in _with_threads(threads, given)]
    sizes = {"items": given.items, "width": given.width, "rounds": given.rounds}
    write(OUT, {**machine(), "seed": SEED, **sizes, "rows": rows})
    print(markdown(rows))


def _with_threads(threads: int, given: argparse.Namespace) -> list[dict[str, object]]:
    sizes = ["--items", given.items, "--width", given.width, "--rounds", given.rounds]
    measured = subprocess.run(
        [sys.executable, "-m", "benchmarks.queries", "--child", *map(str, sizes)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return [{"threads": threads, **row} for row in json.loads(measured.stdout)]


def measure(items: int, width: int, rounds: int) -> list[dict[str, object]]:
    """Return a row for each number of queries, on as many threads as this process has."""
    draw = np.random.default_rng(SEED)
    vectors = _unit(draw, items, width)
    faiss = load_faiss()
    index = faiss.IndexFlatIP(width)
    index.add(vectors)

    def bare(threshold: int) -> Search:
        def search(queries: Vectors) -> object:
            faiss.cvar.distance_compute_blas_threshold = threshold
            return index.search(queries, K)

        return search

    with tempfile.TemporaryDirectory() as scratch:
        key, folder = ShardKey("task", "image", 0, 0), Path(scratch) / "v0000-00000000"
        made = build_shard(key, [f"{n:032x}" for n in range(items)], vectors)
        shards.write(made, folder, backbone="", digest="0" * 32)
        shard = shards.read(folder, key, "")
        ways = {"vector by vector": bare(NEVER), "by BLAS": bare(1), "ours": lambda x: shard.search(x, K)}
        return [_row(ways, [_unit(draw, count, width) for _ in range(rounds + 2)]) for count in QUERIES]


def _row(ways: Mapping[str, Search], batches: list[Vectors]) -> dict[str, object]:
    """Time all ways on batches of queries (Q, E) in turn, the first two to warm up."""
    count = len(batches[0])
    taken = {name: search for name, search in ways.items() if count <= FEW or name != "vector by vector"}
    took: dict[str, list[float]] = {name: [] for name in taken}
    for batch in batches:
        for name, search in taken.items():
            took[name].append(_seconds(search, batch))
    medians = {name: statistics.median(took[name][2:]) for name in taken}
    best = min((name for name in medians if name != "ours"), key=medians.__getitem__)
    ratios = [bare / ours for bare, ours in zip(took[best][2:], took["ours"][2:], strict=True)]
    return {
        "queries": count,
        **{f"{name}, ms": round(1e3 * medians[name], 1) if name in medians else "" for name in ways},
        "bare / ours": round(statistics.median(ratios), 2),
    }


def _seconds(search: Search, queries: Vectors) -> float:
    began = time.perf_counter()
    search(queries)
    return time.perf_counter() - began


def _unit(draw: np.random.Generator, count: int, width: int) -> Vectors:
    rows = draw.standard_normal((count, width), np.float32)
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


if __name__ == "__main__":
    main()
