"""Tables 3 and 1 of Jeong et al. 2025 (CentroBind): bound encoders on a made-up mixture, and retrieval on a pack.

    python -m benchmarks.papers.centrobind [--data ../shared/data/spoken] [--seeds 5] [--jobs 2] [--quick]

Table 3: decoders' accuracy on each modality and on all, random and InfoNCE-pretrained encoders, 4, 6 and 8
modalities; the anchors of table 4 too, with 4. Table 1: recall from one modality and from two, heads on the
built-in backbone's features. --quick: one seed, 4 modalities, random encoders, table 1; and how far that is from
the full results.
"""

import copy
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.papers import centrobind_mixture as mixture
from benchmarks.papers import centrobind_spoken as spoken
from benchmarks.papers.script import conclude, parse_options
from benchmarks.tables import Measurement, differences, summary
from engine.ingest.setup import WorkspaceOptions
from indexer.serving import index as indexing
from studies.sweeps.workers import map_unordered

FULL = ("no binding", "FABIND-X1", "FABIND-X{}", "CentroBind")
ANCHORS = ("weighted", "median", "random", "random + intra")
UNI = ("x1", "x2", "x3", "x4", "all")
PAPER_3 = {
    ("pretrained", "no binding"): (0.2166, 0.2878, 0.3536, 0.3923, 0.6985),
    ("pretrained", "FABIND-X1"): (0.2180, 0.2736, 0.3210, 0.2999, 0.5541),
    ("pretrained", "FABIND-X4"): (0.2483, 0.3349, 0.4207, 0.3896, 0.7024),
    ("pretrained", "CentroBind"): (0.2540, 0.3433, 0.4162, 0.4559, 0.6974),
    ("random", "no binding"): (0.2109, 0.2472, 0.2597, 0.2815, 0.6648),
    ("random", "FABIND-X1"): (0.2119, 0.2587, 0.3034, 0.3081, 0.5502),
    ("random", "FABIND-X4"): (0.2447, 0.3076, 0.3826, 0.2813, 0.6742),
    ("random", "CentroBind"): (0.2582, 0.3392, 0.4224, 0.4649, 0.7006),
}
"""Table 3, of 4 modalities; its means of X1 to X4 are taken below."""
PAPER_1 = {
    "image to text": ((0.446, 0.719, 0.822), (0.483, 0.764, 0.850)),
    "audio to text": ((0.077, 0.238, 0.367), (0.233, 0.517, 0.678)),
    "text to image": ((0.812, 0.946, 0.978), (0.591, 0.839, 0.909)),
    "audio to image": ((0.058, 0.154, 0.226), (0.052, 0.184, 0.284)),
    "text to audio": ((0.201, 0.438, 0.584), (0.290, 0.572, 0.706)),
    "image to audio": ((0.051, 0.155, 0.223), (0.054, 0.175, 0.258)),
    "audio + image to text": ((0.309, 0.665, 0.781), (0.745, 0.957, 0.978)),
    "audio + text to image": ((0.180, 0.401, 0.513), (0.388, 0.646, 0.768)),
    "image + text to audio": ((0.099, 0.257, 0.364), (0.232, 0.490, 0.625)),
}
"""Table 1: recall at 1, 5 and 10 of FABIND anchored on text and of CentroBind, on MUStARD, its video as image."""


@dataclass(frozen=True)
class Job:
    """What one process does: a mixture of so many modalities, or the pack where there are 0.

    Attributes:
        backbones: which encoders the methods start from.
        anchors: of table 4, tried from random encoders only.
    """

    seed: int
    modalities: int
    backbones: Sequence[str] = ()
    anchors: Sequence[str] = ()


def mixed(job: Job, size: mixture.Size) -> list[Measurement]:
    """Return the rows of table 3 of one seed."""
    drawn = mixture.draw(job.modalities, size.train + size.held, job.seed)
    train, test = (drawn.rows(part) for part in torch.arange(len(drawn.y)).tensor_split([size.train]))
    rows = []
    for backbone in job.backbones:
        start = mixture.encoders(job.modalities, job.seed)
        if backbone == "pretrained":
            mixture.pretrain(start, train, size, job.seed)
        for name in (*FULL, *(job.anchors if backbone == "random" else ())):
            method, net = name.format(job.modalities), copy.deepcopy(start)
            if method != "no binding":
                loss = mixture.losses(net)[method]
                mixture.train(net, train, loss, (size.binding, size.batch), job.seed)
            figures = mixture.accuracies(net, train, test, size, job.seed)
            rows.append(Measurement(f"Table 3, {backbone}, M={job.modalities}", method, job.seed, figures))
    return rows


def bound(seed: int, root: Path) -> list[Measurement]:
    """Return the rows of table 1 of one seed."""
    splits = spoken.read(root)
    by_method = {"chance": spoken.chance(splits.test)}
    for name in spoken.SETTINGS:
        by_method[name] = spoken.retrieval(spoken.trained(splits, name, seed), splits.test)
    return [Measurement("Table 1", method, seed, figures) for method, figures in by_method.items()]


def paper() -> dict[tuple[str, str], dict[str, float]]:
    """Return the paper's figures by table and method."""
    known = {}
    for (backbone, method), values in PAPER_3.items():
        figures = dict(zip(UNI, values, strict=True))
        known[f"Table 3, {backbone}, M=4", method] = {**figures, "mean": round(sum(values[:4]) / 4, 4)}
    for place, method in enumerate(("FABIND text", "CentroBind")):
        figures = {
            f"{direction} R@{k}": value
            for direction, both in PAPER_1.items()
            for k, value in zip(spoken.KS, both[place], strict=True)
        }
        for title, plus in (("one to one", False), ("two to one", True)):
            for k in spoken.KS:
                values_k = [figures[f"{name} R@{k}"] for name in PAPER_1 if ("+" in name) == plus]
                figures[f"{title} R@{k}"] = round(sum(values_k) / len(values_k), 4)
        known["Table 1", method] = figures
    return known


def jobs(seeds: int, quick: bool) -> list[Job]:
    """Return what there is to do, the longest first."""
    if quick:
        return [Job(0, 4, ("random",)), Job(0, 0)]
    both = ("random", "pretrained")
    plan = ((8, ()), (4, ANCHORS), (6, ()))
    mixtures = [Job(seed, m, both, anchors) for m, anchors in plan for seed in range(seeds)]
    return [*mixtures, *(Job(seed, 0) for seed in range(seeds))]


def run_job(root: Path, every: Sequence[Job], number: int) -> list[Measurement]:
    """Return the rows of one job, by its number."""
    job = every[number]
    return mixed(job, mixture.Size()) if job.modalities else bound(job.seed, root)


def main() -> int:
    options = parse_options("centrobind", __doc__, Path("../shared/data/spoken"))
    rows_of = dict[int, list[Measurement]]()
    with tempfile.TemporaryDirectory() as scratch:
        indexing.index(Path(scratch), [options.data], WorkspaceOptions(["builtin"]))
        every = jobs(len(options.seeds), options.quick)
        job = partial(run_job, Path(scratch), every)
        for number, measured in map_unordered(job, range(len(every)), options.jobs):
            rows_of[number] = measured
            options.log(f"{measured[0].table}, seed {measured[0].seed}")
    rows = [row for number in sorted(rows_of) for row in rows_of[number]]
    figures = {
        "sizes": str(mixture.Size()),
        "rows": summary(rows, paper()),
        "differences": differences(rows, "mean") + differences(rows, "one to one R@10"),
    }
    return conclude(options, figures, ("mean", "one to one R@10", "two to one R@10"))


if __name__ == "__main__":
    sys.exit(main())
