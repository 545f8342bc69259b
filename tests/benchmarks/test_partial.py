from pathlib import Path

import worlds
from benchmarks import partial
from engine.evaluation.splits import grouped
from engine.heads.embedder import Embedder
from indexer.embeddings.embeddings import embedding_cache
from indexer.policies.statistics import DirectionStatistics


def test_a_random_order_is_the_same_every_time_and_another_for_another_seed(trained: Path) -> None:
    with worlds.stored(trained) as store:
        pairs = store.pairs()
        ids = sorted({id for pair in pairs if pair.task == "sky" for id in pair.items["image"]})
        read = embedding_cache(Embedder(worlds.opened(trained)), store, pairs)
        facts = DirectionStatistics(read, grouped(pairs), "text", "image", lambda task: ids)

        def order(name: str, seed: int) -> list[int]:
            with partial.ordered(name, seed):
                places: list[int] = facts.drift("sky", 1, 3, ids).argsort().tolist()
            return places

        drift = facts.drift("sky", 1, 3, ids).argsort().tolist()
        assert order("drift", 0) == order("drift", 1) == drift
        assert order("random", 0) == order("random", 0) != drift
        assert order("random", 0) != order("random", 1)


def test_drift_is_held_beside_a_random_order_of_the_same_budget() -> None:
    hits: dict[tuple[str, str], dict[int, list[list[int]]]] = {
        ("t", "drift 10%, partial"): {},
        ("t", "random 10%, partial"): {},
    }
    assert list(partial.claims(hits)) == [("t", "drift 10%, partial", "random 10%, partial")]
