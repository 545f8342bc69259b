from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import apart
import worlds
from engine.errors import UserError
from engine.ranking.query import Part
from engine.types import PolicyName
from indexer.serving import reindex
from indexer.serving.search import Searcher, open_searcher
from indexer.serving.wanted import ServingRequest
from indexer.shards import files as shards

Hits = list[list[tuple[str, float, int]]]


def hits(searcher: Searcher) -> Hits:
    """Return what is found for five pictures: item, score, head."""
    queries = [[Part("image", row.image)] for row in worlds.rows("sky", 5)]
    results = [searcher.nearest(parts, "text", 20, searcher.all_tasks()) for parts in queries]
    return [[(hit.id, hit.score, hit.head) for hit in result] for result in results]


def served(root: Path) -> Hits:
    with open_searcher(root / ".mneme") as searcher:
        return hits(searcher)


def to(root: Path, policy: PolicyName, **directions: PolicyName) -> reindex.ReindexSummary:
    policies = {name.replace("_", "-"): own for name, own in directions.items()}
    return reindex.reindex(root / ".mneme", ServingRequest(policy, policies))


def heads(root: Path, query: str, target: str) -> dict[str, list[int]]:
    """Return the versions that embed each task's items as one direction searches them."""
    now = worlds.opened(root).manifest.served
    (direction,) = (one for one in now.directions if (one.query, one.target) == (query, target))
    by_task: dict[str, list[int]] = {}
    for lookup in direction.lookups:
        key = now.shards[lookup.shard].key
        by_task.setdefault(key.task, []).append(key.head)
    return by_task


@pytest.mark.parametrize("policy", ["reindex", "matched", "aligned", "auto"])
def test_a_reindex_answers_as_the_policy_was_said_to(world: Path, policy: PolicyName) -> None:
    with open_searcher(world / ".mneme", policy=policy) as searcher:
        expected = hits(searcher)
    to(world, policy)
    assert served(world) == expected


def test_a_rollback_returns_the_old_answers(world: Path) -> None:
    before = served(world)
    to(world, "reindex")
    assert served(world) != before
    reindex.rollback(world / ".mneme")
    assert served(world) == before


def test_a_rollback_returns_the_old_answers_after_another_index(world: Path, trained: Path) -> None:
    before = served(world)
    to(world, "reindex")
    worlds.index(world, trained / "places.npz")
    reindex.rollback(world / ".mneme")
    assert served(world) == before


def test_there_is_one_rollback_for_each_reindex(world: Path) -> None:
    to(world, "reindex")
    reindex.rollback(world / ".mneme")
    with pytest.raises(UserError, match="nothing to return to"):
        reindex.rollback(world / ".mneme")


def test_the_same_reindex_again_leaves_what_a_rollback_returns_to(world: Path) -> None:
    before = served(world)
    to(world, "reindex")
    to(world, "reindex")
    reindex.rollback(world / ".mneme")
    assert served(world) == before


def test_one_direction_can_have_a_policy_of_its_own(world: Path) -> None:
    to(world, "matched", text_image="reindex")
    assert heads(world, "text", "image") == {"sky": [3], "life": [3], "places": [3]}
    assert heads(world, "image", "text") == {"sky": [1], "life": [2], "places": [3]}


def test_a_directions_policy_stays_with_the_next_index(world: Path, trained: Path) -> None:
    to(world, "matched", text_image="reindex")
    worlds.index(world, trained / "places.npz")
    assert heads(world, "text", "image")["sky"] == [3]


def test_a_policy_for_all_forgets_that_of_a_direction(world: Path) -> None:
    to(world, "matched", text_image="reindex")
    to(world, "matched")
    assert heads(world, "text", "image") == {"sky": [1], "life": [2], "places": [3]}


def test_the_second_reindex_builds_nothing(world: Path) -> None:
    assert to(world, "reindex").shards_built > 0
    assert to(world, "reindex").shards_built == 0


def moved(root: Path) -> int:
    """Return how many pictures the newest head embeds, of tasks older than it."""
    now = worlds.opened(root).manifest.served
    return sum(
        len(shards.read_ids(root / ".mneme/shards" / shard.path, shard.key))
        for shard in now.shards
        if shard.key.modality == "image" and shard.key.head == 3 and shard.key.task != "places"
    )


def test_partial_goes_on_where_it_stopped(world: Path) -> None:
    counts = []
    for _ in range(3):
        reindex.reindex(world / ".mneme", ServingRequest("partial", budget=0.1))
        counts.append(moved(world))
    assert counts == [9, 18, 27]


def test_an_earlier_lesson_of_a_partial_index_is_asked_by_the_heads_of_then(world: Path) -> None:
    with open_searcher(world / ".mneme", at="1") as searcher:
        before = hits(searcher)
    reindex.reindex(world / ".mneme", ServingRequest("partial", budget=0.3))
    with open_searcher(world / ".mneme", at="1") as searcher:
        assert hits(searcher) == before


def test_an_index_under_partial_moves_nothing(world: Path, trained: Path) -> None:
    reindex.reindex(world / ".mneme", ServingRequest("partial", budget=0.1))
    before = served(world)
    worlds.index(world, trained / "places.npz")
    assert served(world) == before


def switch(root: Path) -> None:
    for _ in range(3):
        reindex.reindex(root, ServingRequest("reindex"))
        reindex.reindex(root, ServingRequest("no-reindex"))


def test_searches_answer_wholly_from_the_old_or_the_new_state(world: Path) -> None:
    olds = served(world)
    with open_searcher(world / ".mneme", policy="reindex") as searcher:
        news = hits(searcher)
    seen = []
    with open_searcher(world / ".mneme") as searcher:
        switching = apart.begun(switch, world / ".mneme")
        while switching.is_alive():
            seen.append(hits(searcher))
            searcher.refresh()
    assert switching.exitcode == 0
    assert olds in seen
    assert all(state in (olds, news) for state in seen)


@pytest.mark.parametrize(
    ("given", "budget", "expected"),
    [
        (["matched"], None, ServingRequest("matched")),
        (["text-image=auto"], None, ServingRequest(None, {"text-image": "auto"})),
        (["matched", "text-image=auto"], None, ServingRequest("matched", {"text-image": "auto"})),
        (["partial"], None, ServingRequest("partial", budget=0.1)),
        (["partial"], "2.5%", ServingRequest("partial", budget=0.025)),
        ([], None, ServingRequest()),
    ],
)
def test_policies_and_budgets_are_read(
    given: Sequence[str], budget: str | None, expected: ServingRequest
) -> None:
    assert reindex.parse(given, budget) == expected


@pytest.mark.parametrize(
    ("given", "budget", "message"),
    [
        (
            ["best"],
            None,
            "no policy 'best'; policies are: reindex, no-reindex, matched, aligned, partial, auto",
        ),
        (["text-image=best"], None, "no policy 'best'"),
        (["auto", "matched"], None, "two policies for all directions: auto and matched"),
        (["partial"], "0%", "`budget` takes a percentage above 0 and up to 100, not '0%'"),
        (["partial"], "200%", "`budget` takes a percentage above 0 and up to 100, not '200%'"),
        (["partial"], "some", "not 'some'"),
        (["auto"], "10%", "`budget` is for the policy partial"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: Sequence[str], budget: str | None, message: str) -> None:
    with pytest.raises(UserError) as caught:
        reindex.parse(given, budget)
    assert message in str(caught.value)


def test_a_direction_that_is_not_there_is_refused(world: Path) -> None:
    with pytest.raises(UserError, match="no direction 'text-smell'; directions are: image-image, image-text"):
        reindex.reindex(world / ".mneme", ServingRequest(None, {"text-smell": "auto"}))


def test_before_any_index_there_is_nothing_to_reindex(tmp_path: Path, trained: Path) -> None:
    worlds.learn(tmp_path, "sky", trained / "sky.npz")
    with pytest.raises(UserError, match="nothing is indexed yet"):
        reindex.reindex(tmp_path / ".mneme", ServingRequest("matched"))


def test_auto_names_the_tasks_that_too_few_validation_pairs_can_choose_for(
    world: Path, tmp_path: Path
) -> None:
    rows = [replace(row, split="train") for row in worlds.rows("life", 12, start=500)]
    worlds.index(world, worlds.save(tmp_path / "late.npz", [replace(row, task="untold") for row in rows]))
    assert to(world, "auto").unsure == ["untold"]
    assert to(world, "matched").unsure == []


def test_a_task_that_two_validation_pairs_can_choose_for_is_not_named(world: Path, tmp_path: Path) -> None:
    rows = worlds.rows("life", 12, start=500)
    few = [replace(row, task="pair", split="val" if n < 2 else "train") for n, row in enumerate(rows)]
    worlds.index(world, worlds.save(tmp_path / "late.npz", few))
    assert to(world, "auto").unsure == []


def test_auto_in_one_direction_names_the_tasks_it_is_unsure_of(world: Path, tmp_path: Path) -> None:
    rows = [replace(row, split="train", task="untold") for row in worlds.rows("life", 12, start=500)]
    worlds.index(world, worlds.save(tmp_path / "late.npz", rows))
    assert to(world, "matched", text_image="auto").unsure == ["untold"]
    assert to(world, "matched", image_image="auto").unsure == []


def test_the_summary_says_what_is_served_and_what_was_built(world: Path) -> None:
    summary = to(world, "reindex", text_image="matched")
    assert (summary.policy, summary.policies) == ("reindex", {"text-image": "matched"})
    assert (summary.shards_built, summary.shards) == (4, 8)
    back = reindex.rollback(world / ".mneme")
    assert (back.policy, back.policies, back.shards_built, back.shards) == ("no-reindex", {}, 0, 6)
