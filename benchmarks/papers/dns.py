"""Table 2 of Liu et al. 2025 (DNS) on the packs: a stream of changing modality pairs over an aligned prior.

    python -m benchmarks.papers.dns [--data ../shared/data] [--seeds 5] [--jobs 2] [--quick]

The prior: an mlp head on the built-in backbone's features, trained with infonce on tasks of all four packs that the
stream leaves out, then frozen; its unit outputs, 512 wide, are the stream's features. The stream: 10 steps in a fixed
order, linear heads that start as the identity, 5 epochs each, batch 64. Ranked by inner product (the paper) and by
cosine; recall over both directions of each step's test pairs, task known, the newest head on both sides.
BWT: after the last step less when it was new (eq. 13). new: when it was new. drift: mean |change| of the scores of
old train pairs. Each seed has a prior of its own, order of batches, and choice of what memories keep. lambda_min,
weight decay: of DNS as published. --quick: one seed, five methods; and how far that is from the full results.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

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
from benchmarks.papers.dns_stream import STEPS, prepare, stream
from benchmarks.papers.script import Options, conclude, parse_options
from benchmarks.tables import Measurement, differences, summary
from studies.sweeps.workers import map_unordered

FEW = 3
"""Seeds of what stands in the tables of sensitivity alone."""
COMPARED = ("R@10", "Acc", "BWT R@10")
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


def against_vanilla(rows: Sequence[Measurement], figure: str) -> list[dict[str, Any]]:
    """Return the paired difference between vanilla and every other row of its table, the better one first."""
    gaps = []
    for table, method in dict.fromkeys((row.table, row.method) for row in rows):
        if method not in ("vanilla", "chance"):
            pair = [row for row in rows if row.table == table and row.method in ("vanilla", method)]
            gaps += differences(pair, figure)
    return [{**gap, "first": f"{figure}: {gap['first']}"} for gap in gaps]


def run_trial(
    streams: Mapping[int, Path], trials: Sequence[Trial], job: tuple[int, int]
) -> list[Measurement]:
    """Return the rows of one trial, by its number, with one seed."""
    number, seed = job
    return run(streams[seed], trials[number], seed)


def results(options: Options) -> list[Measurement]:
    """Prepare the stream and return the rows of every trial and seed."""
    quick, seeds = options.quick, options.seeds
    trials = [t for t in TRIALS if not quick or any((MAIN, name) in t.places for name in QUICK)]
    jobs = [(n, seed) for n, t in enumerate(trials) for seed in (seeds if t.is_main else seeds[:FEW])]
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        prepare(options.data, root)
        streams = dict(map_unordered(partial(stream, root), seeds, options.jobs))
        options.log("streams ready")
        rows = [row for seed in seeds for row in baselines(streams[seed], seed)]
        rows_of = dict[tuple[int, int], list[Measurement]]()
        for job, measured in map_unordered(partial(run_trial, streams, trials), jobs, options.jobs):
            rows_of[job] = measured
            options.log(f"{measured[0].table}, {measured[0].method}, seed {job[1]}")
    rows += [row for job in jobs for row in rows_of[job]]
    return [row for row in rows if not quick or row.table.startswith(MAIN)]


def main() -> int:
    options = parse_options("dns", __doc__, Path("../shared/data"))
    rows = results(options)
    figures = {
        "settings": f"epochs {EPOCHS}, batch {BATCH}, lr {LR}, weight decay {WEIGHT_DECAY}, infonce at 0.07",
        "steps": ", ".join(f"{step.name} ({'-'.join(step.modalities)})" for step in STEPS),
        "rows": summary(rows, paper()),
        "differences": [gap for figure in COMPARED for gap in against_vanilla(rows, figure)],
    }
    return conclude(options, figures, COMPARED)


if __name__ == "__main__":
    sys.exit(main())
