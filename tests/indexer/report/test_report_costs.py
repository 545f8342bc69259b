from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

import worlds
from engine.evaluation.qrels import qrels_of
from engine.history import Reference
from engine.types import ItemId, Modality, PolicyName, ShardKey
from evaluations import SETTINGS, direction, evaluated
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.evaluation.embedded import Galleries
from indexer.policies.plan import Placement, Plan
from indexer.report import costs
from indexer.report.costs import Cost
from indexer.serving import remove
from indexer.shards import files as shards


def all_costs(root: Path, *policies: PolicyName) -> dict[str, Cost]:
    with evaluated(root, replace(SETTINGS, policies=policies)) as opened:
        return {cost.policy: cost for cost in costs.costs(opened, direction(opened))}


def test_reindex_embeds_everything_and_matched_the_newest_task_alone(trained: Path) -> None:
    assert {policy: cost.items for policy, cost in all_costs(trained, "reindex", "matched").items()} == {
        "reindex": 90,
        "matched": 30,
    }


def test_bytes_are_those_of_the_shards_that_are_built(trained: Path) -> None:
    spent = all_costs(trained, "reindex", "matched")

    assert spent["matched"].bytes == shards.size(30, worlds.WIDTH)
    assert spent["reindex"].bytes == 3 * shards.size(30, worlds.WIDTH)


def missing(*plans: Plan) -> dict[ShardKey, list[ItemId]]:
    """Return what the last of some plans wants, where sky holds the items a, b and c and life none."""
    ids = {"sky": np.array(["a", "b", "c"], np.bytes_), "life": np.array([], np.bytes_)}
    galleries = Galleries(("text", "image"), ids, cast(EmbeddingCache, None), qrels_of([], "pair", []))
    return costs.missing(galleries, plans)


def test_shards_that_the_lesson_before_wanted_too_are_there() -> None:
    kept, moved = Placement(1, 1, 2, ("a",)), Placement(2, 2, 2, ("b", "c"))

    assert missing({"sky": (kept,)}, {"sky": (kept, moved)}) == {moved.key("sky", "image"): ["b", "c"]}


def test_shards_that_only_an_older_lesson_wanted_are_built_again() -> None:
    first, second = Placement(1, 1, 1), Placement(2, 2, 2)

    assert missing({"sky": (first,)}, {"sky": (second,)}, {"sky": (first,)}) == {
        first.key("sky", "image"): ["a", "b", "c"]
    }


def test_a_task_without_items_needs_no_shard() -> None:
    assert missing({"life": (Placement(1, 1, 1),)}) == {}


def test_what_was_removed_costs_nothing(world: Path) -> None:
    remove.remove_features(world / ".mneme", "sky")

    found = all_costs(world, "matched", "partial")

    # partial moves a part of life, and the rest becomes a shard of its own
    assert {policy: cost.items for policy, cost in found.items()} == {"matched": 30, "partial": 60}


def test_after_the_first_lesson_everything_is_new(tmp_path: Path) -> None:
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky"))
    worlds.learn(tmp_path, "sky", source)
    worlds.index(tmp_path, source)

    assert all_costs(tmp_path, "matched")["matched"].items == 30


def test_a_reference_costs_what_its_shards_do(world: Path) -> None:
    opened = worlds.opened(world)
    last = opened.manifest.history.lessons[-1]
    joint = Reference("joint", last.task, last.number, last.head, False, 12.5)
    opened.with_manifest(replace(opened.manifest, references=(joint,)))

    spent = all_costs(world, "matched", "reindex")

    assert spent["joint"] == replace(spent["reindex"], policy="joint")


@dataclass
class FakeCache:
    """Embeds nothing and says how long it took; remembers what it was asked for, in order."""

    took: Iterator[float]
    calls: list[tuple[object, ...]] = field(default_factory=list)

    def embed(self, modality: Modality, ids: Sequence[ItemId], head: int) -> None:
        self.calls.append(("embed", modality, len(ids), head))

    def map_between(self, modality: Modality, old: int, new: int) -> None:
        self.calls.append(("map", modality, old, new))

    def seconds(self, modality: Modality, ids: Sequence[ItemId], head: int, space: int) -> float:
        self.calls.append(("seconds", modality, len(ids), head, space))
        return next(self.took)


def timed(
    key: ShardKey, items: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[float, list[tuple[object, ...]]]:
    """Return the seconds of a shard where a sample of 4 items took 3, 1 and 2 s and a map half a second."""
    clock = iter([10.0, 10.5])
    monkeypatch.setattr(costs, "BLOCK", 4)
    monkeypatch.setattr(costs, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    cache = FakeCache(iter([3.0, 1.0, 2.0]))
    return costs._seconds(cast(EmbeddingCache, cache), key, ["a"] * items), cache.calls


def test_seconds_are_those_of_the_fastest_sample_scaled_to_all_items(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, calls = timed(ShardKey("sky", "image", 2, 2), 10, monkeypatch)

    assert seconds == pytest.approx(0.5 + 1.0 * 10 / 4)
    assert calls == [("embed", "image", 1, 2), *[("seconds", "image", 4, 2, 2)] * 3]


def test_a_shard_smaller_than_a_sample_takes_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert timed(ShardKey("sky", "image", 2, 2), 3, monkeypatch)[0] == pytest.approx(0.5 + 1.0)


def test_fitting_a_map_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, calls = timed(ShardKey("sky", "image", 1, 3), 8, monkeypatch)

    assert seconds == pytest.approx(0.5 + 2 * 1.0)
    assert calls[1] == ("map", "image", 1, 3)


def test_a_shard_that_two_policies_want_is_timed_once(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timings: list[ShardKey] = []

    def seconds(cache: EmbeddingCache, key: ShardKey, ids: list[ItemId]) -> float:
        timings.append(key)
        return 2.0

    monkeypatch.setattr(costs, "_seconds", seconds)

    spent = all_costs(trained, "reindex", "matched")

    assert len(timings) == len(set(timings)) == 3
    assert {policy: cost.seconds for policy, cost in spent.items()} == {"reindex": 6.0, "matched": 2.0}
