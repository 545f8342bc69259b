"""The routed merge by three partitions of a shard: of a normal fit, of its best items and a sample, and exact.

    python -m benchmarks.policies sounds digits spoken scenes --methods finetune replay --out DIR
    python -m benchmarks.partition DIR/*/finetune/sweep DIR/*/replay/sweep

The runs are those that benchmarks.policies trained, asked again with the task unknown; all items of a task are in its
gallery. normal: log N + mean / tau + variance / (2 tau^2). sample: the ten nearest items as they are, the others by
the first 64. exact: all items. R@K of the stream over all directions and seeds.
errors: root mean square in nats on drawn cosines, normal, or with one in ten half a unit nearer; a sample of 512.
To results/partition.json.
"""

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from benchmarks.report import machine, markdown, write
from benchmarks.streams import STREAMS, Stream
from engine.ranking.fusion import BEST, Scores, log_partition
from engine.types import PolicyName
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.shards import shard as shards
from indexer.shards.shard import Shard
from studies.sweeps import runner

OUT = Path(__file__).parent / "results" / "partition.json"
TRIES = 100
POLICIES: Sequence[PolicyName] = ("reindex", "no-reindex", "matched")


def normal(self: Shard, queries: NDArray[np.float32], tau: float, best: Scores) -> Scores:
    """Return the log partition (Q,) of cosines as if they were normally distributed."""
    cosines = queries.astype(np.float64) @ self.vectors.T.astype(np.float64)
    fit: Scores = np.log(len(self.ids)) + cosines.mean(axis=1) / tau + cosines.var(axis=1) / (2 * tau**2)
    return fit


PARTITIONS: Mapping[str, AbstractContextManager[object]] = {
    "normal": patch.object(Shard, "log_partition", normal),
    "sample": patch.object(shards, "SAMPLE", 64),
    "exact": patch.object(shards, "SAMPLE", 1 << 60),
    "raw": nullcontext(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sweeps", nargs="+", type=Path)
    given = parser.parse_args()
    rows = [row for sweep in given.sweeps for row in rows_of(sweep)]
    off = list(errors())
    command = "python -m benchmarks.partition DIR/*/*/sweep"
    write(OUT, {**machine(), "command": command, "rows": rows, "errors": off})
    print(f"{markdown(rows)}\n\n{markdown(off)}")


def errors() -> Iterator[dict[str, object]]:
    """Yield how far the partitions of drawn cosines are from the exact ones."""
    draw, tau = np.random.default_rng(0), 0.07
    for items, spread, near in product((2000, 20_000, 200_000), (0.1, 0.15), (0.0, 0.1)):
        off: dict[str, list[float]] = {"normal": [], "sample": []}
        for _ in range(TRIES):
            cosines = (draw.normal(0, spread, items) + 0.5 * (draw.random(items) < near)).clip(-1, 1)
            exact = float(logsumexp(cosines / tau))
            best = -np.sort(-cosines)[None, :BEST]
            off["sample"].append(
                float(log_partition(items, best, cosines[None, : shards.SAMPLE], tau)[0]) - exact
            )
            off["normal"].append(np.log(items) + cosines.mean() / tau + cosines.var() / (2 * tau**2) - exact)
        rms = {name: round(float(np.sqrt(np.mean(np.square(some)))), 2) for name, some in off.items()}
        yield {"items": items, "deviation of cosines": spread, "share of a second hump": near, **rms}


def rows_of(sweep: Path) -> Iterator[dict[str, object]]:
    """Yield what one method's runs on a stream find, policy by policy."""
    stream, method, _ = sweep.absolute().parts[-3:]
    finals = {name: list(evaluated(sweep, STREAMS[stream], name)) for name in PARTITIONS}
    for policy in POLICIES:
        means = {
            name: round(statistics.mean(final for of, final in some if of == policy), 3)
            for name, some in finals.items()
        }
        yield {"stream": stream, "method": method, "policy": policy, **means}


def evaluated(sweep: Path, stream: Stream, partition: str) -> Iterator[tuple[str, float]]:
    """Yield recall@K of every run, policy and direction, the task unknown."""
    settings = EvalSettings(
        POLICIES,
        ("raw",) if partition == "raw" else ("routed",),
        [stream.k],
        gallery="all",
        relevance=stream.relevance,
        details=False,
    )
    for record in runner.read_records(sweep):
        with (
            PARTITIONS[partition],
            open_evaluation(sweep / record["folder"], settings) as evaluation,
        ):
            for result in evaluation.results():
                if not result.task_known and result.final is not None:
                    yield result.policy, result.final


if __name__ == "__main__":
    main()
