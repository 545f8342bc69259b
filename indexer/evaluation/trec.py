"""Runs and judgements as TREC files: trec_eval, ir-measures and pytrec_eval read them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from engine.errors import inaccessible
from engine.evaluation.qrels import Run
from engine.ids import Ids
from engine.storage import files, names, output
from engine.types import AllTasks, MergeName, Modality, PolicyName
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.protocol import Condition, EvalSet, EvalSettings
from indexer.evaluation.runs import IndexState, Trial, retrieve_all
from indexer.policies.planner import direction_name

FORMAT = 1


@dataclass(frozen=True)
class RunFile:
    """One run as the manifest lists it: what its names stand for, as they are.

    Attributes:
        tag: the last word of its lines.
        qrels: the file of what is right.
        merge: None: the task is known.
    """

    file: str
    tag: str
    qrels: str
    policy: PolicyName
    query: Modality
    target: Modality
    task_known: bool
    merge: MergeName | None


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write a run of each policy, direction and merge after the last lesson, and what is right in each direction.

    `POLICY.QUERY-TARGET.known.run`, `POLICY.QUERY-TARGET.unknown-MERGE.run`; `QUERY-TARGET.known.qrels` for the
    items of the query's own task, `QUERY-TARGET.unknown.qrels` for those of all tasks. A run holds the first
    max(K) items. `manifest.json` lists the runs.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        runs = [run for trial in evaluation.trials for run in _write(evaluation.settings, trial, folder)]
        manifest = {"format": FORMAT, "runs": [vars(run) for run in runs]}
        output.write(folder / "manifest.json", files.to_json(manifest))
    except OSError as error:
        raise inaccessible(error, folder, to="write to") from None


def _write(settings: EvalSettings, trial: Trial, folder: Path) -> Iterator[RunFile]:
    """Write the files of one direction; yield its runs."""
    direction = names.file_name(direction_name(trial.query, trial.target))
    for task, lines in (("known", own_qrels(trial.eval_set)), ("unknown", all_qrels(trial.eval_set))):
        output.write(folder / f"{direction}.{task}.qrels", "".join(lines).encode())
    for policy in settings.policies:
        for condition in settings.conditions:
            merge = condition.merge if isinstance(condition, AllTasks) else None
            tag = f"{policy}.{direction}.{f'unknown-{merge}' if merge else 'known'}"
            lines = run_lines(trial, trial.states[policy][-1], condition, max(settings.ks), tag)
            output.write(folder / f"{tag}.run", "".join(lines).encode())
            qrels = f"{direction}.{'unknown' if merge else 'known'}.qrels"
            yield RunFile(f"{tag}.run", tag, qrels, policy, trial.query, trial.target, merge is None, merge)


def run_lines(trial: Trial, state: IndexState, condition: Condition, k: int, tag: str) -> Iterator[str]:
    """Yield the lines `qid Q0 docid rank score tag` of the first k items of all tasks' queries."""
    runs = retrieve_all(trial, state, condition)
    for task in trial.eval_set.tasks:
        if task in runs:
            items = trial.eval_set.qrels.ids[runs[task].items[:, :k]]
            for query, row, scores in zip(runs[task].queries, items, descending(runs[task]), strict=True):
                for rank, (item, score) in enumerate(zip(row, scores, strict=False), 1):
                    if np.isfinite(score):
                        yield f"{qid(task, query)} Q0 {item.decode()} {rank} {score!s} {tag}\n"


def own_qrels(eval_set: EvalSet) -> Iterator[str]:
    """Yield the lines `qid 0 docid 1` of what is right among the items of each query's own task."""
    for task, gallery in eval_set.galleries.items():
        yield from _qrels(eval_set, task, gallery)


def all_qrels(eval_set: EvalSet) -> Iterator[str]:
    """Yield the lines `qid 0 docid 1` of what is right among the items of all tasks."""
    gallery = np.unique(np.concatenate(list(eval_set.galleries.values())))
    for task in eval_set.tasks:
        yield from _qrels(eval_set, task, gallery)


def _qrels(eval_set: EvalSet, task: str, gallery: Ids) -> Iterator[str]:
    queries = eval_set.queries[task]
    rows, columns = eval_set.qrels.matches(queries, gallery)
    for query, item in zip(queries[rows].tolist(), gallery[columns].tolist(), strict=True):
        yield f"{qid(task, query)} 0 {item.decode()} 1\n"


def qid(task: str, query: bytes) -> str:
    """Return the name of a query: an item that asks in two tasks is two queries."""
    return f"{quote(task, safe='')}:{query.decode()}"


def descending(run: Run) -> NDArray[np.float32]:
    """Return the scores (Q, K) by which a run is ordered, log p or cosine, as what sorts by them sees it.

    trec_eval reads float32 and orders ties by its own rule, so a score that is not below the one before
    becomes the next smaller float32.
    """
    scores = (run.scores if run.log_p is None else run.log_p).astype(np.float32)
    for rank in range(1, scores.shape[1]):
        below = np.nextafter(scores[:, rank - 1], np.float32(-np.inf))
        scores[:, rank] = np.minimum(scores[:, rank], below)
    return scores
