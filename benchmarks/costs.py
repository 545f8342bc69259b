"""What policies cost: seconds and bytes of a reindex, queries of many heads, evaluation beside its bare products.

    python -m benchmarks.costs
    python -m benchmarks.costs policies --sizes 1000 10000 100000
    python -m benchmarks.costs latency --tasks 7 50 1000
    python -m benchmarks.costs evaluate --items 100000 --queries 10000

Random features of two modalities; heads of random weights, mlp of width 512 (latency: linear, width 128).
policies: two tasks of so many items each, built as no-reindex; then `reindex` to each policy, and back. Beside it the
bare work: reading the same features and passing them through the head, and encoding pictures again by `builtin`.
latency: 100,000 items in so many tasks under matched: the first answer of a process that has imported everything, and
the median of later ones. evaluate: three lessons, every policy and merge, both directions; beside it every product
of features with heads and of queries with galleries that it needs, made alone. Ratios are of one run; as many threads
as OMP_NUM_THREADS says. To results/costs.json.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import machine, markdown, write
from benchmarks.synthetic import MODALITIES, Shape, make_workspace
from engine import backbones
from engine.heads.embedder import BLOCK, Embedder
from engine.ranking.query import Part
from engine.storage.store import Store
from engine.storage.workspace import open_at
from engine.types import AllTasks, KnownTask, PolicyName
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.serving.reindex import reindex, rollback
from indexer.serving.search import Searcher, open_searcher
from indexer.serving.wanted import ServingRequest
from indexer.shards.shard import Shard
from studies.demo import pictures

OUT = Path(__file__).parent / "results" / "costs.json"
POLICIES: Sequence[PolicyName] = get_args(PolicyName)
QUERIES, WIDTH = 30, 128
"""Of latency: how many are asked, and how wide their features are."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--tasks", nargs="+", type=int, default=[7, 50, 1000])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=10_000)
    given = parser.parse_args()
    parts = given.parts or list(PARTS)
    if len(parts) > 1:  # each in a process of its own, whose peak of memory is its own
        options = [word for word in sys.argv[1:] if word not in PARTS]
        for name in parts:
            subprocess.run([sys.executable, "-m", "benchmarks.costs", name, *options], check=True)
        return
    for name in parts:
        with tempfile.TemporaryDirectory() as scratch:
            rows = PARTS[name](given, Path(scratch))
        others = json.loads(OUT.read_bytes()) if OUT.is_file() else {}
        write(OUT, {**others, name: {**machine(), "rows": rows}})
        print(f"{name}\n\n{markdown(rows)}\n")


def policies(given: argparse.Namespace, scratch: Path) -> list[dict[str, object]]:
    """Bring an index to every policy and back."""
    rows: list[dict[str, object]] = []
    pictured = _pictures_a_second(scratch / "pictures")
    for size in given.sizes:
        root = make_workspace(scratch / str(size), ["old", "new"], Shape(size))
        bare = _bare_seconds(root)
        for policy in (name for name in POLICIES if name != "no-reindex"):
            before = {path for path in (root / "shards").rglob("*") if path.is_file()}
            began = time.perf_counter()
            summary = reindex(root, ServingRequest(policy, budget=0.1))
            seconds = time.perf_counter() - began
            new = [path for path in (root / "shards").rglob("*") if path.is_file() and path not in before]
            items = sum(json.loads(p.read_bytes())["rows"] for p in new if p.name == "shard.json")
            rate = items / seconds if policy == "reindex" else 0.0
            rows.append(
                {
                    "items a task and modality": size,
                    "policy": policy,
                    "seconds": round(seconds, 2),
                    "shards": summary.shards_built,
                    "items embedded": items,
                    "MB read": round(items * 512 * 4 / 1e6, 1),
                    "MB written": round(sum(path.stat().st_size for path in new) / 1e6, 1),
                    "share of the bare rate": round(bare / seconds, 2) if rate else "",
                    "over encoding pictures": round(rate / pictured) if rate else "",
                }
            )
            rollback(root)
    return rows


def _bare_seconds(root: Path) -> float:
    """Read the features of the old task and pass them through the newest head, and nothing else (s)."""
    workspace = open_at(root)
    with Store(workspace.store) as store:
        pairs = [pair for pair in store.pairs() if pair.task == "old"]
        embedder = Embedder(workspace)
        began = time.perf_counter()
        for modality in MODALITIES:
            ids = sorted({id for pair in pairs for id in pair.items[modality]})
            backbone = workspace.manifest.backbones[modality].id
            for start in range(0, len(ids), BLOCK):
                embedder.embed(2, modality, store.features(ids[start : start + BLOCK], backbone))
        return time.perf_counter() - began


def _pictures_a_second(folder: Path) -> float:
    pictures.render(folder, per_task=20)
    encoder = backbones.load("builtin")
    data = [path.read_bytes() for path in folder.rglob("*.jpg")]
    began = time.perf_counter()
    encoder.encode("image", [encoder.prepare("image", picture) for picture in data])
    return len(data) / (time.perf_counter() - began)


def latency(given: argparse.Namespace, scratch: Path) -> list[dict[str, object]]:
    """Ask an index of many tasks, each by its own head."""
    rows: list[dict[str, object]] = []
    for tasks in given.tasks:
        names = [f"task{number}" for number in range(tasks)]
        root = make_workspace(scratch / str(tasks), names, Shape(given.items // tasks, WIDTH, "linear"))
        reindex(root, ServingRequest("matched"))
        draws = np.random.default_rng(0).normal(size=(QUERIES, WIDTH)).astype(np.float32)
        with open_searcher(root) as searcher:
            seconds = {
                f"{kind}, ms": [_search_seconds(searcher, x, task) for x in draws]
                for kind, task in (("unknown", "all"), ("known", names[0]))
            }
        rows.append(
            {
                "tasks": tasks,
                "items": given.items,
                "first, ms": round(1000 * seconds["unknown, ms"][0]),
                **{name: round(1000 * statistics.median(some[1:]), 2) for name, some in seconds.items()},
            }
        )
    return rows


def _search_seconds(searcher: Searcher, features: NDArray[np.float32], task: str) -> float:
    began = time.perf_counter()
    scope = AllTasks("routed") if task == "all" else KnownTask(task)
    searcher.nearest([Part(MODALITIES[0], features)], MODALITIES[1], 10, scope)
    return time.perf_counter() - began


def evaluate(given: argparse.Namespace, scratch: Path) -> list[dict[str, object]]:
    """Evaluate three lessons, and make every product that this needs alone, once each."""
    shape = Shape(given.items // 3, tested=given.queries / given.items)
    root = make_workspace(scratch / "three", ["a", "b", "c"], shape)
    needed: dict[object, list[tuple[int, ...]]] = {}
    """The shapes of products, by what is multiplied."""
    search, embed = Shard.search, Embedder.embed

    def noted_search(self: Shard, queries: NDArray[np.float32], k: int) -> Any:
        needed[self.key, queries[0].tobytes(), len(queries)] = [(*queries.shape, len(self.ids))]
        return search(self, queries, k)

    def noted_embed(self: Embedder, version: int, modality: str, features: NDArray[np.float32]) -> Any:
        sizes = [p.shape for p in self.head(version, modality).layers[modality].parameters() if p.ndim == 2]
        key = version, modality, features[0].tobytes(), len(features)
        needed[key] = [(len(features), inner, outer) for outer, inner in sizes]
        return embed(self, version, modality, features)

    settings = EvalSettings(POLICIES, ("raw", "routed"), (1, 5, 10), gallery="all", details=False)
    with patch.object(Shard, "search", noted_search), patch.object(Embedder, "embed", noted_embed):
        began = time.perf_counter()
        with open_evaluation(root, settings) as evaluation:
            results = len(list(evaluation.results()))
        seconds = time.perf_counter() - began
    shapes = Counter(shape for products in needed.values() for shape in products)
    bare = sum(count * _product_seconds(shape) for shape, count in shapes.items())
    return [
        {
            "items": given.items,
            "queries": given.queries,
            "results": results,
            "seconds": round(seconds, 1),
            "bare products, seconds": round(bare, 1),
            "ratio": round(seconds / bare, 2),
            "peak memory, GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1),
        }
    ]


def _product_seconds(shape: tuple[int, ...]) -> float:
    """Return how long a product (n, k) x (k, m) takes in float32, in blocks of rows that fit a cache (s)."""
    n, k, m = shape
    x, y = torch.rand(n, k), torch.rand(k, m)
    step = max(1, (1 << 25) // m)
    began = time.perf_counter()
    for start in range(0, n, step):
        x[start : start + step] @ y
    return time.perf_counter() - began


PARTS: Mapping[str, Callable[[argparse.Namespace, Path], list[dict[str, object]]]] = {
    "policies": policies,
    "latency": latency,
    "evaluate": evaluate,
}

if __name__ == "__main__":
    main()
