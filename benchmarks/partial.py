"""What `partial` finds at several budgets: what drifted most first, beside a random order.

    python -m benchmarks.policies scenes --methods finetune --out DIR
    python -m benchmarks.partial DIR/scenes/finetune/sweep

The runs are those that benchmarks.policies trained; their matrices are made anew, with the budget spent again after
every lesson. No budget is no-reindex, the whole is reindex. Intervals of differences are 95 %, by bootstrap over
queries and seeds, paired. To results/partial-STREAM.json.
"""

import argparse
import json
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.papers.tables import summary, write
from benchmarks.policies import Hits, gap, hits_of, rows_of
from benchmarks.report import machine
from engine.types import ItemId
from indexer.evaluation.evaluate import open_evaluation
from indexer.policies.statistics import Measured
from studies.sweeps import runner, spec
from studies.sweeps.grid import Run

ORDERS = ("drift", "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.02, 0.05, 0.1, 0.2, 0.4])
    given = parser.parse_args()
    began = time.perf_counter()
    stream = given.sweep.absolute().parts[-3]
    wanted = spec.load(given.sweep.parent / "spec.toml")
    runs = [
        {
            "method": f"{order} {100 * budget:g}%",
            "seed": run.settings.seed,
            "results": list(judged(given.sweep, run, order, budget)),
        }
        for run in wanted.runs
        for budget in given.budgets
        for order in ORDERS
    ]
    rows, hits = [row for run in runs for row in rows_of(run)], hits_of(runs)
    facts = {
        **machine(),
        "command": f"python -m benchmarks.partial DIR/{stream}/finetune/sweep",
        "seconds of this call": round(time.perf_counter() - began),
        "figure": f"recall@{wanted.runs[0].setting.ks[0]}",
        "rows": summary(rows, {}),
        "differences": [gap(hits, *names) for names in claims(hits)],
    }
    out = Path(__file__).parent / "results" / f"partial-{stream}.json"
    write(out, facts)
    print(out.with_suffix(".md").read_text(encoding="utf-8"))


def judged(folder: Path, run: Run, order: str, budget: float) -> Iterator[dict[str, object]]:
    """Yield what `partial` finds in the runs' heads, its rows drawn in one of the orders."""
    root = folder / json.loads((folder / "results" / f"{run.slug}.json").read_bytes())["folder"]
    setting = replace(run.setting, policies=("partial",), budget=budget, details=False)
    with drawn(order, run.settings.seed), open_evaluation(root, setting) as evaluation:
        for one in evaluation.results():
            yield runner.figures_of(one, last_only=False)


def drawn(order: str, seed: int) -> AbstractContextManager[object]:
    """Let rows be drawn by their drift, or by lot."""

    def by_lot(self: Measured, task: str, old: int, new: int, items: Sequence[ItemId]) -> NDArray[np.float64]:
        return np.array([zlib.crc32(f"{seed} {new} {item}".encode()) for item in items], np.float64)

    return nullcontext() if order == "drift" else patch.object(Measured, "drift", by_lot)


def claims(hits: Hits) -> Iterator[tuple[str, str, str]]:
    """Yield a table and two rows of it: what drifted most, and a random order at the same budget."""
    for table, name in hits:
        if name.startswith("drift"):
            yield table, name, name.replace("drift", "random")


if __name__ == "__main__":
    main()
