"""What a system comes to in one direction: matrices, their averages, and how far it is above another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from engine.evaluation import metrics
from engine.evaluation.metrics import METRICS, MetricName
from engine.types import AllTasks, MergeName, Modality
from indexer.evaluation import plans
from indexer.evaluation.plans import System
from indexer.evaluation.protocol import Condition, EvalSettings, OwnTask
from indexer.evaluation.runs import Judged, Trial, judge_all
from indexer.policies.plan import Placement

Cells = list[list[float | None]]
Row = Mapping[str, Judged]
"""What was judged after one lesson: of each task that is indexed then and has queries."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One matrix of recall@K of a system; row: after lesson i, column: the queries of task j.

    What the settings' details leave out is None, too.

    Attributes:
        policy: the system's name: a policy, or the method of heads that were trained beside the history.
        merge: None: the task is known.
        seconds: how long the heads of a reference were trained; None: a policy.
        trained: whether some lesson trained both modalities together.
        final, forgetting, bwt, plasticity: averages of the matrix.
        mrr, ndcg: at K, after the last lesson, averaged over tasks.
        zero_shot: of each task under the untrained head; the task known.
        future: of tasks that were still to be learned, as if indexed already; the task known.
        forward_transfer: what earlier lessons gave tasks before they were learned; the task known.
        confusion: what is lost after the last lesson by not knowing the task.
        final_gallery_forgetting: forgetting where every task is in the gallery from the first lesson on, so
            that a gallery that grows is not taken for forgetting; the task unknown.
        ranks: of each task's queries after the last lesson, where the first right item stands; 0: not among K.
        queries, seen: test queries of each task, and how many of them stand in train pairs too.
        chance: what a random order of the gallery would give each task after the last lesson.
    """

    policy: str
    merge: MergeName | None
    query: Modality
    target: Modality
    task_known: bool
    k: int
    seconds: float | None
    trained: bool
    matrix: Cells
    final: float | None
    forgetting: float | None
    bwt: float | None
    plasticity: float | None
    mrr: float | None
    ndcg: float | None
    zero_shot: list[float | None] | None = None
    future: Cells | None = None
    forward_transfer: float | None = None
    confusion: float | None = None
    final_gallery_forgetting: float | None = None
    ranks: list[list[int]]
    queries: list[int]
    seen: list[int]
    chance: list[float | None]

    @property
    def mean_chance(self) -> float | None:
        """What a random order would find, averaged over tasks."""
        return metrics.mean([value for value in self.chance if value is not None])


@dataclass(frozen=True)
class Comparison:
    """How far one system is above another after the last lesson: mean over tasks, and a 95 % interval.

    Paired bootstrap over the queries of each task.

    Attributes:
        merge: None: the task is known.
    """

    first: str
    second: str
    merge: MergeName | None
    query: Modality
    target: Modality
    task_known: bool
    k: int
    difference: float
    low: float
    high: float


def results(trial: Trial, system: System, settings: EvalSettings) -> Iterator[Result]:
    """Yield a system's results: the task known, then unknown by every merge, each at every K."""
    states = trial.states[system.name]
    for condition in settings.conditions:
        rows = [judge_all(trial, state, condition) for state in states]
        for k in settings.ks:
            result = _result(trial, system, condition, rows, k)
            if isinstance(condition, AllTasks):
                known = judge_all(trial, states[-1], OwnTask())
                result = replace(result, confusion=_confusion(known, rows[-1], trial.eval_set.tasks, k))
            yield _detailed(trial, condition, result) if settings.details else result


def compared(
    trial: Trial, systems: Sequence[System], condition: Condition, ks: Sequence[int]
) -> Iterator[Comparison]:
    """Yield every two systems beside each other after the last lesson, at every K."""
    rows = {system.name: judge_all(trial, trial.states[system.name][-1], condition) for system in systems}
    for first, second in combinations(rows, 2):
        shared = [task for task in trial.eval_set.tasks if task in rows[first] and task in rows[second]]
        for k in ks if shared else ():
            difference, low, high = metrics.paired(
                [metrics.success(rows[first][task].right, k) for task in shared],
                [metrics.success(rows[second][task].right, k) for task in shared],
            )
            yield Comparison(
                first=first,
                second=second,
                merge=_merge(condition),
                query=trial.query,
                target=trial.target,
                task_known=isinstance(condition, OwnTask),
                k=k,
                difference=difference,
                low=low,
                high=high,
            )


def _result(trial: Trial, system: System, condition: Condition, rows: Sequence[Row], k: int) -> Result:
    """Return the figures of a matrix, without what is measured beside it."""
    eval_set, tasks, last = trial.eval_set, trial.eval_set.tasks, rows[-1]
    matrix = _matrix(rows, tasks, k)
    searched = {task: [task] if isinstance(condition, OwnTask) else tasks for task in tasks}
    gains = [metrics.ndcg(last[t].right, eval_set.relevant(t, searched[t]), k) for t in tasks if t in last]
    return Result(
        policy=system.name,
        merge=_merge(condition),
        query=trial.query,
        target=trial.target,
        task_known=isinstance(condition, OwnTask),
        k=k,
        seconds=plans.seconds(system, trial.states[system.name][-1].plan),
        trained=trial.trained,
        matrix=matrix,
        final=metrics.final(matrix),
        forgetting=metrics.forgetting(matrix),
        bwt=metrics.bwt(matrix),
        plasticity=metrics.plasticity(matrix),
        mrr=metrics.final([_scores("mrr", last, tasks, k)]),
        ndcg=metrics.mean(gains),
        ranks=[metrics.first_right(last[t].right[:, :k]).tolist() if t in last else [] for t in tasks],
        queries=[len(eval_set.queries[task]) for task in tasks],
        seen=[eval_set.seen[task] for task in tasks],
        chance=[eval_set.chance(task, searched[task], k) for task in tasks],
    )


def _detailed(trial: Trial, condition: Condition, result: Result) -> Result:
    """Return a result with what takes longer: later tasks as if they had been indexed from the first lesson on."""
    tasks, k = trial.eval_set.tasks, result.k
    states = list(zip(trial.states[result.policy], trial.full[result.policy], strict=True))
    if isinstance(condition, AllTasks):
        judged = [(state, judge_all(trial, full, condition)) for state, full in states]
        steady = [{task: row[task] for task in row if task in state.plan} for state, row in judged]
        return replace(result, final_gallery_forgetting=metrics.forgetting(_matrix(steady, tasks, k)))
    untrained = replace(states[0][0], plan={task: (Placement(0, 0, 0),) for task in tasks})
    (zero_shot,) = _matrix([judge_all(trial, untrained, condition)], tasks, k)
    later = [
        replace(full, plan={task: full.plan[task] for task in full.plan if task not in state.plan})
        for state, full in states
    ]
    future = _matrix([judge_all(trial, state, condition) for state in later], tasks, k)
    transfer = metrics.forward_transfer(zero_shot, future)
    return replace(result, zero_shot=zero_shot, future=future, forward_transfer=transfer)


def _matrix(rows: Sequence[Row], tasks: Sequence[str], k: int) -> Cells:
    """Return recall@k after every lesson (rows) of every task (columns)."""
    return [_scores("recall", row, tasks, k) for row in rows]


def _scores(name: MetricName, row: Row, tasks: Sequence[str], k: int) -> list[float | None]:
    """Return a measure at k of every task; None where it is not indexed yet or has no queries."""
    return [METRICS[name](row[task].right, k) if task in row else None for task in tasks]


def _confusion(known: Row, unknown: Row, tasks: Sequence[str], k: int) -> float | None:
    """Return the recall@k with the task known less that with the task unknown, averaged over tasks."""
    both = zip(_scores("recall", known, tasks, k), _scores("recall", unknown, tasks, k), strict=True)
    return metrics.mean([a - b for a, b in both if a is not None and b is not None])


def _merge(condition: Condition) -> MergeName | None:
    """Return how tasks are merged as the JSON says it: null where the task is known."""
    return condition.merge if isinstance(condition, AllTasks) else None
