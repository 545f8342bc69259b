"""What was found and what is right as TREC files: trec_eval, ir-measures and pytrec_eval read them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from engine.errors import UserError
from engine.ids import Ids
from engine.ranking.fusion import Ranking
from engine.storage import files
from engine.types import MergeName
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.runs import Direction
from indexer.policies.plan import Plan
from indexer.policies.planner import direction_name


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write a run of each policy, direction and merge after the last lesson, and what is right in each direction.

    `POLICY.QUERY-TARGET.known.run`, `POLICY.QUERY-TARGET.unknown-MERGE.run`; `QUERY-TARGET.known.qrels` for the
    items of the query's own task, `QUERY-TARGET.unknown.qrels` for those of all tasks.
    """
    merges: tuple[MergeName | None, ...] = (None, *evaluation.setting.merges)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for direction in evaluation.directions():
            way = direction_name(direction.query, direction.target)
            for task, lines in (("known", known_right(direction)), ("unknown", all_right(direction))):
                files.replace(folder / f"{way}.{task}.qrels", "".join(lines).encode())
            for policy in evaluation.setting.policies:
                plan = direction.plans(policy)[-1]
                for merge in merges:
                    name = f"{policy}.{way}.{f'unknown-{merge}' if merge else 'known'}"
                    lines = run(direction, plan, merge, name)
                    files.replace(folder / f"{name}.run", "".join(lines).encode())
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {(error.strerror or str(error)).lower()}") from None


def run(direction: Direction, plan: Plan, merge: MergeName | None, tag: str) -> Iterator[str]:
    """Yield the lines `qid Q0 docid rank score tag` of all tasks' queries after the last lesson.

    Args:
        merge: None: the task is known.
    """
    last = len(direction.after) - 1
    for task, queries in direction.exam.queries.items():
        if task in plan and len(queries):
            found = direction.ranking(plan, last, task, merge)
            for query, ids, scores in zip(qids(task, queries), found.ids, descending(found), strict=True):
                there = np.isfinite(scores)
                for rank, (id, score) in enumerate(zip(ids[there], scores[there], strict=True), 1):
                    yield f"{query} Q0 {id.decode()} {rank} {score!s} {tag}\n"


def known_right(direction: Direction) -> Iterator[str]:
    """Yield the lines `qid 0 docid 1` of what is right among the items of each query's own task."""
    for task, gallery in direction.exam.targets.items():
        yield from _right(direction, task, gallery)


def all_right(direction: Direction) -> Iterator[str]:
    """Yield the lines `qid 0 docid 1` of what is right among the items of all tasks."""
    gallery = np.unique(np.concatenate(list(direction.exam.targets.values())))
    for task in direction.exam.targets:
        yield from _right(direction, task, gallery)


def _right(direction: Direction, task: str, gallery: Ids) -> Iterator[str]:
    queries = direction.exam.queries[task]
    rows, columns = direction.exam.judge.matches(queries, gallery)
    for query, item in zip(queries[rows].tolist(), gallery[columns].tolist(), strict=True):
        yield f"{qid(task, query)} 0 {item.decode()} 1\n"


def qid(task: str, query: bytes) -> str:
    """Return the name of a query: an item that asks in two tasks is two queries."""
    return f"{quote(task, safe='')}:{query.decode()}"


def qids(task: str, queries: Ids) -> Sequence[str]:
    """Return the names of a task's queries (Q,)."""
    return [qid(task, query) for query in queries]


def descending(found: Ranking) -> NDArray[np.float32]:
    """Return the scores (Q, K) by which a ranking is ordered, log p or cosine, as what sorts by them sees it.

    trec_eval reads float32 and orders ties by its own rule, so a score that is not below the one before
    becomes the next smaller float32.
    """
    scores = (found.scores if found.log_p is None else found.log_p).astype(np.float32)
    for rank in range(1, scores.shape[1]):
        below = np.nextafter(scores[:, rank - 1], np.float32(-np.inf))
        scores[:, rank] = np.minimum(scores[:, rank], below)
    return scores
