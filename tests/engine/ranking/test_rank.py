from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.ranking.fusion import BEST, NO_SCORE, Candidates, Scores, TaskPosterior
from engine.ranking.rank import ShardQuery, hits, rank
from engine.storage.rows import StoredRow
from engine.storage.store import Store
from engine.types import Hit, Item, ShardKey

A, B, C = (f"{number:032x}" for number in range(3))


@dataclass
class FakeShard:
    """A shard that always offers the same; it keeps how many were wanted and how many it was told of.

    Attributes:
        log_z: its partition at a temperature of 1; at others as many times as much.
    """

    key: ShardKey
    scores: Sequence[float]
    ids: Sequence[str]
    log_z: float = 0.0
    wanted: int = 0
    best: int = 0

    def search(self, queries: NDArray[np.float32], k: int) -> Candidates:
        self.wanted = k
        ids = np.array([self.ids[:k]]).astype(np.bytes_)
        return Candidates(np.array([self.scores[:k]], np.float64), ids)

    def log_partition(self, queries: NDArray[np.float32], tau: float, best: Scores) -> Scores:
        self.best = best.shape[1]
        return np.array([self.log_z / tau])


def shard(
    task: str, scores: Sequence[float], ids: Sequence[str], *, log_z: float = 0.0, head: int = 0
) -> FakeShard:
    return FakeShard(ShardKey(task, "image", head, head), scores, ids, log_z)


def query(searched: FakeShard, tau: float = 0.1) -> ShardQuery:
    return ShardQuery(searched, np.zeros((1, 4), np.float32), tau)


def posterior(**log_p: float) -> TaskPosterior:
    return TaskPosterior(list(log_p), np.array([list(log_p.values())]))


# ranking


def test_a_shard_is_searched_for_as_many_as_are_wanted() -> None:
    searched = shard("sky", [0.9, 0.8, 0.7], [A, B, C])
    ranking = rank([query(searched)], 2)
    assert searched.wanted == 2
    assert ranking.ids.tolist() == [[A.encode(), B.encode()]]
    assert ranking.log_p is None


def test_by_probability_a_shard_is_searched_for_what_its_partition_needs() -> None:
    long, short = shard("sky", [0.9] * 20, [f"{n:032x}" for n in range(20)]), shard("sky", [0.9], [A])
    rank([query(long), query(short)], 2, posterior(sky=0.0))
    rank([query(long)], BEST + 5, posterior(sky=0.0))
    assert (short.wanted, long.wanted, long.best) == (BEST, BEST + 5, BEST)


def test_log_p_is_log_p_of_the_task_and_of_the_item_in_it() -> None:
    shards = [shard("sky", [0.5], [A], log_z=0.3), shard("life", [0.4], [B], log_z=0.7)]
    ranking = rank([query(shards[0], 0.1), query(shards[1], 0.2)], 5, posterior(life=-2.0, sky=-1.0))
    assert ranking.ids.tolist() == [[A.encode(), B.encode()]]
    assert ranking.log_p is not None
    assert ranking.log_p.tolist() == [pytest.approx([(0.5 - 0.3) / 0.1 - 1, (0.4 - 0.7) / 0.2 - 2])]


def test_two_shards_of_one_task_share_its_probability() -> None:
    shards = [shard("sky", [0.5], [A], log_z=0.3), shard("sky", [0.4], [B], log_z=0.4)]
    ranking = rank([query(one) for one in shards], 5, posterior(sky=-1.0))
    log_z = np.log(np.exp(3) + np.exp(4))
    assert ranking.log_p is not None
    assert ranking.log_p.tolist() == [pytest.approx([5 - log_z - 1, 4 - log_z - 1])]


# hits


def put(store: Store, id: str, *tasks: str, path: str | None = None, text: str | None = None) -> None:
    files = {"image": path} if path else {}
    with store.writing() as txn:
        txn.put_item(Item(id, "image", text=text))
        for task in tasks:
            txn.put_row(StoredRow("/s", id, task, True, "train", (), {"image": (id,)}, files))


def hits_of(store: Store, *shards: FakeShard, min_score: float = -1.0) -> list[Hit]:
    queries = [query(one) for one in shards]
    return list(hits(rank(queries, 5), queries, store, min_score=min_score))


def test_a_hit_says_where_it_was_found(store: Store) -> None:
    put(store, A, "sky", path="/a.jpg")
    put(store, B, "life", "sky", text="b")
    shards = [shard("sky", [0.5], [A], head=1), shard("life", [0.75], [B], head=2)]
    assert hits_of(store, *shards) == [
        Hit(1, 0.75, B, "image", "life", ("life", "sky"), None, "b", 2),
        Hit(2, 0.5, A, "image", "sky", ("sky",), "/a.jpg", None, 1),
    ]


@pytest.mark.parametrize(("least", "ids"), [(0.25, [A, B]), (0.3, [A]), (0.6, [])])
def test_hits_of_a_cosine_below_the_least_are_left_out(store: Store, least: float, ids: list[str]) -> None:
    put(store, A, "sky")
    put(store, B, "sky")
    assert [hit.id for hit in hits_of(store, shard("sky", [0.5, 0.25], [A, B]), min_score=least)] == ids


def test_places_without_a_candidate_are_no_hits(store: Store) -> None:
    assert hits_of(store, shard("sky", [NO_SCORE], [""]), min_score=NO_SCORE) == []


def test_an_item_that_was_removed_since_the_shard_was_built_is_no_hit(store: Store) -> None:
    put(store, B, "sky")
    (hit,) = hits_of(store, shard("sky", [0.9, 0.5], [A, B]))
    assert (hit.id, hit.rank) == (B, 1)


def test_a_hit_by_probability_says_how_likely_it_is_and_one_by_cosine_does_not(store: Store) -> None:
    put(store, A, "sky")
    put(store, B, "sky")
    queries = [query(shard("sky", [0.5, 0.4], [A, B], log_z=0.3))]
    likely = list(hits(rank(queries, 5, posterior(sky=-1.0)), queries, store))
    assert [hit.log_p for hit in likely] == pytest.approx([5 - 3 - 1, 4 - 3 - 1])
    assert [hit.score for hit in likely] == [0.5, 0.4]
    assert [hit.log_p for hit in hits(rank(queries, 5), queries, store)] == [None, None]
