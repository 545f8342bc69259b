"""Table 2 of Liu et al. 2025 (DNS) on the packs: a stream of changing modality pairs over an aligned prior.

    python -m benchmarks.papers.dns [--data ../shared/data] [--seeds 5] [--jobs 2] [--quick]

The prior: an mlp head on the built-in backbone's features, trained with infonce on tasks of all four packs that the
stream leaves out, then frozen; its unit outputs, 512 wide, are the stream's features. The stream: 10 steps in a fixed
order, linear heads that start as the identity, 5 epochs each, batch 64. Ranked by inner product (the paper) and by
cosine; recall over both directions of each step's test pairs, task known, the newest head on both sides.
BWT: after the last step less when it was new (eq. 13). new: when it was new. drift: mean |change| of the scores of
old train pairs. Seeds turn the order of batches and what memories keep. lambda_min, weight decay: of DNS as
published. --quick: one seed, five methods; and how far that is from the full results.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.papers.dns_measure import SCORES
from benchmarks.papers.dns_runs import (
    BATCH,
    EPOCHS,
    LR,
    MAIN,
    QUICK,
    TRIALS,
    WEIGHT_DECAY,
    Trial,
    baselines,
    run,
)
from benchmarks.papers.dns_stream import STEPS, prepare
from benchmarks.papers.tables import Row, differences, strays, summary, write
from benchmarks.report import machine

RESULTS = Path("benchmarks/papers/results")
FEW = 3
"""Seeds of what stands in the tables of sensitivity alone."""
JUDGED = ("R@10", "Acc", "BWT R@10")
NAMES = ("Acc", "BWT Acc", "R@1", "R@5", "R@10", "BWT R@10")
PAPER = {
    "vanilla": (0.5186, -0.1571, 0.0751, 0.2536, 0.3602, -0.1019),
    "gem": (0.6015, -0.0498, 0.0832, 0.2892, 0.4124, -0.0412),
    "der": (0.5255, -0.1496, 0.0755, 0.2547, 0.3608, -0.1011),
    "derpp": (0.5586, -0.1045, 0.0733, 0.2566, 0.3650, -0.0958),
    "ewc": (0.5403, -0.1345, 0.0800, 0.2711, 0.3814, -0.0771),
    "co2l": (0.5808, -0.0579, 0.0833, 0.2833, 0.4015, -0.0392),
    "cflat": (0.5784, -0.0757, 0.0823, 0.2802, 0.3972, -0.0500),
    "cila": (0.5930, -0.0263, 0.0832, 0.2831, 0.4048, -0.0109),
    "dns, as published": (0.6407, -0.0009, 0.0871, 0.2981, 0.4244, -0.0300),
}
"""Table 2, LanguageBind, whose step size is ours; its data are other ones."""


def paper() -> dict[tuple[str, str], dict[str, float]]:
    """Return the paper's figures by table and method; it ranks by inner product."""
    return {
        (f"{MAIN}, {SCORES[0]}", method): dict(zip(NAMES, values, strict=True))
        for method, values in PAPER.items()
    }


def against_vanilla(rows: Sequence[Row], figure: str) -> list[dict[str, Any]]:
    """Return the paired difference between vanilla and every other row of its table, the better one first."""
    found = []
    for table, method in dict.fromkeys((row.table, row.method) for row in rows):
        if method not in ("vanilla", "chance"):
            two = [row for row in rows if row.table == table and row.method in ("vanilla", method)]
            found += differences(two, figure)
    return [{**gap, "first": f"{figure}: {gap['first']}"} for gap in found]


def do(root: Path, job: tuple[Trial, int]) -> list[Row]:
    """Return the rows of one trial with one seed."""
    return run(root, *job)


def results(data: Path, seeds: int, jobs: int, quick: bool) -> list[Row]:
    """Prepare the stream and return the rows of every trial and seed."""
    began = time.perf_counter()
    trials = [trial for trial in TRIALS if not quick or any((MAIN, name) in trial.stands for name in QUICK)]
    todo = [(trial, seed) for trial in trials for seed in range(seeds if trial.is_main else min(seeds, FEW))]
    with tempfile.TemporaryDirectory() as scratch:
        root = prepare(data, Path(scratch))
        print(f"{time.perf_counter() - began:.0f} s: stream ready", file=sys.stderr)
        rows = baselines(root, seeds)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, spawn, torch.set_num_threads, (1,)) as pool:
            for done in pool.map(partial(do, root), todo):
                rows += done
                took = time.perf_counter() - began
                print(
                    f"{took:.0f} s: {done[0].table}, {done[0].method}, seed {done[0].seed}", file=sys.stderr
                )
    return [row for row in rows if not quick or row.table.startswith(MAIN)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    began, seeds = time.perf_counter(), 1 if given.quick else given.seeds
    rows = results(given.data, seeds, given.jobs, given.quick)
    facts: dict[str, Any] = {
        **machine(),
        "command": " ".join(["python -m benchmarks.papers.dns", *sys.argv[1:]]),
        "seeds": seeds,
        "seconds": round(time.perf_counter() - began),
        "settings": f"epochs {EPOCHS}, batch {BATCH}, lr {LR}, weight decay {WEIGHT_DECAY}, infonce at 0.07",
        "steps": ", ".join(f"{step.name} ({'-'.join(step.modalities)})" for step in STEPS),
        "rows": summary(rows, paper()),
        "differences": [gap for figure in JUDGED for gap in against_vanilla(rows, figure)],
    }
    write(given.out or RESULTS / f"dns{'-quick' if given.quick else ''}.json", facts)
    full = RESULTS / "dns.json"
    if not given.quick:
        return 0
    if not full.is_file():
        print(f"no {full} to compare with: run without --quick")
        return 0
    return bool(strays(facts["rows"], full, JUDGED))


if __name__ == "__main__":
    sys.exit(main())
