import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import worlds
from engine.errors import UserError
from engine.ranking.query import Part
from engine.types import AllTasks, KnownTask, MergeName, PolicyName
from indexer.evaluation.runs import retrieve
from indexer.serving import build, preview, reindex, search
from indexer.serving.build import Wanted
from indexer.shards import files as shards

Answers = list[list[tuple[str, float, int]]]


def answers(index: search.Index) -> Answers:
    """Return what is found for five pictures: item, score, head."""
    return [
        [
            (hit.id, hit.score, hit.head)
            for hit in index.search([Part("image", worlds.rows("sky")[n].image)], "text", 20)
        ]
        for n in range(5)
    ]


def served(root: Path) -> Answers:
    with search.open_index(root / ".mneme") as opened:
        return answers(opened.index)


def to(root: Path, policy: PolicyName, **policies: PolicyName) -> reindex.ReindexSummary:
    named = {name.replace("_", "-"): one for name, one in policies.items()}
    return reindex.reindex(root / ".mneme", Wanted(policy, named))


def heads(root: Path, query: str, target: str) -> dict[str, list[int]]:
    """Return the versions that embed each task's items as one direction asks them."""
    now = worlds.opened(root).manifest.served
    (way,) = (way for way in now.directions if (way.query, way.target) == (query, target))
    found: dict[str, list[int]] = {}
    for lookup in way.lookups:
        found.setdefault(now.shards[lookup.shard].key.task, []).append(now.shards[lookup.shard].key.head)
    return found


@pytest.mark.parametrize("policy", ["reindex", "matched", "aligned", "auto"])
def test_a_reindex_answers_as_the_policy_was_said_to(world: Path, policy: PolicyName) -> None:
    with search.open_index(world / ".mneme", policy=policy) as opened:
        expected = answers(opened.index)
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
        len(shards.read_ids(root / ".mneme/shards" / one.path))
        for one in now.shards
        if one.key.modality == "image" and one.key.head == 3 and one.key.task != "places"
    )


def test_partial_goes_on_where_it_stopped(world: Path) -> None:
    counts = []
    for _ in range(3):
        reindex.reindex(world / ".mneme", Wanted("partial", budget=0.1))
        counts.append(moved(world))
    assert counts == [9, 18, 27]


@pytest.mark.parametrize("merge", [None, "raw", "routed"])
def test_what_partial_serves_is_judged_as_search_answers_it(world: Path, merge: MergeName | None) -> None:
    reindex.reindex(world / ".mneme", Wanted("partial", budget=0.3))
    with search.open_index(world / ".mneme") as opened:
        workspace, store = opened.index.workspace, opened.index.store
        history, planner = build.planner_of(workspace, store, Wanted(), "cpu")
        change = preview.Change(workspace, planner, history, ("text", "image"), {})
        now, backbone = change.now(), workspace.manifest.backbones["text"].id
        for task in worlds.TASKS:
            queries = [id.decode() for id in change.eval_set.queries[task]]
            scope = AllTasks(merge) if merge else KnownTask(task)
            run = retrieve(change.state(now), change.queries, change.galleries, scope).of_task(task)
            ranked = change.eval_set.qrels.ids[run.items]
            for id, found in zip(queries, ranked, strict=True):
                part = Part("text", store.features([id], backbone)[0])
                hits = opened.index.search([part], "image", 10, task="all" if merge else task, merge=merge)
                assert [hit.id for hit in hits] == [one.decode() for one in found]
    assert any(len(there) > 1 for there in now.values())


def test_an_earlier_lesson_of_a_partial_index_is_asked_by_the_heads_of_then(world: Path) -> None:
    with search.open_index(world / ".mneme", at="1") as opened:
        before = answers(opened.index)
    reindex.reindex(world / ".mneme", Wanted("partial", budget=0.3))
    with search.open_index(world / ".mneme", at="1") as opened:
        assert answers(opened.index) == before


def test_an_index_under_partial_moves_nothing(world: Path, trained: Path) -> None:
    reindex.reindex(world / ".mneme", Wanted("partial", budget=0.1))
    before = served(world)
    worlds.index(world, trained / "places.npz")
    assert served(world) == before


SWITCHING = """
import sys
from pathlib import Path
from indexer.serving import reindex
from indexer.serving.build import Wanted
for _ in range(3):
    reindex.reindex(Path(sys.argv[1]), Wanted("reindex"))
    reindex.reindex(Path(sys.argv[1]), Wanted("no-reindex"))
"""


def test_searches_answer_wholly_from_the_old_or_the_new_state(world: Path) -> None:
    olds = served(world)
    with search.open_index(world / ".mneme", policy="reindex") as opened:
        news = answers(opened.index)
    found = []
    told = [sys.executable, "-c", SWITCHING, str(world / ".mneme")]
    with subprocess.Popen(told) as switching, search.open_index(world / ".mneme") as opened:
        while switching.poll() is None:
            found.append(answers(opened.index))
            opened.index.refresh()
    assert switching.returncode == 0
    assert olds in found
    assert all(one in (olds, news) for one in found)


def test_a_dry_run_writes_nothing(world: Path) -> None:
    before = worlds.bytes_below(world)
    preview.dry_run(world / ".mneme", Wanted("reindex"))
    assert worlds.bytes_below(world) == before


def test_a_dry_run_counts_what_the_reindex_then_embeds(world: Path) -> None:
    expected = preview.dry_run(world / ".mneme", Wanted("reindex"))
    assert expected.items == 2 * 2 * 30
    assert to(world, "reindex").shards_built == 4


def test_a_dry_run_says_the_recall_of_validation_pairs_now_and_then(world: Path) -> None:
    expected = preview.dry_run(world / ".mneme", Wanted("reindex"))
    told = {(one.query, one.target, one.task, one.task_known) for one in expected.recall}
    assert told == {
        (*way, task, known)
        for way in (("image", "text"), ("text", "image"))
        for task in worlds.TASKS
        for known in (True, False)
    }
    assert all(one.now == one.then for one in expected.recall if one.task == "places" and one.task_known)
    again = preview.dry_run(world / ".mneme", Wanted("no-reindex"))
    assert all(one.now == one.then for one in again.recall)


def test_a_dry_run_without_validation_pairs_says_how_alike_rankings_would_stay(tmp_path: Path) -> None:
    for task in ("sky", "life"):
        held = [row for row in worlds.rows(task) if row.split == "train"]
        source = worlds.save(tmp_path / f"{task}.npz", held)
        worlds.learn(tmp_path, task, source)
        worlds.index(tmp_path, source)
    expected = preview.dry_run(tmp_path / ".mneme", Wanted("reindex"))
    assert expected.recall == []
    alike = {(one.query, one.task): (one.overlap, one.rbo) for one in expected.overlap}
    assert alike["text", "life"] == pytest.approx((1, 1))
    assert 0 < alike["text", "sky"][0] < 1


def test_a_dry_run_of_auto_explains_its_choices(world: Path) -> None:
    expected = preview.dry_run(world / ".mneme", Wanted("auto"))
    assert {choice.task for choice in expected.choices} == set(worlds.TASKS)
    assert all(choice.queries == 3 for choice in expected.choices)


@pytest.mark.parametrize(
    ("given", "budget", "expected"),
    [
        (["matched"], None, Wanted("matched")),
        (["text-image=auto"], None, Wanted(None, {"text-image": "auto"})),
        (["matched", "text-image=auto"], None, Wanted("matched", {"text-image": "auto"})),
        (["partial"], None, Wanted("partial", budget=0.1)),
        (["partial"], "2.5%", Wanted("partial", budget=0.025)),
        ([], None, Wanted()),
    ],
)
def test_policies_and_budgets_are_read(given: Sequence[str], budget: str | None, expected: Wanted) -> None:
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
        reindex.reindex(world / ".mneme", Wanted(None, {"text-smell": "auto"}))


def test_before_any_index_there_is_nothing_to_reindex(tmp_path: Path, trained: Path) -> None:
    worlds.learn(tmp_path, "sky", trained / "sky.npz")
    with pytest.raises(UserError, match="nothing is indexed yet"):
        reindex.reindex(tmp_path / ".mneme", Wanted("matched"))


def test_auto_names_the_tasks_that_too_few_validation_pairs_can_choose_for(
    world: Path, tmp_path: Path
) -> None:
    rows = [replace(row, split="train") for row in worlds.rows("life", 12, start=500)]
    worlds.index(world, worlds.save(tmp_path / "late.npz", [replace(row, task="untold") for row in rows]))
    assert to(world, "auto").unsure == ["untold"]
    assert to(world, "matched").unsure == []
