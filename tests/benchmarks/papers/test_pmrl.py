from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.papers.pmrl_measure import classify, directions, retrieve
from benchmarks.papers.pmrl_runs import Job, disturbed, flipped, run, sets
from benchmarks.papers.pmrl_vectors import trends
from engine.heads.head import Head
from engine.ingest.setup import WorkspaceOptions
from engine.types import Pair
from indexer.serving import index as indexing
from training.data.pairs import Column, PairSet

MODALITIES = ("audio", "image", "text")
CLASSES = torch.arange(12) % 3


def aligned(sign: float) -> tuple[Head, PairSet]:
    """Return a head whose modalities coincide but for the sign of audio, and twelve pairs of orthogonal items."""
    head = Head("linear", 12)
    for m in MODALITIES:
        head.add_branch(m, 12)
    head.get_parameter("layers.audio.weight").data *= sign
    every, one = torch.arange(12), torch.ones(12, dtype=torch.int64)
    column = Column(torch.eye(12), every, every, every, one)
    return head, PairSet(dict.fromkeys(MODALITIES, column), torch.zeros(12, dtype=torch.int64))


def pack(folder: Path) -> Path:
    """Index a features file of three classes and three modalities."""
    draw = np.random.default_rng(0)
    number = np.arange(30)
    looks = draw.normal(size=(3, 3, 512))
    made = {m: looks[n][number % 3] + draw.normal(0, 0.3, (30, 512)) for n, m in enumerate(MODALITIES[:2])}
    np.savez(
        folder / "pack.npz",
        **{m: x.astype(np.float32) for m, x in made.items()},
        text=[f"a {('red', 'green', 'blue')[n % 3]} one, number {n}" for n in number],
        id=[f"row{n}" for n in number],
        task=["colours"] * 30,
        split=[("train", "train", "val", "test", "test")[n % 5] for n in number],
        labels=[("red", "green", "blue")[n % 3] for n in number],
    )
    indexing.index(folder / "stored", [folder / "pack.npz"], WorkspaceOptions())
    return folder / "stored"


def test_gram_shrinks_the_smallest_singular_value_and_leaves_the_second() -> None:
    found = trends("gram", 0, (0, 10))
    assert found[10][3] < found[0][3] / 2
    assert found[10][1] > found[0][1]


def test_pmrl_shrinks_every_singular_value_but_the_largest() -> None:
    found = trends("pmrl", 0, (0, 10))
    assert np.sign(np.subtract(found[10], found[0])).tolist() == [1, -1, -1, -1]


def test_recall_is_whole_where_modalities_coincide() -> None:
    assert retrieve(*aligned(1.0), torch.arange(12))["mean R@1"] == 1.0


def test_opposite_signs_ruin_recall_and_leave_the_singular_values() -> None:
    same, opposite = directions(*aligned(1.0)), directions(*aligned(-1.0))
    assert opposite["sigma1"] == pytest.approx(same["sigma1"])
    assert opposite["audio text"] == pytest.approx(-1)
    assert retrieve(*aligned(-1.0), torch.arange(12))["audio to text R@1"] == 0.0


def test_an_item_of_the_same_class_is_right_where_classes_own_items() -> None:
    head, test = aligned(1.0)
    moved = torch.arange(12).roll(3)  # the text of another row of the same class
    head.get_parameter("layers.text.weight").data = torch.eye(12)[moved]
    assert retrieve(head, test, torch.arange(12))["audio to text R@1"] == 0.0
    assert retrieve(head, test, CLASSES)["audio to text R@1"] == 1.0


def test_classes_are_told_by_their_texts() -> None:
    assert classify(*aligned(1.0), CLASSES) == {"accuracy": 1.0, "AUC": 1.0}


def test_scores_that_all_tie_have_half_the_area() -> None:
    head, test = aligned(1.0)
    head.get_parameter("layers.text.weight").data = torch.ones(12, 12)
    assert classify(head, test, CLASSES)["AUC"] == 0.5


def test_a_modality_that_stands_alone_has_no_share_in_the_leading_direction() -> None:
    head, test = aligned(1.0)
    head.get_parameter("layers.text.weight").data = torch.eye(12).roll(1, 0)
    found = directions(head, test)
    assert found["V audio 1"] == pytest.approx(0.5**0.5, abs=1e-5)
    assert found["V text 1"] == pytest.approx(0, abs=1e-5)
    assert found["V text 2"] == pytest.approx(1, abs=1e-5)


def test_modalities_that_coincide_have_equal_shares_in_the_leading_direction() -> None:
    found = directions(*aligned(1.0))
    assert [found[f"V {m} 1"] for m in MODALITIES] == pytest.approx([3**-0.5] * 3, abs=1e-5)


def test_noise_on_features_is_two_fifths_of_each_columns_deviation() -> None:
    x = np.random.default_rng(1).normal(size=(4000, 2)).astype(np.float32)
    x[:, 1] *= 10
    added = disturbed(x, np.random.default_rng(0)) - x
    np.testing.assert_allclose(added.std(0) / x.std(0), 0.4, rtol=0.05)


def test_a_flipped_pair_has_the_texts_of_its_new_label() -> None:
    pairs = [Pair(str(n), {"text": (f"t{n % 3}",)}, "all", "train", (str(n % 3),)) for n in range(1000)]
    found = flipped(pairs, np.random.default_rng(0))
    assert all(pair.items["text"] == (f"t{pair.labels[0]}",) for pair in found)
    assert sum(a.labels != b.labels for a, b in zip(pairs, found, strict=True)) == pytest.approx(300, abs=50)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(tmp_path_factory.mktemp("pmrl"))


def test_infonce_tells_three_classes_by_their_texts(stored: Path) -> None:
    (found,) = run(Job(stored, "made up", True, 0, plan={"scratch": ("infonce",)}, epochs=3))
    assert found.figures["accuracy"] == 1.0


def test_labels_are_flipped_where_heads_learn_and_not_where_they_are_tested(stored: Path) -> None:
    job = Job(stored, "made up", True, 0)
    clean, noisy = dict(sets(job)), dict(sets(replace(job, noise="labels")))
    assert torch.equal(noisy["test"][1], clean["test"][1])
    assert not torch.equal(noisy["train"][1], clean["train"][1])


def test_an_item_bears_the_number_of_its_class(stored: Path) -> None:
    (train, owner) = dict(sets(Job(stored, "made up", True, 0)))["train"]
    assert torch.equal(train.in_order(99)[0].item["image"], owner)
