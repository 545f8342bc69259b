from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import worlds
from engine.evaluation.splits import grouped
from engine.heads.embedder import Embedder
from indexer.embeddings.embeddings import embedding_cache
from indexer.policies import statistics
from indexer.policies.plan import Placement
from indexer.policies.statistics import TEMPERATURE, DirectionStatistics
from indexer.routing import calibration


@contextmanager
def measured(root: Path, query: str = "text", target: str = "image") -> Iterator[DirectionStatistics]:
    with worlds.stored(root) as store:
        pairs = store.pairs()

        def items(task: str) -> list[str]:
            return sorted({id for pair in pairs if pair.task == task for id in pair.items[target]})

        embeddings = embedding_cache(Embedder(worlds.opened(root)), store, pairs)
        yield DirectionStatistics(embeddings, grouped(pairs), query, target, items)


def test_an_item_drifts_by_one_less_the_cosine_of_then_and_now(trained: Path) -> None:
    with measured(trained) as facts:
        ids = [*facts.items("sky")][3:7]
        found = facts.drift("sky", 1, 3, ids)
        before, after = (facts.embeddings.embed("image", ids, head) for head in (1, 3))
    assert found == pytest.approx(1 - (before * after).sum(axis=1), abs=1e-6)
    assert min(found) > 0


def test_nothing_drifts_from_a_version_to_itself(trained: Path) -> None:
    with measured(trained) as facts:
        assert facts.drift("sky", 2, 2, facts.items("sky")) == pytest.approx([0] * 30, abs=1e-6)


def test_validation_pairs_are_told_from_all_others(trained: Path) -> None:
    with measured(trained) as facts:
        validation = facts.validation("life")
        store = facts.embeddings.store
        texts = {item[0].text for id in validation.queries if (item := store.item(id.decode()))}
        right = [
            {
                row.key
                for row in store.rows()
                if {query.decode(), target.decode()} <= {*sum(row.items.values(), ())}
            }
            for query, target in zip(
                validation.queries, validation.targets[validation.right.argmax(axis=1)], strict=True
            )
        ]
    assert texts == {row.text for row in worlds.rows("life") if row.split == "val"}
    assert validation.right.sum(axis=1).tolist() == [1, 1, 1]
    assert all(len(rows) == 1 for rows in right)


def test_the_likelihood_is_that_of_the_partner_at_the_fitted_temperature(trained: Path) -> None:
    with measured(trained) as facts:
        found, tau = facts.likelihood("life", 2), facts.temperature("life", Placement(2, 2, 2))
        validation = facts.validation("life")
        queries, items = (
            facts.embeddings.embed(m, [id.decode() for id in ids], 2)
            for m, ids in (("text", validation.queries), ("image", validation.targets))
        )
    assert found == pytest.approx(
        calibration.likelihood((queries @ items.T).astype(np.float64), validation.right, tau), abs=1e-5
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


def test_the_temperature_is_fitted_where_queries_and_items_lie(trained: Path) -> None:
    with measured(trained) as facts:
        validation = facts.validation("life")
        queries = facts.embeddings.embed("text", [id.decode() for id in validation.queries], 3)
        items = facts.embeddings.embed("image", [id.decode() for id in validation.targets], 2, 3)
        cosines = queries.astype(np.float64) @ items.astype(np.float64).T
        expected = calibration.temperature(cosines, validation.right, TEMPERATURE)
        assert facts.temperature("life", Placement(2, 3, 3)) == pytest.approx(expected, rel=1e-9)
        assert facts.temperature("life", Placement(2, 2, 2)) != pytest.approx(expected, rel=1e-3)


def test_the_parts_of_a_task_share_its_temperature(trained: Path) -> None:
    with measured(trained) as facts:
        part = Placement(2, 2, 3, tuple(facts.items("life")[:3]))
        assert facts.temperature("life", part) == facts.temperature("life", Placement(2, 2, 3))


def test_what_was_measured_once_is_not_measured_again(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with measured(trained) as facts:
        first = facts.likelihood("life", 2), facts.temperature("life", Placement(2, 2, 2))
        monkeypatch.setattr(calibration, "likelihood", lambda *given: pytest.fail("measured again"))
        monkeypatch.setattr(calibration, "temperature", lambda *given: pytest.fail("measured again"))
        monkeypatch.setattr(statistics, "qrels_of", lambda *given: pytest.fail("judged again"))
        assert facts.likelihood("life", 2) is first[0]
        assert facts.temperature("life", Placement(2, 2, 2)) == first[1]
        assert facts.validation("life") is facts.validation("life")


def test_no_more_queries_are_looked_at_than_the_bound(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MOST_QUERIES", 2)
    with measured(trained) as facts:
        validation = facts.validation("life")
        assert (len(validation.queries), len(validation.targets), len(validation.right)) == (2, 3, 2)
        assert len(facts.likelihood("life", 2)) == 2


@pytest.mark.parametrize(("pairs", "queries"), [(1, 0), (2, 2)])
def test_of_a_single_validation_pair_nothing_can_be_told(tmp_path: Path, pairs: int, queries: int) -> None:
    training = [row for row in worlds.rows("sky") if row.split == "train"]
    validation = [row for row in worlds.rows("sky") if row.split == "val"][:pairs]
    worlds.index(tmp_path, worlds.save(tmp_path / "sky.npz", [*training, *validation]))
    with measured(tmp_path) as facts:
        assert len(facts.validation("sky").queries) == queries


def test_a_query_without_a_partner_tells_nothing(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.csv").write_text("text,task,split\nnobody,life,val\n")
    root = worlds.copied(trained, tmp_path)
    worlds.index(root, tmp_path / "alone.csv")
    with worlds.stored(root) as store:
        pairs = store.pairs()
        embeddings = embedding_cache(Embedder(worlds.opened(root)), store, pairs)
        facts = DirectionStatistics(embeddings, grouped(pairs), "text", "image", lambda task: [])
        assert len(facts.validation("life").queries) == 3
