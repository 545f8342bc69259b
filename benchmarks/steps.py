"""What a training step costs: each method over finetune, PMRL over InfoNCE and over a full decomposition.

    python -m benchmarks.steps

Random features of 512 numbers and rank 50 or 100, two modalities; batch 64 with linear heads, 128 with mlp heads.
Each method learns three tasks of 256 pairs, then its steps on a fourth are timed in turn with finetune's in one
process: the ratio of the medians, weight decay and Adam included. Memory: what the process of a method holds at its
peak over what that of finetune holds. `cflat` and `sam` wrap plain finetune here.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from benchmarks.report import machine, markdown, write
from engine.heads.head import Head
from engine.types import HeadForm, MethodName, Modality, TrainSettings
from training import methods
from training.batch import Batch
from training.data.history import PastTasks
from training.data.pairs import Column, PairSet
from training.gradient import GradientFn, compose, loss_gradient
from training.loop import LessonData, Objective, train_task
from training.losses.pairwise import infonce
from training.losses.pmrl import pmrl

D, PAIRS, PAST_TASKS = 512, 256, 3
BATCH: Mapping[HeadForm, int] = {"linear": 64, "mlp": 128}
TARGETS = {"dns": 1.6, "dns-exact": 1.6, "ewc": 1.25, "mas": 1.25, "sam": 2.2, "cflat": 4.5, "gem": 1.2 * 4}
TARGETS |= {"agem": 3.0, "der": 3.0, "derpp": 3.0, "co2l": 3.0, "cila": 3.0}


@dataclass(frozen=True)
class Case:
    """A method on one form of head, with features of one rank."""

    method: str
    form: HeadForm
    rank: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/steps.json"))
    given = parser.parse_args()
    restarting = ("joint", "joint-intra", "experts")
    names = [name for name in get_args(MethodName) if name not in restarting]
    cases = [Case(name, form, 50) for form in BATCH for name in names]
    cases += [Case(name, "linear", 100) for name in ("dns", "dns-exact")]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        measured = pool.starmap(measure, [(case, given.steps) for case in cases], chunksize=1)
        spectral = pool.apply(decompositions)
    least = {form: measured[cases.index(Case("finetune", form, 50))][1] for form in BATCH}
    rows = [
        {
            "method": case.method,
            "head": case.form,
            "rank": case.rank,
            "over finetune": round(ratio, 2),
            "target": TARGETS.get(case.method, ""),
            "step ms": round(seconds * 1e3, 2),
            "extra MB": round((peak - least[case.form]) / 2**20),
        }
        for case, (ratio, peak, seconds) in zip(cases, measured, strict=True)
    ]
    write(given.out, {**machine(), "rows": rows, "spectral": spectral})
    print(markdown(rows))
    print(markdown(spectral))


def measure(case: Case, steps: int) -> tuple[float, int, float]:
    """Return a method's step over finetune's, the process's peak in bytes, and seconds a step."""
    own = ready(case)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    plain = ready(replace(case, method="finetune"))
    pairs = task(PAST_TASKS, case.rank)
    seconds, plain_seconds = interleaved([own, plain], pairs, BATCH[case.form], steps)
    return seconds / plain_seconds, peak, seconds


def interleaved(functions: Sequence[GradientFn], pairs: PairSet, size: int, steps: int) -> list[float]:
    """Return the median seconds of each function, called in turn on the same batches."""
    draw = torch.Generator().manual_seed(0)
    times: list[list[float]] = [[] for _ in functions]
    while len(times[0]) < steps:
        for batch in pairs.epoch(size, draw):
            for function, seconds in zip(functions, times, strict=True):
                began = time.perf_counter()
                function(batch)
                seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds[5:]) for seconds in times]


def ready(case: Case) -> GradientFn:
    """Return the step of a method that has learned its past tasks."""
    settings = TrainSettings("t", method=case.method)
    tasks = [task(n, case.rank) for n in range(PAST_TASKS)]
    links = methods.strategies(settings, past_of(tasks))
    head = Head(case.form, D)
    for modality in ("image", "text"):
        head.add_branch(modality, D)
    loss = methods.loss(settings, head)
    objective = Objective(loss, list(links.values()))
    for pairs in tasks:
        train_task(
            head,
            LessonData(pairs, task(0, case.rank, 0)),
            objective,
            replace(settings, epochs=1, batch_size=BATCH[case.form]),
        )
    head.train()
    return compose(objective.strategies, head, loss_gradient(head, loss))


def task(number: int, rank: int, count: int = PAIRS) -> PairSet:
    """Return pairs whose features span `rank` directions of their own."""
    draw = torch.Generator().manual_seed(number)
    numbers = torch.arange(count)
    columns = {}
    for place, modality in enumerate(("image", "text")):
        basis = torch.randn(rank, D, generator=draw)
        features = torch.nn.functional.normalize(torch.randn(count, rank, generator=draw) @ basis, dim=1)
        items = numbers + 10**6 * (2 * number + place)
        columns[modality] = Column(features, items, numbers, numbers, torch.ones_like(numbers))
    return PairSet(columns, torch.zeros_like(numbers))


def past_of(tasks: Sequence[PairSet]) -> PastTasks:
    """Return what remembers these tasks."""

    def recall(modality: Modality, numbers: Sequence[int]) -> dict[int, Tensor]:
        columns = [pairs.columns[modality] for pairs in tasks]
        known = {int(n): x for c in columns for n, x in zip(c.numbers, c.features, strict=True)}
        return {number: known[number] for number in numbers}

    return PastTasks(
        recall, lambda: tasks[0], lambda m: (tasks[0].columns[m].numbers, tasks[0].columns[m].features)
    )


def decompositions(size: int = 64, modalities: int = 3) -> list[dict[str, object]]:
    """Return the time of PMRL forward and backward beside InfoNCE's and one full decomposition's."""
    draw = torch.Generator().manual_seed(0)
    names = [f"m{n}" for n in range(modalities)]
    z = {m: torch.nn.functional.normalize(torch.randn(size, D, generator=draw), dim=1) for m in names}
    present, rows = torch.ones(size, dtype=torch.bool), torch.arange(size)
    batch = Batch(
        z, dict.fromkeys(names, present), dict.fromkeys(names, rows), torch.zeros_like(rows), torch.ones(size)
    )

    def timed(function: Callable[[dict[str, Tensor]], Tensor]) -> float:
        seconds = []
        for _ in range(30):
            leaves = {m: x.clone().requires_grad_() for m, x in z.items()}
            began = time.perf_counter()
            torch.autograd.backward(function(leaves).sum())
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds[5:])

    def full(leaves: dict[str, Tensor]) -> Tensor:
        u, sigma, _ = torch.linalg.svd(torch.stack(list(leaves.values()), 2), full_matrices=True)
        leading = u[:, :, 0] @ u[:, :, 0].T
        values: Tensor = (sigma / 0.05).log_softmax(1)[:, 0] + (leading / 0.1).log_softmax(1).diagonal()
        return values

    seconds = {
        "infonce": timed(lambda leaves: infonce(leaves, batch)),
        "pmrl": timed(lambda leaves: pmrl(leaves, batch)),
    }
    seconds["pmrl through svd, full matrices"] = timed(full)
    return [
        {"loss": name, "ms": round(value * 1e3, 2), "over infonce": round(value / seconds["infonce"], 2)}
        for name, value in seconds.items()
    ]


if __name__ == "__main__":
    main()
