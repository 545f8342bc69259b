from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.papers import dns, dns_measure, dns_runs, dns_stream
from benchmarks.papers.dns_stream import Step
from benchmarks.tables import Measurement

STEPS = (
    Step("one", "p", ("one",), ("image", "text")),
    Step("two", "p", ("two",), ("audio", "text"), classed=True),
    Step("three", "p", ("three",), ("image", "audio")),
    Step("four", "p", ("four",), ("image", "text"), classed=True),
)


def put(root: Path, split: str, rows: int) -> None:
    """Write the pairs of each step: two noisy views of one unit vector, in a subspace of the step's own."""
    generator = torch.Generator().manual_seed(len(split))
    arrays = {m: np.full((rows * len(STEPS), 512), np.nan, np.float32) for m in dns_stream.MODALITIES}
    for number, step in enumerate(STEPS):
        basis = torch.randn(24, 512, generator=torch.Generator().manual_seed(number))
        shared = torch.randn(rows, 24, generator=generator)
        for m in step.modalities:
            turned = shared + torch.randn(rows, 24, generator=generator)
            arrays[m][number * rows : (number + 1) * rows] = normalize(turned @ basis, dim=1)
    names = {
        "id": [f"{step.name} {split} {n}" for step in STEPS for n in range(rows)],
        "task": [step.name for step in STEPS for _ in range(rows)],
        "split": [split] * rows * len(STEPS),
        "class": ["ab"[n % 2] for _ in STEPS for n in range(rows)],
    }
    columns: dict[str, Any] = {**arrays, **{name: np.array(column) for name, column in names.items()}}
    np.savez(root / f"{split}.npz", **columns)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stream")
    put(root, "train", 40)
    put(root, "test", 12)
    return dns_stream.stored(root)


def ran(stream: Path, name: str) -> dict[str, Measurement]:
    trial = next(t for t in dns_runs.TRIALS if (dns_runs.MAIN, name) in t.places)
    return {row.table: row for row in dns_runs.run(stream, trial, 0, STEPS)}


def views(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)


def test_dns_exact_moves_old_scores_less_than_vanilla(stream: Path) -> None:
    exact, free = (
        ran(stream, name)["Table 2, inner product"].figures["drift"] for name in ("dns-exact", "vanilla")
    )
    assert exact < free / 4


def test_a_run_stands_in_every_table_of_its_trial(stream: Path) -> None:
    assert set(ran(stream, "vanilla")) == {
        f"{table}, {score}"
        for table in ("Table 2", "lambda_min", "weight decay")
        for score in ("inner product", "cosine")
    }


def test_zero_shot_ranks_by_the_features_themselves(stream: Path) -> None:
    expected = [
        dns_measure.recall(pairs.test, pairs.test, direction)[dns_measure.KS.index(5)]
        for pairs in dns_measure.read_steps(stream, STEPS)
        for direction in (pairs.step.modalities, pairs.step.modalities[::-1])
    ]
    zero = next(row for row in dns_runs.baselines(stream, 1, STEPS) if row.method == "zero-shot")
    assert zero.figures["R@5"] == pytest.approx(sum(expected) / len(expected))


def test_equal_texts_are_one_item() -> None:
    x = {"image": views([1, 0], [0, 1]), "text": views([1, 1], [1, 1])}
    assert dns_measure.recall(x, x, ("image", "text"))[0] == 1


def test_a_long_row_wins_by_inner_product() -> None:
    x = {"image": views([1, 0], [0, 1]), "text": views([1, 0], [9, 1])}
    assert dns_measure.recall(x, x, ("image", "text"))[0] == 0.5


def test_a_prototype_is_the_first_text_of_its_class() -> None:
    y, texts = views([1, 0], [0, 1], [1, 0]), views([1, 0], [0, 1], [0, 9])
    assert dns_measure.accuracy(y, texts, ["a", "b", "a"]) == 1


def test_backward_transfer_leaves_the_last_step_out() -> None:
    def grade(value: float) -> dns_measure.Grade:
        figures = dict.fromkeys(("Acc", "R@1", "R@5", "R@10"), value)
        return dns_measure.Grade(figures, torch.zeros(1, 1))

    figures = dns_measure.figures([grade(0.5), grade(0.9)], [grade(0.4), grade(0.9)])
    assert figures["BWT R@10"] == pytest.approx(-0.1)


def test_chance_counts_both_directions() -> None:
    x = {"image": views([1, 0], [0, 1]), "text": views([1, 1], [1, 1])}
    pairs = dns_measure.StepPairs(Step("s", "p", (), ("image", "text"), classed=True), x, ["a", "b"], x)
    assert dns_measure.chance([pairs])["R@1"] == 1


def test_steps_and_what_the_prior_learned_share_no_task() -> None:
    assert not {(s.pack, t) for s in dns_stream.STEPS for t in s.tasks} & {
        (pack, t) for pack, tasks in dns_stream.ASIDE.items() for t in tasks
    }


def test_every_method_is_set_against_vanilla() -> None:
    rows = [
        Measurement("T", m, n, {"R@10": v + n / 10})
        for m, v in (("vanilla", 0.1), ("dns", 0.2))
        for n in (0, 1)
    ]
    assert [(g["first"], g["second"], g["difference"]) for g in dns.against_vanilla(rows, "R@10")] == [
        ("R@10: dns", "vanilla", 0.1)
    ]
