from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp

import evaluations
import worlds
from engine.evaluation.qrels import qrels_of
from engine.ranking.query import Part
from engine.types import AllTasks, KnownTask, MergeName, Pair, PolicyName, Scope
from evaluations import evaluated, tried
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.evaluation.embedded import Galleries, Queries
from indexer.evaluation.protocol import EvalSettings
from indexer.evaluation.results import Cells, results
from indexer.evaluation.runs import IndexState, judge, retrieve
from indexer.policies.plan import Placement, Plan
from indexer.serving import search
from indexer.shards import shard
from leaning import leaning
from planar import Plane, ids, letters, named

HEAD = Placement(0, 0, 0)
TAU = 0.5
DEGREES = {"a": 0, "b": 10, "c": 40, "d": 5, "e": 60, "q": 0, "r": 50, "s": 6}
PAIRS = [
    Pair("p0", {"image": (named("b"),), "text": (named("q"),)}, "sky", "test"),
    Pair("p1", {"image": (named("c"), named("d")), "text": (named("r"),)}, "sky", "test"),
    Pair("p2", {"image": (named("d"),), "text": (named("s"),)}, "life", "test"),
    Pair("p3", {"image": (named("a"), named("e"))}, "sky", "test"),
]
PLAN: Plan = {"life": (HEAD,), "sky": (HEAD,)}
"""Two tasks: pictures a, b and c are of sky, which texts q and r ask for; d and e are of life, and s asks."""

BOTH = ("raw", "routed")


@dataclass
class World:
    """Two tasks in the plane, and the embeddings that were asked for."""

    plane: Plane
    queries: Queries
    galleries: Galleries

    def run(self, scope: Scope, state: IndexState) -> Mapping[str, list[str]]:
        """Return what is retrieved for each query, by its letter: the letters of items, best first."""
        run = retrieve(state, self.queries, self.galleries, scope)
        items = self.galleries.qrels.ids[run.items]
        rows = zip(letters(run.queries), items, run.retrieved, strict=True)
        return {query: list(letters(row[retrieved])) for query, row, retrieved in rows}

    def judged(self, scope: Scope, state: IndexState) -> dict[str, tuple[list[list[int]], list[list[int]]]]:
        """Return for each task which places are right, and which are of strangers."""
        judged = judge(state, self.queries, self.galleries, scope)
        return {
            t: (j.right.astype(int).tolist(), j.strangers.astype(int).tolist()) for t, j in judged.items()
        }


@pytest.fixture
def world() -> World:
    plane = Plane(DEGREES)
    embeddings = cast(EmbeddingCache, plane)
    qrels = qrels_of(PAIRS, "pair", ("text", "image"))
    queries = Queries("text", {"sky": ids("qr"), "life": ids("s"), "places": ids("")}, embeddings)
    galleries = {"sky": ids("abc"), "life": ids("de"), "places": ids("")}
    return World(plane, queries, Galleries(("text", "image"), galleries, embeddings, qrels, depth=4))


def state(plan: Plan = PLAN, lesson: int = 1, lean: float = 0.0) -> IndexState:
    """Return a state whose router leans towards sky by so much, in nats, whatever the query."""
    router = leaning({"sky": lean, "life": 0})
    return IndexState(lesson, plan, lambda task, placement: TAU, {"text": router})


def test_a_known_task_is_asked_for_its_own_queries_and_finds_its_own_items(world: World) -> None:
    assert world.run(KnownTask("sky"), state()) == {"q": ["a", "b", "c"], "r": ["c", "b", "a"]}


def test_all_tasks_together_are_asked_for_all_queries_and_merged_by_cosine(world: World) -> None:
    assert world.run(AllTasks("raw"), state()) == {
        "s": ["d", "b", "a", "c"],
        "q": ["a", "d", "b", "c"],
        "r": ["c", "e", "b", "d"],
    }


def test_a_routed_merge_follows_the_router(world: World) -> None:
    assert world.run(AllTasks("routed"), state(lean=9.0))["s"] == ["b", "a", "c", "d"]
    assert world.run(AllTasks("routed"), state(lesson=2, lean=-9.0))["q"] == ["d", "e", "a", "b"]


def test_a_routed_run_tells_log_p_of_items_given_the_query(world: World) -> None:
    run = retrieve(state(lean=1.0), world.queries, world.galleries, AllTasks("routed")).of_task("life")
    cosines = {name: np.cos(np.radians(DEGREES[name] - DEGREES["s"])) / TAU for name in "abcde"}
    log_sky, log_life = -np.log1p(np.exp(-1.0)), -np.log1p(np.exp(1.0))
    log_p = {name: cosines[name] + log_sky - logsumexp([cosines[n] for n in "abc"]) for name in "abc"}
    log_p |= {name: cosines[name] + log_life - logsumexp([cosines[n] for n in "de"]) for name in "de"}
    ranked = letters(world.galleries.qrels.ids[run.items[0]])
    assert run.log_p is not None
    assert_allclose(run.log_p[0], [log_p[name] for name in ranked], atol=1e-6)


def test_a_run_by_cosine_tells_no_log_p(world: World) -> None:
    assert retrieve(state(), world.queries, world.galleries, AllTasks("raw")).log_p is None


def test_each_shard_is_searched_with_the_queries_as_its_head_embeds_them(world: World) -> None:
    turned = Placement(1, 1, 0)  # items turned by 90 degrees, queries not
    ranked = world.run(KnownTask("sky"), state({"sky": (turned,)}))
    assert ranked["q"] == ["a", "b", "c"]
    assert world.run(KnownTask("sky"), state({"sky": (Placement(0, 0, 1),)}))["q"] == ["c", "b", "a"]


def test_the_parts_of_a_task_are_searched_together(world: World) -> None:
    parts = (Placement(0, 0, 0, (named("a"), named("c"))), Placement(0, 0, 0, (named("b"),)))
    assert world.run(KnownTask("sky"), state({"sky": parts}))["q"] == ["a", "b", "c"]


def test_no_more_than_the_depth_is_retrieved(world: World) -> None:
    shallow = replace(world, galleries=replace(world.galleries, depth=2))
    assert shallow.run(AllTasks("raw"), state())["q"] == ["a", "d"]


def test_a_task_without_items_is_not_searched_and_one_without_queries_does_not_ask(world: World) -> None:
    plan: Plan = {"places": (HEAD,), **PLAN}
    assert world.run(AllTasks("raw"), state(plan)) == world.run(AllTasks("raw"), state())


@pytest.mark.parametrize("scope", [KnownTask("places"), KnownTask("sky")])
def test_what_is_not_indexed_or_has_no_queries_is_not_judged(world: World, scope: Scope) -> None:
    assert world.judged(scope, state({"places": (HEAD,), "life": (HEAD,)})) == {}


def test_an_index_of_nothing_is_judged_to_nothing(world: World) -> None:
    assert world.judged(AllTasks("raw"), state({"places": (HEAD,)})) == {}


def test_right_items_are_told_task_by_task(world: World) -> None:
    assert world.judged(KnownTask("sky"), state()) == {"sky": ([[0, 1, 0], [1, 0, 0]], [[0] * 3, [0] * 3])}


def test_right_items_of_another_task_s_shard_are_right_and_strangers(world: World) -> None:
    assert world.judged(AllTasks("raw"), state()) == {
        "life": ([[1, 0, 0, 0]], [[0, 1, 1, 1]]),
        "sky": ([[0, 0, 1, 0], [1, 0, 0, 1]], [[0, 1, 0, 0], [0, 1, 0, 1]]),
    }


def test_an_empty_place_is_neither_right_nor_a_stranger(world: World) -> None:
    twice = replace(world.galleries, ids={"sky": ids("ab"), "life": ids("ab")})
    world = replace(world, galleries=twice)
    judged = world.judged(AllTasks("raw"), state())
    # a and b stand in both tasks, so two of four places stay empty; ties go to the task named first
    assert judged["sky"] == ([[0, 1, 0, 0], [0, 0, 0, 0]], [[1, 1, 0, 0], [1, 1, 0, 0]])


@pytest.mark.parametrize("merge", BOTH)
def test_a_state_is_computed_once(world: World, merge: MergeName) -> None:
    first = judge(state(), world.queries, world.galleries, AllTasks(merge))
    embedded = len(world.plane.embedded)
    again = judge(state(), world.queries, world.galleries, AllTasks(merge))
    assert again is first
    assert len(world.plane.embedded) == embedded


def test_a_shard_is_searched_once_for_all_tasks_that_have_not_asked_it_yet(world: World) -> None:
    world.run(KnownTask("sky"), state())
    world.run(AllTasks("raw"), state())
    world.run(AllTasks("raw"), state(lesson=2))
    texts = [names for modality, names, _ in world.plane.embedded if modality == "text"]
    # sky's shard by its own queries, life's by those of both tasks at once, then sky's by the rest
    assert sorted(texts) == sorted(["qr", "s", "qr", "s"])


def test_what_the_lesson_s_router_says_is_not_taken_for_another_lesson(world: World) -> None:
    judged = [
        world.judged(AllTasks("routed"), state(lesson=n, lean=lean))["life"] for n, lean in ((1, 9), (2, -9))
    ]
    assert [right for right, _ in judged] == [[[0, 0, 0, 1]], [[1, 0, 0, 0]]]


def test_a_plan_is_not_taken_for_another(world: World) -> None:
    far: Plan = {"life": (Placement(2, 2, 0),), "sky": (HEAD,)}
    runs = [world.judged(AllTasks("raw"), state(plan))["life"][0] for plan in (PLAN, far)]
    assert runs == [[[1, 0, 0, 0]], [[0, 0, 0, 0]]]


def test_other_queries_of_a_task_are_not_taken_for_those_before(world: World) -> None:
    world.run(KnownTask("sky"), state())
    others = replace(world, queries=replace(world.queries, ids={"sky": ids("s")}))
    assert others.run(KnownTask("sky"), state()) == {"s": ["b", "a", "c"]}


def test_another_temperature_is_not_taken_for_the_one_before(world: World) -> None:
    warm = state(lean=1.0)
    cold = replace(warm, lesson=2, temperature=lambda task, placement: 0.01)
    runs = [retrieve(at, world.queries, world.galleries, AllTasks("routed")).log_p for at in (warm, cold)]
    assert runs[0] is not None
    assert runs[1] is not None
    assert np.abs(runs[0] - runs[1]).max() > 0.1


# beside search


def ranked_by_evaluation(
    root: Path, policy: PolicyName, direction: tuple[str, str], task: str, merge: MergeName | None
) -> dict[str, list[tuple[str, float]]]:
    """Return what evaluation ranks for each test query of a task after the last lesson."""
    settings = EvalSettings(policies=[policy], ks=[10], gallery="all", details=False)
    scope = AllTasks(merge) if merge else KnownTask(task)
    with tried(root, settings, *direction) as trial:
        run = retrieve(trial.states[policy][-1], trial.queries, trial.galleries, scope).of_task(task)
        items = trial.eval_set.qrels.ids[run.items]
    return {
        query.decode(): [(item.decode(), score) for item, score in zip(row, scores, strict=True)]
        for query, row, scores in zip(run.queries, items, run.scores, strict=True)
    }


def searched(
    root: Path, policy: PolicyName, direction: tuple[str, str], task: str, merge: MergeName | None
) -> dict[str, list[tuple[str, float]]]:
    """Return what search answers to the same queries, asked one by one."""
    query, target = direction
    scope = AllTasks(merge) if merge else KnownTask(task)
    with search.open_searcher(root / ".mneme", policy=policy) as searcher:
        pairs = [pair for pair in searcher.store.pairs() if pair.task == task and pair.split == "test"]
        backbone = searcher.snapshot.workspace.manifest.backbones[query].id
        hits_of = {}
        for id in {id for pair in pairs for id in pair.items[query]}:
            part = Part(query, searcher.store.features([id], backbone)[0])
            hits_of[id] = [(hit.id, hit.score) for hit in searcher.nearest([part], target, 10, scope)]
    return hits_of


@pytest.mark.parametrize("merge", [None, "raw", "routed"])
@pytest.mark.parametrize("task", worlds.TASKS)
@pytest.mark.parametrize("direction", [("text", "image"), ("image", "text")])
@pytest.mark.parametrize("policy", ["reindex", "no-reindex", "matched", "aligned", "auto"])
def test_evaluation_ranks_as_search_does(
    trained: Path, policy: PolicyName, direction: tuple[str, str], task: str, merge: MergeName | None
) -> None:
    expected = searched(trained, policy, direction, task, merge)
    ranked = ranked_by_evaluation(trained, policy, direction, task, merge)
    assert ranked.keys() == expected.keys()
    assert {id: [item for item, _ in hits] for id, hits in ranked.items()} == {
        id: [item for item, _ in hits] for id, hits in expected.items()
    }
    assert [score for id in expected for _, score in ranked[id]] == pytest.approx(
        [score for id in expected for _, score in expected[id]], abs=1e-6
    )


@pytest.mark.parametrize("policy", ["no-reindex", "matched"])
def test_evaluation_tells_the_probabilities_of_search_where_a_sample_stands_for_a_shard(
    trained: Path, policy: PolicyName, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_p = []
    settings = EvalSettings(policies=[policy], ks=[10], gallery="all", details=False)
    for sample in (shard.SAMPLE, 8):
        monkeypatch.setattr(shard, "SAMPLE", sample)
        with tried(trained, settings) as trial:
            state = trial.states[policy][-1]
            run = retrieve(state, trial.queries, trial.galleries, AllTasks("routed")).of_task("sky")
        with search.open_searcher(trained / ".mneme", policy=policy) as searcher:
            backbone = searcher.snapshot.workspace.manifest.backbones["text"].id
            features = searcher.store.features([id.decode() for id in run.queries], backbone)
            hits = [
                searcher.nearest([Part("text", row)], "image", 10, AllTasks("routed")) for row in features
            ]
        assert run.log_p is not None
        log_p.append(run.log_p)
        assert run.log_p.tolist() == [pytest.approx([hit.log_p for hit in row], abs=1e-5) for row in hits]
    assert np.abs(log_p[0] - log_p[1]).max() > 0.01


@pytest.mark.parametrize("merge", [None, "raw", "routed"])
@pytest.mark.parametrize("policy", ["no-reindex", "auto"])
def test_two_to_one_is_evaluated_as_search_answers_it(
    tmp_path_factory: pytest.TempPathFactory, policy: PolicyName, merge: MergeName | None
) -> None:
    root = evaluations.three(tmp_path_factory.getbasetemp())
    ranked = ranked_by_evaluation(root, policy, ("image+depth", "text"), "life", merge)
    scope = AllTasks(merge) if merge else KnownTask("life")
    with search.open_searcher(root / ".mneme", policy=policy) as searcher:
        backbones = searcher.snapshot.workspace.manifest.backbones
        for joined, hits in ranked.items():
            each = {"image": joined[:32], "depth": joined[32:]}
            parts = [Part(m, searcher.store.features([id], backbones[m].id)[0]) for m, id in each.items()]
            expected = searcher.nearest(parts, "text", 10, scope)
            assert [item for item, _ in hits] == [hit.id for hit in expected]
    assert len(ranked) == 8


def slow_recall(root: Path, policy: PolicyName, task: str, k: int) -> float:
    """Score the answers of search by hand, against the pairs of the store."""
    answers = searched(root, policy, ("text", "image"), task, "raw")
    with worlds.stored(root) as store:
        pairs = store.pairs()
    right = {id: {i for p in pairs if id in p.items["text"] for i in p.items["image"]} for id in answers}
    return float(np.mean([bool(right[id] & {hit for hit, _ in hits[:k]}) for id, hits in answers.items()]))


def matrix(root: Path, policy: PolicyName, k: int) -> list[list[float | None]]:
    """Return the recall of texts to images over all tasks, merged by cosine."""
    settings = EvalSettings(policies=[policy], ks=[k], gallery="all", details=False)
    (of_texts,) = (r for r in evaluations.results(root, settings) if r.query == "text" and not r.task_known)
    return of_texts.matrix


@pytest.mark.parametrize("policy", ["reindex", "no-reindex", "matched", "aligned", "auto"])
def test_the_last_row_is_the_recall_of_what_search_answers(trained: Path, policy: PolicyName) -> None:
    expected = [slow_recall(trained, policy, task, 3) for task in worlds.TASKS]
    assert matrix(trained, policy, 3)[-1] == pytest.approx(expected)


def test_an_earlier_row_is_what_search_answered_then(tmp_path: Path, trained: Path) -> None:
    for task in ("sky", "life"):
        worlds.learn(tmp_path, task, trained / f"{task}.npz", epochs=6)
        worlds.index(tmp_path, trained / f"{task}.npz")
    then = slow_recall(tmp_path, "no-reindex", "sky", 2)
    worlds.learn(tmp_path, "places", trained / "places.npz", epochs=6)
    worlds.index(tmp_path, trained / "places.npz")
    assert matrix(tmp_path, "no-reindex", 2)[1][0] == pytest.approx(then)


def test_what_one_direction_has_computed_is_not_taken_for_another_s(tmp_path: Path) -> None:
    rows = {
        "image": [*worlds.rows("sky", 20), *worlds.rows("life", 20)],
        "depth": worlds.rows("sky", 60, start=20) + worlds.rows("life", 40, start=20),
    }
    for name, of_modality in rows.items():
        vectors, text = np.stack([row.image for row in of_modality]), [row.text for row in of_modality]
        task, split = ([getattr(row, field) for row in of_modality] for field in ("task", "split"))
        arrays: dict[str, Any] = {name: vectors, "text": text, "task": task, "split": split}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    worlds.index(tmp_path, tmp_path / "image.npz", tmp_path / "depth.npz")
    settings = EvalSettings(policies=["matched"], merges=["raw", "routed"], ks=[3])
    together = {(r.query, r.target, r.merge): r.matrix for r in evaluations.results(tmp_path, settings)}
    alone: dict[tuple[str, str, MergeName | None], Cells] = {}
    for direction in {key[:2] for key in together}:
        with evaluated(tmp_path, settings) as evaluation:
            (system,) = evaluation.systems
            each = results(evaluation.trial(*direction), system, settings)
            alone |= {(*direction, result.merge): result.matrix for result in each}
    assert len(together) == 4 * 3
    assert alone == together
