"""Figures 10 and 11 and tables 8 to 10 of Liu et al. 2025 (PMRL), on vectors of our own and on two packs.

    python -m benchmarks.papers.pmrl [--data ../shared/data] [--seeds 5] [--jobs 2] [--quick]

Figure 11: the singular values of four free vectors a row. Tables 8 and 9: recall without the regulariser, without
the matching term, with the two largest values; mlp heads on the built-in backbone's features, all tasks of a pack
at once, from their initialisation and from a head that infonce trained, as the paper starts from VAST. Table 10:
classes told by their texts, with noise of .4 on the features (in standard deviations of a column, in training and
in test) or three in ten train pairs with another class's texts; the paper trains a classifier beside. The digits
pack is paired by class: no loss there takes a row of the same class as a negative. --quick: one seed, fewer
variants; and how far that is from the full results.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.papers.pmrl_runs import PLAN, Job, Noise, Start, Trained, run
from benchmarks.papers.pmrl_vectors import FREE, trends
from benchmarks.papers.script import conclude, parse_options
from benchmarks.tables import Measurement, differences, summary
from engine.ingest.setup import WorkspaceOptions
from indexer.serving import index as indexing
from studies.sweeps.workers import map_unordered

PACKS = {"spoken": False, "digits": True}
"""By pack, whether its pairs are joined by class."""
STEPS = (0, 10, 25, 50, 100)
QUICK: Mapping[Start, Sequence[str]] = {
    "scratch": ("infonce", "gram", "pmrl"),
    "infonce": ("gram w/o reg", "pmrl", "pmrl w/o reg"),
}
NOISY: Mapping[Start, Sequence[str]] = {
    "scratch": ("infonce", "gram", "pmrl"),
    "infonce": ("infonce", "gram", "pmrl"),
}
CONDITIONS: Mapping[Noise, str] = {
    "none": "",
    "input": ", noise on the features",
    "labels": ", labels flipped",
}
FROM: Mapping[Start, str] = {"scratch": "from scratch", "infonce": "from infonce"}
TO_IMAGE, TO_AUDIO, FROM_AUDIO = "text to image R@1", "text to audio R@1", "audio to text R@1"
VIDEO = {"infonce": 0.561, "gram": 0.583, "pmrl": 0.604, "gram w/o reg": 0.425, "pmrl w/o reg": 0.594}
"""Tables 1 and 8: text to video, the mean over four data sets; VAST stands beside infonce."""
AUDIO = {
    "infonce": (0.2305, None),
    "gram": (0.2525, None),
    "pmrl": (0.2645, 0.25),
    "pmrl s1+s2": (0.257, 0.2545),
}
"""Tables 3 and 9: text to audio and back, the mean over two data sets."""
CLASSES: Mapping[Noise, Mapping[str, tuple[float, float]]] = {
    "none": {"infonce": (0.792, 0.718), "gram": (0.639, 0.606), "pmrl": (0.805, 0.732)},
    "input": {"infonce": (0.715, 0.644), "gram": (0.610, 0.574), "pmrl": (0.792, 0.662)},
    "labels": {"infonce": (0.729, 0.664), "gram": (0.500, 0.571), "pmrl": (0.772, 0.703)},
}
"""Tables 4 and 10: AUC and accuracy on ABIDE."""


def main() -> int:
    options = parse_options("pmrl", __doc__, Path("../shared/data"))
    with tempfile.TemporaryDirectory() as scratch:
        jobs = list(_jobs(options.data, Path(scratch), options.seeds, options.quick))
        trained = [(jobs.index(job), heads) for job, heads in map_unordered(run, jobs, options.jobs)]
    free = sorted(map_unordered(_free, options.seeds, options.jobs), key=lambda pair: pair[0])
    rows = [row for _, some in free for row in some]
    rows += [row for n, heads in sorted(trained, key=lambda pair: pair[0]) for row in _rows(jobs[n], heads)]
    figures = {"rows": summary(rows, _paper()), "differences": differences(rows, "mean R@1")}
    names = dict.fromkeys(name for row in rows for name in row.figures)
    return conclude(options, figures, [name for name in names if not name.startswith("V ")])


def _jobs(data: Path, scratch: Path, seeds: Sequence[int], quick: bool) -> Iterator[Job]:
    """Store the packs' features and yield what is to be run on them."""
    for pack, by_class in PACKS.items():
        root = scratch / pack
        indexing.index(root, [data / pack], WorkspaceOptions(["builtin"]))
        job = partial(Job, root, pack, by_class)
        yield from (job(seed, plan=QUICK if quick else PLAN) for seed in seeds)
        conditions: Sequence[Noise] = ("input", "labels") if by_class else ()
        plan: Mapping[Start, Sequence[str]] = {"infonce": ("pmrl",)} if quick else NOISY
        yield from (job(seed, noise=noise, plan=plan) for seed in seeds for noise in conditions)


def _free(seed: int) -> list[Measurement]:
    rows = []
    for name in FREE:
        for step, sigma in trends(name, seed, STEPS).items():
            figures = {f"sigma{n + 1}": value for n, value in enumerate(sigma)}
            rows.append(
                Measurement("Figure 11, four free vectors a row", f"{name}, step {step}", seed, figures)
            )
    return rows


def _rows(job: Job, heads: Sequence[Trained]) -> Iterator[Measurement]:
    for head in heads:
        yield Measurement(_title(job.pack, job.noise, head.start), head.variant, job.seed, head.figures)
        if job.noise == "none":
            title = f"Figure 10, {job.pack}, {FROM[head.start]}"
            yield Measurement(title, head.variant, job.seed, head.directions)


def _title(pack: str, noise: Noise, start: Start) -> str:
    number = "Table 10" if noise != "none" else "Tables 8 and 9"
    return f"{number}, {pack}{CONDITIONS[noise]}, {FROM[start]}"


def _paper() -> dict[tuple[str, str], Mapping[str, float]]:
    """Return the paper's figures, shown beside the rows that are nearest to them in what they compare."""
    spoken = _title("spoken", "none", "infonce")
    paper: dict[tuple[str, str], dict[str, float]] = {}
    for variant, value in VIDEO.items():
        paper[spoken, variant] = {TO_IMAGE: value}
    for variant, (to_audio, from_audio) in AUDIO.items():
        known = {TO_AUDIO: to_audio} if from_audio is None else {TO_AUDIO: to_audio, FROM_AUDIO: from_audio}
        paper.setdefault((spoken, variant), {}).update(known)
    for noise, by_variant in CLASSES.items():
        for variant, (area, accuracy) in by_variant.items():
            paper[_title("digits", noise, "scratch"), variant] = {"AUC": area, "accuracy": accuracy}
    return {**paper}


if __name__ == "__main__":
    sys.exit(main())
