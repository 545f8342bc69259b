"""Tables 2 and 3 of Jiang et al. 2025 (IGM): what alternation, T and SAM each bring a classifier of two modalities.

    python -m benchmarks.papers.igm [--data ../shared/data/digits] [--seeds 5] [--jobs 2] [--quick]

All classes of the pack at once from image and speech: the built-in backbone's features, the paper's head of three
layers for each modality, SGD with momentum .9, weight decay 1e-4, rate 1e-2 and a tenth of it in the last fifth of a
turn (as the released code, not when the loss stalls), batches of 12, logits fused by MLA's weights. Turns are short,
10 epochs, audio first, since the features are frozen; the last epoch counts, no epoch is chosen. SAM's rho is .05:
the paper's, 1e-15 and 1e-10, move nothing in float32. Mixup, which the released code has and the paper does not name,
is left out. "joint" trains the summed logits, "both at once" the sum of the modalities' losses. Table 3 is with SAM,
as the paper's. The seed draws the start and the order of the batches; train and test pairs stay. --quick: one seed,
five methods; and how far that is from the full results.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.papers.igm_classifier import APART, JOINT, METHODS, Plan, read, run
from benchmarks.papers.script import conclude, parse_options
from benchmarks.tables import Measurement, differences, summary
from engine.ingest.setup import WorkspaceOptions
from indexer.serving import index as indexing
from studies.sweeps.workers import map_unordered

QUICK = (JOINT, "alternation only", "MLA", "IGM w/o SAM", "IGM")
TABLE_2, TABLE_3 = "Tables 1 and 2, digits", "Table 3, digits: fused accuracy after each turn"
ONE_WAY = ("IGM w/o audio's T", "IGM w/o image's T", "IGM")
TURNS = ("untrained", "audio 1", "image 1", "audio 2", "image 2")
AUDIO, IMAGE, FUSED, MAP = "audio accuracy", "image accuracy", "fused accuracy", "fused MAP"
PAPER: dict[tuple[str, str], dict[str, float]] = {
    (TABLE_2, JOINT): {AUDIO: 0.4583, IMAGE: 0.6317, FUSED: 0.6452},
    (TABLE_2, "SAM"): {AUDIO: 0.5860, IMAGE: 0.6479, FUSED: 0.7342, MAP: 0.8177},
    (TABLE_2, "MLA"): {FUSED: 0.7943, MAP: 0.8572},
    (TABLE_2, "IGM w/o SAM"): {AUDIO: 0.6013, IMAGE: 0.6506, FUSED: 0.8026, MAP: 0.8830},
    (TABLE_2, "IGM"): {AUDIO: 0.6116, IMAGE: 0.6782, FUSED: 0.8105, MAP: 0.8948},
    (TABLE_3, "IGM w/o audio's T"): dict(zip(TURNS, (0.0325, 0.5312, 0.6803, 0.7231, 0.7482), strict=True)),
    (TABLE_3, "IGM w/o image's T"): dict(zip(TURNS, (0.0325, 0.5312, 0.7023, 0.7472, 0.7646), strict=True)),
    (TABLE_3, "IGM"): dict(zip(TURNS, (0.0325, 0.5312, 0.7023, 0.7557, 0.8105), strict=True)),
}
"""On CREMA-D, its video as image; the row without either, whose single modalities are those of table 1, as joint."""
COMPARED = (
    (TABLE_2, APART, JOINT),
    (TABLE_2, "alternation only", APART),
    (TABLE_2, "MLA", "alternation only"),
    (TABLE_2, "IGM w/o SAM", "alternation only"),
    (TABLE_2, "IGM w/o SAM", "MLA"),
    (TABLE_2, "SAM", "alternation only"),
    (TABLE_2, "IGM", "IGM w/o SAM"),
    (TABLE_2, "IGM", "SAM"),
    (TABLE_2, "IGM", "alternation only"),
    (TABLE_3, "IGM", "IGM w/o audio's T"),
    (TABLE_3, "IGM", "IGM w/o image's T"),
    (TABLE_3, "IGM w/o image's T", "IGM w/o audio's T"),
)


@dataclass(frozen=True)
class Job:
    """What one process does at a time."""

    root: Path
    method: str
    seed: int
    plan: Plan


def train(job: Job) -> list[dict[str, float]]:
    """Return a method's figures before training and after each turn."""
    return run(read(job.root), job.method, job.seed, job.plan)


def rows(method: str, seed: int, turns: Sequence[dict[str, float]]) -> Iterator[Measurement]:
    """Yield what a run comes to in each table."""
    yield Measurement(TABLE_2, method, seed, turns[-1])
    if method in ONE_WAY:
        after = dict(zip(TURNS, (turn[FUSED] for turn in turns), strict=False))
        yield Measurement(TABLE_3, method, seed, {**after, FUSED: turns[-1][FUSED]})


def compared(measurements: Sequence[Measurement]) -> Iterator[dict[str, Any]]:
    """Yield the difference of each pair of methods, seed by seed, the better first."""
    for table, *pair in COMPARED:
        chosen = [row for row in measurements if row.table == table and row.method in pair]
        for figure in (FUSED, AUDIO) if table == TABLE_2 else (FUSED,):
            for gap in differences(chosen, figure):
                yield {**gap, "second": f"{gap['second']}, {figure}"}


def main() -> int:
    options, plan = parse_options("igm", __doc__, Path("../shared/data/digits")), Plan()
    methods = QUICK if options.quick else METHODS
    with tempfile.TemporaryDirectory() as scratch:
        indexing.index(Path(scratch), [options.data], WorkspaceOptions(["builtin"]))
        jobs = [
            Job(Path(scratch), method, seed, plan) for seed in options.seeds for method in reversed(methods)
        ]
        turns_of = dict[tuple[str, int], list[dict[str, float]]]()
        for job, turns in map_unordered(train, jobs, options.jobs):
            turns_of[job.method, job.seed] = turns
            options.log(f"{job.method}, seed {job.seed}")
    every = [row for m in methods for seed in options.seeds for row in rows(m, seed, turns_of[m, seed])]
    figures = {"plan": str(plan), "rows": summary(every, PAPER), "differences": list(compared(every))}
    return conclude(options, figures, (AUDIO, IMAGE, FUSED, MAP, *TURNS))


if __name__ == "__main__":
    sys.exit(main())
