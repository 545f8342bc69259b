from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import worlds
from engine.evaluation.splits import grouped
from engine.heads.embedder import Embedder
from indexer.embeddings.embeddings import reader
from indexer.policies.policies import Placement
from indexer.policies.statistics import TEMPERATURE, Measured
from indexer.routing import calibration


@contextmanager
def measured(root: Path, query: str = "text", target: str = "image") -> Iterator[Measured]:
    with worlds.stored(root) as store:
        pairs = store.pairs()

        def items(task: str) -> list[str]:
            return sorted({id for pair in pairs if pair.task == task for id in pair.items[target]})

        yield Measured(
            reader(Embedder(worlds.opened(root)), store, pairs), grouped(pairs), query, target, items
        )


def test_an_item_drifts_by_one_less_the_cosine_of_then_and_now(trained: Path) -> None:
    with measured(trained) as facts:
        ids = [*facts.items("sky")][3:7]
        found = facts.drift("sky", 1, 3, ids)
        before, after = (facts.reader.embed("image", ids, head) for head in (1, 3))
    assert found == pytest.approx(1 - (before * after).sum(axis=1), abs=1e-6)
    assert min(found) > 0


def test_nothing_drifts_from_a_version_to_itself(trained: Path) -> None:
    with measured(trained) as facts:
        assert facts.drift("sky", 2, 2, facts.items("sky")) == pytest.approx([0] * 30, abs=1e-6)


def test_validation_pairs_are_told_from_all_others(trained: Path) -> None:
    with measured(trained) as facts:
        held = facts.validation("life")
    texts = {row.text for row in worlds.rows("life") if row.split == "val"}
    assert len(held.queries) == len(held.targets) == len(texts) == 3
    assert held.right.sum(axis=1).tolist() == [1, 1, 1]


def test_the_likelihood_is_that_of_the_partner_at_the_fitted_temperature(trained: Path) -> None:
    with measured(trained) as facts:
        found, tau = facts.likelihood("life", 2), facts.temperature("life", Placement(2, 2, 2))
        held = facts.validation("life")
        asked, items = (
            facts.reader.embed(m, [id.decode() for id in ids], 2)
            for m, ids in (("text", held.queries), ("image", held.targets))
        )
    assert found == pytest.approx(
        calibration.likelihood((asked @ items.T).astype(np.float64), held.right, tau), abs=1e-5
    )


def test_a_trained_version_is_likelier_than_the_untrained_one(trained: Path) -> None:
    with measured(trained) as facts:
        assert facts.likelihood("life", 2).mean() > facts.likelihood("life", 0).mean()


def test_without_validation_pairs_there_is_nothing_to_tell_versions_apart_by(tmp_path: Path) -> None:
    held = [row for row in worlds.rows("sky") if row.split == "train"]
    worlds.index(tmp_path, worlds.save(tmp_path / "sky.npz", held))
    with measured(tmp_path) as facts:
        assert len(facts.likelihood("sky", 0)) == 0
        assert facts.temperature("sky", Placement(0, 0, 0)) == TEMPERATURE


def test_more_like_this_has_no_validation_pairs(trained: Path) -> None:
    with measured(trained, "image", "image") as facts:
        assert len(facts.validation("sky").queries) == 0


def test_items_that_no_version_embeds_yet_go_to_the_tasks_own(trained: Path) -> None:
    with measured(trained) as facts:
        every = list(facts.items("sky"))
        now = facts.standing({"sky": {3: [*every[:2], "0" * 32]}}, 0.0)
        assert now.placed("sky", 1) == {3: every[:2], 1: every[2:]}
        assert facts.placed("sky", 1) == {1: every}


def test_aligned_items_of_linear_heads_are_those_of_the_newest(trained: Path) -> None:
    with measured(trained) as facts:
        ids = list(facts.items("sky"))
        moved, newest = facts.reader.embed("image", ids, 1, 3), facts.reader.embed("image", ids, 3)
    assert np.allclose(moved, newest, atol=1e-4)
