"""What `partial` finds at several budgets: what drifted most first, beside a random order.

    python -m benchmarks.policies scenes --methods finetune --out DIR
    python -m benchmarks.partial DIR/scenes/finetune/sweep

The runs are those that benchmarks.policies trained; their matrices are made anew, with the budget spent again after
every lesson. No budget is no-reindex, the whole is reindex. Intervals of differences are 95 %, by bootstrap over
queries and seeds, paired. To results/partial-STREAM.json.
"""

import argparse
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.policies import Hits, gap, hits_of, measurements
from benchmarks.report import machine
from benchmarks.streams import STREAMS
from benchmarks.tables import summary, write
from engine.types import ItemId
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.policies.statistics import DirectionStatistics
from studies.sweeps import runner

ORDERS = ("drift", "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.02, 0.05, 0.1, 0.2, 0.4])
    given = parser.parse_args()
    began = time.perf_counter()
    stream = given.sweep.absolute().parts[-3]
    records = [
        evaluated(given.sweep, record, order, budget)
        for record in runner.read_records(given.sweep)
        for budget in given.budgets
        for order in ORDERS
    ]
    hits = hits_of(records)
    facts = {
        **machine(),
        "command": f"python -m benchmarks.partial DIR/{stream}/finetune/sweep",
        "seconds of this call": round(time.perf_counter() - began),
        "figure": f"recall@{STREAMS[stream].k}",
        "rows": summary([measurement for record in records for measurement in measurements(record)], {}),
        "differences": [gap(hits, *names) for names in claims(hits)],
    }
    page = write(Path(__file__).parent / "results" / f"partial-{stream}.json", facts)
    print(page.read_text(encoding="utf-8"))


def evaluated(sweep: Path, record: Mapping[str, Any], order: str, budget: float) -> dict[str, Any]:
    """Return a run's record anew: what `partial` finds in its heads, rows chosen in one of the orders."""
    stream = STREAMS[sweep.absolute().parts[-3]]
    settings = EvalSettings(
        ("partial",),
        ("raw", "routed"),
        [stream.k],
        relevance=stream.relevance,
        budget=budget,
        details=False,
    )
    with ordered(order, record["seed"]), open_evaluation(sweep / record["folder"], settings) as evaluation:
        results = [runner.result_record(result, last_only=False) for result in evaluation.results()]
    return {"method": f"{order} {100 * budget:g}%", "seed": record["seed"], "results": results}


def ordered(order: str, seed: int) -> AbstractContextManager[object]:
    """Let `partial` choose rows by their drift, or by lot."""

    def by_lot(
        self: DirectionStatistics, task: str, old: int, new: int, items: Sequence[ItemId]
    ) -> NDArray[np.float64]:
        return np.array([zlib.crc32(f"{seed} {new} {item}".encode()) for item in items], np.float64)

    return nullcontext() if order == "drift" else patch.object(DirectionStatistics, "drift", by_lot)


def claims(hits: Hits) -> Iterator[tuple[str, str, str]]:
    """Yield a table and two rows of it: what drifted most, and a random order at the same budget."""
    for table, name in hits:
        if name.startswith("drift"):
            yield table, name, name.replace("drift", "random")


if __name__ == "__main__":
    main()
