import json
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

import worlds
from commands import Run, is_one_line
from engine.evaluation.qrels import Run as Retrieved
from engine.ranking.fusion import NO_SCORE
from engine.types import MergeName, PolicyName, Relevance
from evaluations import evaluated
from indexer.evaluation import trec
from indexer.evaluation.protocol import EvalSettings
from indexer.evaluation.results import Result

POLICIES: Sequence[PolicyName] = ("no-reindex", "matched")
MERGES: Sequence[MergeName] = ("raw", "routed")
K = 4
"""Small, so that some queries find nothing."""


def written(
    root: Path, folder: Path, relevance: Relevance = "pair", policies: Sequence[PolicyName] = POLICIES
) -> list[Result]:
    """Write the files of a workspace and return what evaluation says of the same rankings."""
    settings = EvalSettings(policies, MERGES, [K], relevance=relevance, details=False)
    with evaluated(root, settings) as evaluation:
        trec.write(evaluation, folder)
        return list(evaluation.results())


@pytest.fixture(scope="module")
def by_pair(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    folder = tmp_path_factory.mktemp("trec") / "by" / "pair"
    return folder, written(trained, folder)


@pytest.fixture(scope="module")
def by_label(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    folder = tmp_path_factory.mktemp("trec")
    return folder, written(trained, folder, "label", ["no-reindex"])


def run_name(result: Result) -> str:
    task = "known" if result.task_known else f"unknown-{result.merge}"
    return f"{result.policy}.{result.query}-{result.target}.{task}.run"


def qrels_name(result: Result) -> str:
    return f"{result.query}-{result.target}.{'known' if result.task_known else 'unknown'}.qrels"


def read_run(path: Path) -> dict[str, list[str]]:
    """Return each query's items by falling score, as tools that never look at the rank order them."""
    scored: dict[str, list[tuple[float, str]]] = {}
    for line in path.read_text().splitlines():
        query, _, item, _, score, _ = line.split(" ")
        scored.setdefault(query, []).append((float(np.float32(score)), item))
    return {query: [item for _, item in sorted(items, reverse=True)] for query, items in scored.items()}


def read_qrels(path: Path) -> dict[str, set[str]]:
    qrels: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        query, _, item, grade = line.split(" ")
        qrels.setdefault(query, set()).update([item] if grade == "1" else [])
    return qrels


def over_tasks(values: dict[str, float]) -> float:
    """Return the mean over tasks of the mean over their queries, ran from their names."""
    tasks: dict[str, list[float]] = {}
    for query, value in values.items():
        tasks.setdefault(query.rpartition(":")[0], []).append(value)
    return float(np.mean([np.mean(of_task) for of_task in tasks.values()]))


def judged(folder: Path, result: Result) -> tuple[float, float, float]:
    """Return recall, reciprocal rank and gain of one run, from the files alone."""
    run, qrels = read_run(folder / run_name(result)), read_qrels(folder / qrels_name(result))
    right = {query: [item in qrels[query] for item in run[query]] for query in qrels}
    recall = {query: float(any(hits)) for query, hits in right.items()}
    rank = {query: 1 / (hits.index(True) + 1) if any(hits) else 0.0 for query, hits in right.items()}
    gain = {}
    for query, hits in right.items():
        best = sum(1 / np.log2(place + 2) for place in range(min(K, len(qrels[query]))))
        gain[query] = sum(1 / np.log2(place + 2) for place, hit in enumerate(hits) if hit) / best
    return over_tasks(recall), over_tasks(rank), over_tasks(gain)


def test_the_files_alone_give_every_figure_that_evaluation_gives(by_pair: tuple[Path, list[Result]]) -> None:
    folder, results = by_pair
    assert len(results) == 2 * 2 * 3
    expected = np.array([(r.final, r.mrr, r.ndcg) for r in results])
    assert np.array([judged(folder, r) for r in results]) == pytest.approx(expected)


def test_the_files_give_these_figures_where_labels_make_right(by_label: tuple[Path, list[Result]]) -> None:
    folder, results = by_label
    expected = np.array([(r.final, r.mrr, r.ndcg) for r in results])
    assert np.array([judged(folder, r) for r in results]) == pytest.approx(expected)


def test_there_is_a_run_for_each_policy_direction_and_merge_and_nothing_else(
    by_pair: tuple[Path, list[Result]],
) -> None:
    folder, results = by_pair
    expected = {run_name(r) for r in results} | {qrels_name(r) for r in results}
    assert {path.name for path in folder.iterdir()} == expected | {"manifest.json"}


def test_the_manifest_says_what_each_run_is_and_by_what_it_is_judged(
    by_pair: tuple[Path, list[Result]],
) -> None:
    folder, results = by_pair
    content = json.loads((folder / "manifest.json").read_bytes())
    listed = {
        (
            run["file"],
            run["qrels"],
            run["policy"],
            run["query"],
            run["target"],
            run["task_known"],
            run["merge"],
        )
        for run in content["runs"]
    }
    assert content["format"] == 1
    assert listed == {
        (run_name(r), qrels_name(r), r.policy, r.query, r.target, r.task_known, r.merge) for r in results
    }
    assert [run["tag"] for run in content["runs"]] == [run["file"][: -len(".run")] for run in content["runs"]]


def test_scores_fall_strictly_in_the_order_of_the_ranks(by_pair: tuple[Path, list[Result]]) -> None:
    lines = [line.split() for path in by_pair[0].glob("*.run") for line in path.read_text().splitlines()]
    steps = [(a, b) for a, b in pairwise(lines) if (a[0], a[5]) == (b[0], b[5])]
    assert steps
    assert all(np.float32(a[4]) > np.float32(b[4]) and int(a[3]) + 1 == int(b[3]) for a, b in steps)


def run_of(scores: list[float]) -> Retrieved:
    """Return a run of one query with these scores."""
    places = np.zeros((1, len(scores)), np.intp)
    return Retrieved(np.array([b"q"]), ["sky"], np.zeros(1, np.intp), places, places, np.array([scores]))


def test_ties_become_the_next_smaller_float_and_what_is_not_there_stays_so() -> None:
    scores = trec.descending(run_of([0.5, 0.5, 0.5, 0.25, NO_SCORE]))[0]
    assert scores[:4].tolist() == [0.5, 0.5 - 2**-25, 0.5 - 2**-24, 0.25]
    assert scores[4] == NO_SCORE


def test_the_score_is_log_p_where_a_ranking_is_ordered_by_it() -> None:
    run = replace(run_of([0.25, 0.5]), log_p=np.array([[-1.5, -2.0]]))
    assert trec.descending(run).tolist() == [[-1.5, -2.0]]


@pytest.fixture(scope="module")
def two_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of two tasks that hold the same items; one of them has more, of the same labels."""
    folder = tmp_path_factory.mktemp("two")
    rows = [replace(row, task="sea & sky: é") for row in worlds.rows("sky", 10)]
    twins = [replace(row, id=f"twin of {row.id}", task="life") for row in rows]
    more = [replace(row, id=f"more {row.id}", text=f"more {row.text}") for row in twins]
    worlds.index(folder, worlds.save(folder / "two.npz", [*rows, *twins, *more]))
    written(folder, folder / "runs", "label", ["matched"])
    return folder / "runs"


def test_a_query_is_named_by_its_task_and_item_without_blanks(two_tasks: Path) -> None:
    names = set(read_qrels(two_tasks / "text-image.known.qrels"))
    assert all(re.fullmatch(r"\S+:[0-9a-f]{32}", name) for name in names)
    assert {unquote(name.rpartition(":")[0]) for name in names} == {"sea & sky: é", "life"}


def test_an_item_that_asks_in_two_tasks_is_two_queries(two_tasks: Path) -> None:
    names = list(read_run(two_tasks / "matched.image-text.known.run"))
    assert len(names) == 4
    assert len({name.rpartition(":")[2] for name in names}) == 2


def test_what_is_right_in_another_task_counts_only_where_the_task_is_unknown(two_tasks: Path) -> None:
    known, unknown = (read_qrels(two_tasks / f"image-text.{task}.qrels") for task in ("known", "unknown"))
    sky = [query for query in known if not query.startswith("life:")]
    assert [(len(known[query]), len(unknown[query])) for query in sky] == [(1, 2), (1, 2)]


def test_evaluate_writes_runs_to_a_folder_it_makes(run: Run, trained: Path, tmp_path: Path) -> None:
    ran = run("evaluate", "-w", trained, "--policy", "matched", "--k", "3", "--merge", "raw", "--runs", "a/b")
    assert (ran.status, ran.err) == (0, "")
    assert len(list((tmp_path / "a/b").glob("matched.*.run"))) == 4


def test_a_folder_that_cannot_be_made_is_one_line(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear all")
    ran = run("evaluate", "-w", trained, "--policy", "matched", "--runs", "letter/runs")
    assert is_one_line(ran, 1, "cannot write to letter/runs: not a directory")
