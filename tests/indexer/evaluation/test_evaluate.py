import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import evaluations
import worlds
from engine.errors import UserError
from evaluations import USUAL, evaluated, tried
from indexer.evaluation import evaluate
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.plans import IndexPolicy
from indexer.evaluation.protocol import EvalSettings
from indexer.evaluation.results import Result
from indexer.serving import remove

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


@pytest.fixture(scope="session")
def usual(trained: Path) -> list[Result]:
    return evaluations.results(trained)


@pytest.fixture
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluations.three(tmp_path_factory.getbasetemp())


@pytest.fixture
def referred(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    return evaluations.referred(tmp_path_factory.getbasetemp())


def holes(result: Result) -> list[list[bool]]:
    """Say which cells of a matrix hold nothing."""
    return [[value is None for value in row] for row in result.matrix]


def test_there_is_one_result_for_each_policy_direction_k_known_and_unknown(usual: list[Result]) -> None:
    met = [(r.policy, r.query, r.target, r.k, r.task_known, r.merge) for r in usual]
    assert len(met) == len(set(met)) == 3 * 2 * 3 * 2


def test_a_known_task_has_no_merge_and_an_unknown_one_has_one(usual: list[Result]) -> None:
    assert {(r.task_known, r.merge) for r in usual} == {(True, None), (False, "raw")}


def test_queries_are_the_distinct_items_of_the_split(usual: list[Result]) -> None:
    assert {tuple(r.queries) for r in usual} == {(6, 6, 6)}
    assert {tuple(r.seen) for r in usual} == {(0, 0, 0)}


def test_every_query_of_the_train_split_stands_in_train_pairs(trained: Path) -> None:
    assert all(
        r.seen == r.queries
        for r in evaluations.results(trained, EvalSettings(split="train", gallery="train"))
    )


def test_a_task_that_was_never_trained_takes_part_with_the_head_it_arrived_with(
    trained: Path, tmp_path: Path
) -> None:
    worlds.learn(tmp_path, "sky", trained / "sky.npz")
    worlds.index(tmp_path, trained / "sky.npz", trained / "life.npz")
    worlds.learn(tmp_path, "places", trained / "places.npz")
    with evaluated(tmp_path, USUAL) as evaluation:
        assert evaluation.tasks == ["sky", "places", "life"]  # what was never learned comes last
        assert holes(next(evaluation.results())) == [[False, True, False], [False, False, False]]


def test_a_task_that_was_indexed_first_is_null_until_it_is_learned(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz", trained / "life.npz")
    worlds.learn(tmp_path, "sky")
    worlds.learn(tmp_path, "life")
    assert holes(evaluations.results(tmp_path)[0]) == [[False, True], [False, False]]


def test_without_lessons_there_is_one_row_of_the_untrained_head(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz")
    yielded = evaluations.results(tmp_path)
    assert {len(r.matrix) for r in yielded} == {1}
    assert {(r.forgetting, r.bwt) for r in yielded} == {(None, None)}
    assert len({json.dumps(r.matrix) for r in yielded if r.query == "text" and r.k == 1}) == 1


def test_three_modalities_give_six_directions_and_three_of_two_to_one(three: Path) -> None:
    with evaluated(three, USUAL) as evaluation:
        directions = [(trial.query, trial.target) for trial in evaluation.trials]
    assert len(directions) == len(set(directions)) == 9
    assert {direction for direction in directions if "+" in direction[0]} == {
        ("image+text", "depth"),
        ("image+depth", "text"),
        ("text+depth", "image"),
    }


def test_only_what_was_trained_together_counts_as_trained(three: Path) -> None:
    with evaluated(three, USUAL) as evaluation:
        trained = {(trial.query, trial.target) for trial in evaluation.trials if trial.trained}
    assert trained == {("image", "text"), ("text", "image")}


def test_nothing_was_trained_together_before_the_first_lesson(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz")
    assert {r.trained for r in evaluations.results(tmp_path)} == {False}


def test_evaluating_writes_nothing(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    before = worlds.bytes_below(root)
    evaluations.results(root)
    assert worlds.bytes_below(root) == before


def test_a_removed_task_leaves_a_column_of_nulls(tmp_path: Path) -> None:
    rows = [*worlds.rows("sky"), *worlds.rows("life", 10)]
    source = worlds.save(tmp_path / "two.npz", rows)
    worlds.learn(tmp_path, "life", source)
    worlds.learn(tmp_path, "sky", source)
    worlds.index(tmp_path, source)
    worlds.save(source, rows[:30])
    worlds.index(tmp_path, source)
    yielded = evaluations.results(tmp_path)
    assert {(r.queries[0], r.matrix[-1][0]) for r in yielded} == {(0, None)}
    assert all(r.matrix[-1][1] is not None for r in yielded)


def test_a_task_whose_features_were_removed_is_left_out_and_said_to_be(world: Path) -> None:
    remove.remove_features(world / ".mneme", "sky")
    with evaluated(world, USUAL) as evaluation:
        assert (evaluation.sealed, evaluation.tasks) == (["sky"], ["life", "places"])
        assert {len(row) for result in evaluation.results() for row in result.matrix} == {2}


def test_nothing_indexed_says_what_to_run(tmp_path: Path) -> None:
    worlds.index(tmp_path, worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 9)))
    with evaluated(tmp_path, USUAL) as evaluation:
        manifest = evaluation.workspace.manifest
        bare = replace(manifest, history=replace(manifest.history, arrivals=()))
        empty = Evaluation(replace(evaluation.workspace, manifest=bare), evaluation.store, EvalSettings())
        with pytest.raises(UserError, match=r"^nothing is indexed yet: run `mneme index SOURCE`$"):
            list(empty.results())


def test_where_the_features_of_all_tasks_were_removed_it_says_what_to_run(world: Path) -> None:
    for task in worlds.TASKS:
        remove.remove_features(world / ".mneme", task)
    with pytest.raises(
        UserError, match=r"^the features of all tasks were removed: run `mneme index` on a source "
    ):
        evaluations.results(world)


def test_a_split_without_pairs_is_one_line(tmp_path: Path) -> None:
    worlds.index(tmp_path, worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 5)))
    with pytest.raises(UserError, match=r"^no test pair joins two modalities: there is nothing to evaluate$"):
        evaluations.results(tmp_path)


def as_json(root: Path) -> dict[str, Any]:
    with evaluated(root, USUAL) as evaluation:
        content: dict[str, Any] = json.loads(
            json.dumps(evaluate.to_json(evaluation, list(evaluation.results())))
        )
    return content


def test_the_json_has_the_keys_of_the_command_lines_page(referred: Path) -> None:
    content = as_json(referred)
    assert list(content) == ["format", "tasks", "lessons", "references", "results", "comparisons", "causes"]
    assert content["format"] == 1
    assert all(set(result) >= KEYS and "ranks" not in result for result in content["results"])
    assert [reference["method"] for reference in content["references"]] == ["joint"]


def test_the_json_names_tasks_and_lessons_in_order(trained: Path) -> None:
    content = as_json(trained)
    assert content["tasks"] == content["lessons"] == ["sky", "life", "places"]


def test_the_json_compares_every_two_policies_and_tells_the_causes_of_each(trained: Path) -> None:
    content = as_json(trained)
    compared = {
        (c["first"], c["second"], c["task_known"], c["merge"], c["k"]) for c in content["comparisons"]
    }
    assert len(compared) == 3 * 2 * 3
    assert len(content["comparisons"]) == 2 * len(compared)
    assert {(c["policy"], c["merge"]) for c in content["causes"]} == {
        (policy, "raw") for policy in EvalSettings().policies
    }


def test_causes_are_told_of_the_last_merge_named(trained: Path) -> None:
    settings = EvalSettings(policies=["matched"], merges=["raw", "routed"], ks=[1], details=False)
    with evaluated(trained, settings) as evaluation:
        assert {diagnosis.merge for diagnosis in evaluation.diagnoses()} == {"routed"}


def test_systems_are_the_policies_with_the_budget_and_then_the_references(referred: Path) -> None:
    settings = EvalSettings(policies=["partial", "matched"], budget=0.3)
    with evaluated(referred, settings) as evaluation:
        *policies, joint = evaluation.systems
        assert policies == [IndexPolicy("partial", 0.3), IndexPolicy("matched", 0.3)]
        assert [joint] == evaluation.references
        assert joint.name == "joint"


def test_a_reference_is_judged_after_the_lessons_it_stands_for_alone(referred: Path) -> None:
    yielded = evaluations.results(referred)
    joint = [r for r in yielded if r.policy == "joint"]
    assert {r.seconds for r in joint} == {12.5}
    assert {value for r in joint for row in r.matrix[:-1] for value in row} == {None}
    same = [r for r in yielded if r.policy == "reindex"]
    assert [r.matrix[-1] for r in joint] == [r.matrix[-1] for r in same]


def test_a_reference_is_held_beside_every_policy(referred: Path) -> None:
    with evaluated(referred, EvalSettings(ks=[1])) as evaluation:
        comparisons = [c for c in evaluation.comparisons() if c.second == "joint" and c.task_known]
    assert {c.first for c in comparisons} == {"reindex", "no-reindex", "matched"}
    assert {c.difference for c in comparisons if c.first == "reindex"} == {0.0}


def test_rankings_are_as_deep_as_the_largest_k_and_no_shallower_than_a_partition_needs(trained: Path) -> None:
    depths = []
    for ks in ([1, 3], [1, 40]):
        with tried(trained, EvalSettings(ks=ks)) as trial:
            depths.append(trial.galleries.depth)
    assert depths == [10, 40]


def test_what_details_need_is_planned_for_details_alone(trained: Path) -> None:
    for details, lessons in ((True, 3), (False, 0)):
        with tried(trained, EvalSettings(details=details)) as trial:
            assert sum(map(len, trial.full.values())) == 3 * lessons
            assert {len(states) for states in trial.states.values()} == {3}


def test_the_router_of_each_lesson_knows_the_tasks_of_then(trained: Path) -> None:
    with tried(trained) as trial:
        states = trial.states["matched"]
        assert [state.lesson for state in states] == [1, 2, 3]
        assert [list(state.routers["text"].tasks) for state in states] == [
            ["sky"],
            ["sky", "life"],
            ["sky", "life", "places"],
        ]
