import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import worlds
from engine.errors import UserError
from engine.evaluation import metrics
from engine.history import Reference
from engine.ingest.setup import WorkspaceOptions
from engine.ranking.query import Part
from engine.types import AllTasks, KnownTask, MergeName, PolicyName, TrainSettings
from indexer.evaluation import evaluate
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.evaluation.results import Asked, Result
from indexer.policies import policies as policy
from indexer.report import text as tables
from indexer.serving import search
from indexer.shards import shard as shards
from training import lesson

POLICIES: Sequence[PolicyName] = ("reindex", "no-reindex", "matched", "aligned", "auto")
"""Those that look at the state alone; what partial moves depends on what was served before."""
KEYS = {
    "policy",
    "merge",
    "query",
    "target",
    "task_known",
    "k",
    "matrix",
    "final",
    "forgetting",
    "bwt",
    "queries",
    "chance",
}


def results(root: Path, setting: EvalSettings | None = None) -> list[Result]:
    with evaluate.open_evaluation(root / ".mneme", setting or EvalSettings()) as opened:
        return list(opened.results())


@pytest.fixture(scope="session")
def usual(trained: Path) -> list[Result]:
    return results(trained)


def refusal(root: Path, setting: EvalSettings) -> str:
    with pytest.raises(UserError) as caught:
        results(root, setting)
    return str(caught.value)


def test_there_is_one_result_for_each_policy_direction_k_known_and_unknown(usual: list[Result]) -> None:
    met = [(r.policy, r.query, r.target, r.k, r.task_known, r.merge) for r in usual]
    assert len(met) == len(set(met)) == 3 * 2 * 3 * 2


def test_a_known_task_has_no_merge_and_an_unknown_one_has_one(usual: list[Result]) -> None:
    assert {(r.task_known, r.merge) for r in usual} == {(True, None), (False, "raw")}


def test_a_matrix_has_a_row_for_each_lesson_and_a_column_for_each_task(usual: list[Result]) -> None:
    assert {(len(r.matrix), *map(len, r.matrix)) for r in usual} == {(3, 3, 3, 3)}


def test_what_was_not_learned_yet_is_null_and_all_else_a_number(usual: list[Result]) -> None:
    holes = {tuple(tuple(value is None for value in row) for row in r.matrix) for r in usual}
    assert holes == {((False, True, True), (False, False, True), (False, False, False))}


def test_matched_forgets_nothing_where_the_task_is_known(usual: list[Result]) -> None:
    assert {r.forgetting for r in usual if r.policy == "matched" and r.task_known} == {0.0}


def test_all_policies_agree_on_the_task_learned_last(usual: list[Result]) -> None:
    met = {(r.query, r.k, r.matrix[2][2]) for r in usual if r.task_known}
    assert len(met) == 2 * 3


def test_all_policies_agree_after_the_first_lesson(usual: list[Result]) -> None:
    met = {(r.query, r.k, r.matrix[0][0]) for r in usual if r.task_known}
    assert len(met) == 2 * 3


def test_recall_grows_with_k(usual: list[Result]) -> None:
    curves: dict[object, list[float]] = {}
    for r in usual:
        curves.setdefault((r.policy, r.query, r.merge), []).append(r.final or 0.0)
    assert all(curve == sorted(curve) for curve in curves.values())


def test_a_known_task_is_never_harder_than_an_unknown_one(usual: list[Result]) -> None:
    known = {(r.policy, r.query, r.k): r.final for r in usual if r.task_known}
    unknown = {(r.policy, r.query, r.k): r.final for r in usual if not r.task_known}
    assert all((known[setting] or 0) >= (unknown[setting] or 0) for setting in known)


def test_queries_are_the_distinct_items_of_the_split(usual: list[Result]) -> None:
    assert {tuple(r.queries) for r in usual} == {(6, 6, 6)}


def test_chance_is_k_over_the_gallery_where_one_item_is_right(usual: list[Result]) -> None:
    known = {r.k: r.chance[0] for r in usual if r.task_known}
    unknown = {r.k: r.chance[0] for r in usual if not r.task_known}
    assert known == pytest.approx({1: 1 / 6, 5: 5 / 6, 10: 1})
    assert unknown == pytest.approx({1: 1 / 18, 5: 5 / 18, 10: 10 / 18})


def test_the_averages_are_those_of_the_matrix(usual: list[Result]) -> None:
    one = next(r for r in usual if r.policy == "reindex" and r.query == "text" and not r.task_known)
    last = one.matrix[2]
    falls = [max(row[j] or 0 for row in one.matrix[j:]) - (last[j] or 0) for j in (0, 1)]
    moves = [(last[j] or 0) - (one.matrix[j][j] or 0) for j in (0, 1)]
    assert one.final == pytest.approx(sum(value or 0 for value in last) / 3)
    assert one.forgetting == pytest.approx(sum(falls) / 2)
    assert one.bwt == pytest.approx(sum(moves) / 2)


def evaluated(
    root: Path, policy: PolicyName, query: str, target: str, task: str, merge: MergeName | None
) -> dict[str, list[tuple[str, float]]]:
    """Return what evaluation ranks for each test query of a task after the last lesson."""
    with evaluate.open_evaluation(root / ".mneme", EvalSettings(ks=[10], gallery="all")) as opened:
        direction = opened.direction(query, target)
        queries, last = direction.exam.queries[task], len(direction.after) - 1
        found = direction.ranking(direction.plans(policy)[-1], last, task, merge)
    return {
        id.decode(): [(hit.decode(), score) for hit, score in zip(ids, scores, strict=True)]
        for id, ids, scores in zip(queries, found.ids, found.scores, strict=True)
    }


def searched(
    root: Path, policy: PolicyName, query: str, target: str, task: str, merge: MergeName | None
) -> dict[str, list[tuple[str, float]]]:
    """Return what search answers to the same queries, asked one by one."""
    with search.open_searcher(root / ".mneme", policy=policy) as searcher:
        scope = AllTasks(merge) if merge else KnownTask(task)
        held = [pair for pair in searcher.store.pairs() if pair.task == task and pair.split == "test"]
        backbone = searcher.snapshot.workspace.manifest.backbones[query].id
        found = {}
        for id in {id for pair in held for id in pair.items[query]}:
            part = Part(query, searcher.store.features([id], backbone)[0])
            hits = searcher.nearest([part], target, 10, scope)
            found[id] = [(hit.id, hit.score) for hit in hits]
    return found


@pytest.mark.parametrize("merge", [None, "raw", "routed"])
@pytest.mark.parametrize("task", worlds.TASKS)
@pytest.mark.parametrize(("query", "target"), [("text", "image"), ("image", "text")])
@pytest.mark.parametrize("policy", POLICIES)
def test_evaluation_ranks_as_search_does(
    trained: Path, policy: PolicyName, query: str, target: str, task: str, merge: MergeName | None
) -> None:
    expected = searched(trained, policy, query, target, task, merge)
    found = evaluated(trained, policy, query, target, task, merge)
    assert found.keys() == expected.keys()
    assert {id: [hit for hit, _ in hits] for id, hits in found.items()} == {
        id: [hit for hit, _ in hits] for id, hits in expected.items()
    }
    assert [score for id in expected for _, score in found[id]] == pytest.approx(
        [score for id in expected for _, score in expected[id]], abs=1e-6
    )


@pytest.mark.parametrize("policy", ["no-reindex", "matched"])
def test_evaluation_tells_the_probabilities_of_search_where_a_sample_stands_for_a_shard(
    trained: Path, policy: PolicyName, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for sample in (shards.SAMPLE, 8):
        monkeypatch.setattr(shards, "SAMPLE", sample)
        with evaluate.open_evaluation(trained / ".mneme", EvalSettings(ks=[10], gallery="all")) as opened:
            direction = opened.direction("text", "image")
            found = direction.ranking(direction.plans(policy)[-1], 2, "sky", "routed")
            queries = [id.decode() for id in direction.exam.queries["sky"]]
        with search.open_searcher(trained / ".mneme", policy=policy) as searcher:
            backbone = searcher.snapshot.workspace.manifest.backbones["text"].id
            parts = [Part("text", row) for row in searcher.store.features(queries, backbone)]
            hits = [searcher.nearest([part], "image", 10, AllTasks("routed")) for part in parts]
        assert found.log_p is not None
        told.append(found.log_p)
        assert found.log_p.tolist() == [pytest.approx([hit.log_p for hit in held], abs=1e-5) for held in hits]
    assert np.abs(told[0] - told[1]).max() > 0.01


def slow_recall(root: Path, policy: PolicyName, task: str, k: int) -> float:
    """Score the answers of search by hand, against the pairs of the store."""
    answers = searched(root, policy, "text", "image", task, "raw")
    with worlds.stored(root) as store:
        pairs = store.pairs()
    right = {id: {i for p in pairs if id in p.items["text"] for i in p.items["image"]} for id in answers}
    return float(np.mean([bool(right[id] & {hit for hit, _ in hits[:k]}) for id, hits in answers.items()]))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_last_row_is_the_recall_of_what_search_answers(trained: Path, policy: PolicyName) -> None:
    found = results(trained, EvalSettings(policies=[policy], ks=[3], gallery="all"))
    (one,) = (r for r in found if r.query == "text" and not r.task_known)
    assert one.matrix[-1] == pytest.approx([slow_recall(trained, policy, task, 3) for task in worlds.TASKS])


def test_an_earlier_row_is_what_search_answered_then(tmp_path: Path, trained: Path) -> None:
    for task in ("sky", "life"):
        worlds.learn(tmp_path, task, trained / f"{task}.npz", epochs=6)
        worlds.index(tmp_path, trained / f"{task}.npz")
    then = slow_recall(tmp_path, "no-reindex", "sky", 2)
    worlds.learn(tmp_path, "places", trained / "places.npz", epochs=6)
    worlds.index(tmp_path, trained / "places.npz")
    found = results(tmp_path, EvalSettings(policies=["no-reindex"], ks=[2], gallery="all"))
    (one,) = (r for r in found if r.query == "text" and not r.task_known)
    assert one.matrix[1][0] == pytest.approx(then)


def test_a_task_that_was_never_trained_takes_part_with_the_head_it_arrived_with(
    trained: Path, tmp_path: Path
) -> None:
    worlds.learn(tmp_path, "sky", trained / "sky.npz")
    worlds.index(tmp_path, trained / "sky.npz", trained / "life.npz")
    worlds.learn(tmp_path, "places", trained / "places.npz")
    one = results(tmp_path)[0]
    assert [[value is None for value in row] for row in one.matrix] == [
        [False, True, False],  # sky, places, life: what was never learned comes last
        [False, False, False],
    ]


def test_a_task_that_was_indexed_first_is_null_until_it_is_learned(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz", trained / "life.npz")
    worlds.learn(tmp_path, "sky")
    worlds.learn(tmp_path, "life")
    one = results(tmp_path)[0]
    assert [[value is None for value in row] for row in one.matrix] == [[False, True], [False, False]]


def test_without_lessons_there_is_one_row_of_the_untrained_head(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz")
    found = results(tmp_path)
    assert {len(r.matrix) for r in found} == {1}
    assert {(r.forgetting, r.bwt) for r in found} == {(None, None)}
    assert len({json.dumps(r.matrix) for r in found if r.query == "text" and r.k == 1}) == 1


def test_a_label_makes_more_right_than_a_pair(trained: Path) -> None:
    by_pair = results(trained, EvalSettings(ks=[1], gallery="all"))
    by_label = results(trained, EvalSettings(ks=[1], gallery="all", relevance="label"))
    gains = [(b.final or 0) - (a.final or 0) for a, b in zip(by_pair, by_label, strict=True)]
    assert min(gains) >= 0
    assert max(gains) > 0


def test_labels_let_a_gallery_of_training_items_answer(trained: Path) -> None:
    found = results(trained, EvalSettings(ks=[1], gallery="train", relevance="label"))
    assert {tuple(r.queries) for r in found} == {(6, 6, 6)}


def test_queries_with_nothing_right_in_the_gallery_are_dropped(trained: Path) -> None:
    found = results(trained, EvalSettings(ks=[1], gallery="train"))
    assert {(tuple(r.queries), tuple(r.chance), r.final) for r in found} == {((0, 0, 0), (None,) * 3, None)}


def test_unlabelled_pairs_give_nulls_and_no_crash(tmp_path: Path) -> None:
    path, rows = tmp_path / "sky.npz", worlds.rows("sky", 12)
    np.savez(path, image=np.stack([r.image for r in rows]), text=[r.text for r in rows], split=["test"] * 12)
    worlds.index(tmp_path, path)
    assert {r.final for r in results(tmp_path, EvalSettings(relevance="label"))} == {None}


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace of two tasks whose pairs hold an image, its depth and a text; a lesson of two of them."""
    root = tmp_path_factory.mktemp("three")
    rows = [*worlds.rows("sky", 40), *worlds.rows("life", 40)]
    image = np.stack([row.image for row in rows])
    text, task, split = ([getattr(row, name) for row in rows] for name in ("text", "task", "split"))
    np.savez(root / "rows.npz", image=image, depth=image[:, ::-1] ** 2, text=text, task=task, split=split)
    settings = TrainSettings("sky", form="linear", epochs=1, modalities=("image", "text"))
    lesson.learn(root / ".mneme", [root / "rows.npz"], WorkspaceOptions(), settings)
    worlds.index(root, root / "rows.npz")
    return root


def test_three_modalities_give_six_directions_and_three_of_two_to_one(three: Path) -> None:
    ways = {(r.query, r.target) for r in results(three)}
    assert len(ways) == 9
    assert {way for way in ways if "+" in way[0]} == {
        ("image+text", "depth"),
        ("image+depth", "text"),
        ("text+depth", "image"),
    }


def test_what_one_direction_has_computed_is_not_taken_for_another_s(tmp_path: Path) -> None:
    rows = [*worlds.rows("sky", 20), *worlds.rows("life", 20)]
    for name, held in (
        ("image", rows),
        ("depth", worlds.rows("sky", 60, start=20) + worlds.rows("life", 40, start=20)),
    ):
        vectors, text = np.stack([row.image for row in held]), [row.text for row in held]
        task, split = ([getattr(row, one) for row in held] for one in ("task", "split"))
        arrays: dict[str, Any] = {name: vectors, "text": text, "task": task, "split": split}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    worlds.index(tmp_path, tmp_path / "image.npz", tmp_path / "depth.npz")
    setting = EvalSettings(policies=["matched"], merges=["raw", "routed"], ks=[3])
    together = {(r.query, r.target, r.merge): r.matrix for r in results(tmp_path, setting)}
    for query, target in {way[:2] for way in together}:
        with evaluate.open_evaluation(tmp_path / ".mneme", setting) as opened:
            alone = opened.direction(query, target)
            tasks = list(alone.exam.queries)
            for merge in (None, "raw", "routed"):
                assert together[query, target, merge] == Asked(alone, "matched", merge, tasks).matrix(3)
    assert len(together) == 4 * 3


@pytest.mark.parametrize("merge", [None, "raw", "routed"])
@pytest.mark.parametrize("policy", ["no-reindex", "auto"])
def test_two_to_one_is_evaluated_as_search_answers_it(
    three: Path, policy: PolicyName, merge: MergeName | None
) -> None:
    found = evaluated(three, policy, "image+depth", "text", "life", merge)
    with search.open_searcher(three / ".mneme", policy=policy) as searcher:
        scope = AllTasks(merge) if merge else KnownTask("life")
        backbones = searcher.snapshot.workspace.manifest.backbones
        for ids, hits in found.items():
            each = {"image": ids[:32], "depth": ids[32:]}
            parts = [Part(m, searcher.store.features([id], backbones[m].id)[0]) for m, id in each.items()]
            expected = searcher.nearest(parts, "text", 10, scope)
            assert [hit for hit, _ in hits] == [hit.id for hit in expected]
    assert len(found) == 8


def test_only_what_was_trained_together_counts_as_trained(three: Path) -> None:
    found = {(r.query, r.target) for r in results(three) if r.trained}
    assert found == {("image", "text"), ("text", "image")}


def test_a_k_beyond_the_gallery_finds_everything(trained: Path) -> None:
    found = results(trained, EvalSettings(ks=[500]))
    assert {r.final for r in found} == {1.0}


def test_evaluating_writes_nothing(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    before = worlds.bytes_below(root)
    results(root)
    assert worlds.bytes_below(root) == before


def test_a_removed_task_leaves_a_column_of_nulls(tmp_path: Path) -> None:
    rows = [*worlds.rows("sky"), *worlds.rows("life", 10)]
    source = worlds.save(tmp_path / "two.npz", rows)
    worlds.index(tmp_path, source)
    worlds.save(source, rows[:30])
    worlds.index(tmp_path, source)
    found = results(tmp_path)
    assert {(r.queries[0], r.matrix[0][0]) for r in found} == {(0, None)}
    assert all(r.matrix[0][1] is not None for r in found)


def test_nothing_indexed_says_what_to_run(tmp_path: Path) -> None:
    worlds.index(tmp_path, worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 9)))
    with evaluate.open_evaluation(tmp_path / ".mneme", EvalSettings()) as opened:
        manifest = replace(
            opened.workspace.manifest, history=replace(opened.workspace.manifest.history, arrivals=())
        )
        empty = Evaluation(replace(opened.workspace, manifest=manifest), opened.store, EvalSettings())
        with pytest.raises(UserError, match=r"^nothing is indexed yet: run `mneme index SOURCE`$"):
            list(empty.results())


def test_a_split_without_pairs_is_one_line(tmp_path: Path) -> None:
    worlds.index(tmp_path, worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 5)))
    assert (
        refusal(tmp_path, EvalSettings()) == "no test pair joins two modalities: there is nothing to evaluate"
    )


def as_json(root: Path) -> dict[str, Any]:
    with evaluate.open_evaluation(root / ".mneme", EvalSettings()) as opened:
        found: dict[str, Any] = json.loads(json.dumps(evaluate.to_json(opened, list(opened.results()))))
    return found


def test_the_json_has_the_keys_of_the_command_lines_page(trained: Path) -> None:
    content = as_json(trained)
    assert set(content) == {"format", "tasks", "lessons", "references", "results", "comparisons", "causes"}
    assert all(set(result) >= KEYS for result in content["results"])


def test_the_json_names_tasks_and_lessons_in_order(trained: Path) -> None:
    content = as_json(trained)
    assert content["tasks"] == content["lessons"] == ["sky", "life", "places"]


@pytest.mark.parametrize(("given", "ks"), [("10,1,5", [1, 5, 10]), ("5,5", [5]), (" 3 ", [3])])
def test_ks_are_parsed_in_order_and_once(given: str, ks: list[int]) -> None:
    assert metrics.parse_ks(given) == ks


@pytest.mark.parametrize("given", ["", "0", "1,-5", "a", "1,,2", "1.5"])
def test_ks_that_are_no_numbers_from_1_are_refused(given: str) -> None:
    with pytest.raises(UserError, match=r"^`k` takes numbers from 1, comma-separated, not "):
        metrics.parse_ks(given)


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"^no policy 'best'; policies are: reindex, no-reindex, matched"):
        policy.parse_policies(["matched", "best"])


def test_the_csv_has_a_line_for_each_result(usual: list[Result], tmp_path: Path) -> None:
    tables.write_csv(tmp_path / "out.csv", usual)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == len(usual) + 1


def test_a_csv_that_cannot_be_written_is_one_line(usual: list[Result], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^cannot write .*out.csv: no such file or directory$"):
        tables.write_csv(tmp_path / "gone" / "out.csv", usual)


# beyond the matrix


def test_the_task_known_has_zero_shot_future_and_transfer_and_the_task_unknown_confusion(
    usual: list[Result],
) -> None:
    for r in usual:
        assert (r.zero_shot is None, r.future is None, r.forward_transfer is None) == (not r.task_known,) * 3
        assert (r.confusion is None, r.final_gallery_forgetting is None) == (r.task_known,) * 2


def test_future_cells_are_where_the_matrix_has_none(usual: list[Result]) -> None:
    for r in usual:
        for now, later in zip(r.matrix, r.future or [], strict=False):
            assert [value is None for value in now] == [value is not None for value in later]


def test_confusion_is_known_less_unknown(usual: list[Result]) -> None:
    known = {(r.policy, r.query, r.k): r.final for r in usual if r.task_known}
    for r in usual:
        if not r.task_known:
            gap = (known[r.policy, r.query, r.k] or 0) - (r.final or 0)
            assert r.confusion == pytest.approx(gap)


def test_the_final_gallery_is_that_of_the_last_row(trained: Path) -> None:
    with evaluate.open_evaluation(trained / ".mneme", EvalSettings()) as opened:
        asked = Asked(opened.direction("text", "image"), "matched", "raw", opened.tasks)
        whole, grown = asked.on_final_gallery(5), asked.matrix(5)
    assert whole[-1] == grown[-1]
    assert all((w or 0) <= (g or 0) for w, g in zip(whole[0], grown[0], strict=True))


def test_zero_shot_is_what_the_untrained_head_finds(trained: Path, tmp_path: Path) -> None:
    for task in worlds.TASKS:
        worlds.index(tmp_path, trained / f"{task}.npz")
    untrained = {(r.query, r.k): r.matrix[0] for r in results(tmp_path) if r.task_known}
    order = {(r.query, r.k): r.zero_shot for r in results(trained) if r.task_known}
    with evaluate.open_evaluation(tmp_path / ".mneme", EvalSettings()) as opened:
        held = opened.tasks
    for way, found in order.items():
        assert found == [untrained[way][held.index(task)] for task in worlds.TASKS]


def test_directions_that_were_never_trained_together_are_marked(trained: Path, tmp_path: Path) -> None:
    assert {r.trained for r in results(trained)} == {True}
    worlds.index(tmp_path, trained / "sky.npz")
    assert {r.trained for r in results(tmp_path)} == {False}


def test_queries_that_stand_in_train_pairs_too_are_counted(usual: list[Result]) -> None:
    assert {tuple(r.seen) for r in usual} == {(0, 0, 0)}


def test_every_query_of_the_train_split_stands_in_train_pairs(trained: Path) -> None:
    assert all(r.seen == r.queries for r in results(trained, EvalSettings(split="train", gallery="train")))


def test_reciprocal_rank_and_gain_lie_between_chance_and_recall(usual: list[Result]) -> None:
    for r in usual:
        assert 0 <= (r.mrr or 0) <= (r.ndcg or 0) <= (r.final or 0)


@pytest.fixture(scope="session")
def referred(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the workspace with a joint reference, which is the last lesson's head over again."""
    root = worlds.copied(trained, tmp_path_factory.mktemp("referred"))
    opened = worlds.opened(root)
    last = opened.manifest.history.lessons[-1]
    one = Reference("joint", last.task, last.number, last.head, False, 12.5)
    opened.with_manifest(replace(opened.manifest, references=(one,)))
    return root


def test_a_reference_is_judged_after_the_lessons_it_stands_for_alone(referred: Path) -> None:
    found = results(referred)
    joint = [r for r in found if r.policy == "joint"]
    assert {r.seconds for r in joint} == {12.5}
    assert {value for r in joint for row in r.matrix[:-1] for value in row} == {None}
    same = [r for r in found if r.policy == "reindex"]
    assert [r.matrix[-1] for r in joint] == [r.matrix[-1] for r in same]


def test_a_reference_is_held_beside_every_policy(referred: Path) -> None:
    with evaluate.open_evaluation(referred / ".mneme", EvalSettings(ks=[1])) as opened:
        found = [one for one in opened.comparisons() if one.second == "joint" and one.task_known]
    assert {one.first for one in found} == {"reindex", "no-reindex", "matched"}
    assert {one.difference for one in found if one.first == "reindex"} == {0.0}


def test_the_table_says_how_long_a_reference_was_trained(referred: Path) -> None:
    assert "joint (trained 12 s)" in tables.evaluation(results(referred, EvalSettings(ks=[1])))
