"""What one policy and one merge come to in one direction: matrices, averages, and what they are made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from engine.evaluation import metrics
from engine.types import MergeName, Modality
from indexer.evaluation.protocol import EvalSettings
from indexer.evaluation.runs import Direction, Right
from indexer.policies.plan import Placement

Cells = list[list[float | None]]


@dataclass(frozen=True)
class Result:
    """One matrix of recall@K of a policy; row: after lesson i, column: the queries of task j.

    Or of a method whose heads were trained beside the history, as a reference: see `policy.referenced`.

    What the setting's details leave out is None, too.

    Attributes:
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
    zero_shot: list[float | None] | None
    future: Cells | None
    forward_transfer: float | None
    confusion: float | None
    final_gallery_forgetting: float | None
    ranks: list[list[int]]
    queries: list[int]
    seen: list[int]
    chance: list[float | None]


def judged(
    direction: Direction,
    policy: str,
    merge: MergeName | None,
    setting: EvalSettings,
    trained: bool,
) -> Iterator[Result]:
    """Yield one result for each K; without a merge the task is known."""
    exam = direction.exam
    tasks = list(exam.queries)
    asked = Asked(direction, policy, merge, tasks)
    for k in setting.ks:
        matrix, known = asked.matrix(k), merge is None
        zero_shot = asked.zero_shot(k) if known and setting.details else None
        future = asked.future(k) if known and setting.details else None
        steady = asked.on_final_gallery(k) if setting.details and not known else None
        yield Result(
            policy=policy,
            merge=merge,
            query=direction.query,
            target=direction.target,
            task_known=known,
            k=k,
            seconds=direction.trained_for(policy),
            trained=trained,
            matrix=matrix,
            final=metrics.final(matrix),
            forgetting=metrics.forgetting(matrix),
            bwt=metrics.bwt(matrix),
            plasticity=metrics.plasticity(matrix),
            mrr=asked.mrr(k),
            ndcg=asked.ndcg(k),
            zero_shot=zero_shot,
            future=future,
            forward_transfer=metrics.forward_transfer(zero_shot, future) if zero_shot and future else None,
            confusion=None if known else asked.confusion(k),
            final_gallery_forgetting=metrics.forgetting(steady) if steady else None,
            ranks=asked.ranks(k),
            queries=[len(exam.queries[task]) for task in tasks],
            seen=[exam.seen[task] for task in tasks],
            chance=[exam.chance(task, tasks if merge else [task], k) for task in tasks],
        )


@dataclass(frozen=True)
class Comparison:
    """How far one policy, or reference, is above another after the last lesson: mean over tasks, and a 95 % interval.

    Paired bootstrap over the queries of each task.
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


def compared(direction: Direction, merge: MergeName | None, setting: EvalSettings) -> Iterator[Comparison]:
    """Yield every two policies beside each other, at every K."""
    tasks = list(direction.exam.queries)
    for first, second in combinations([*setting.policies, *direction.references], 2):
        both = [Asked(direction, policy, merge, tasks) for policy in (first, second)]
        found = [[one.right(one.rows[-1], task) for one in both] for task in tasks]
        known = [(a, b) for a, b in found if a is not None and b is not None]
        for k in setting.ks if known else ():
            hits = [[right[:, :k].any(axis=1) for right in side] for side in zip(*known, strict=True)]
            way = (direction.query, direction.target)
            yield Comparison(first, second, merge, *way, merge is None, k, *metrics.paired(hits[0], hits[1]))


@dataclass(frozen=True)
class Asked:
    """One policy and one merge, asked in one direction after every lesson."""

    direction: Direction
    policy: str
    merge: MergeName | None
    tasks: Sequence[str]

    @property
    def rows(self) -> range:
        """The rows of the matrix."""
        return range(len(self.direction.after))

    def right(self, row: int, task: str) -> Right | None:
        """Return which of the first K are right for a task's queries after a lesson (Q, K)."""
        return self.direction.right(self.direction.plans(self.policy)[row], row, task, self.merge)

    def matrix(self, k: int) -> Cells:
        """Return recall@k after every lesson (rows) of every task (columns)."""
        return [[_recall(self.right(row, task), k) for task in self.tasks] for row in self.rows]

    def mrr(self, k: int) -> float | None:
        """Return the mean reciprocal rank at k after the last lesson, averaged over tasks."""
        found = [self.right(self.rows[-1], task) for task in self.tasks]
        return metrics.mean([metrics.reciprocal_rank(right, k) for right in found if right is not None])

    def ranks(self, k: int) -> list[list[int]]:
        """Return where each task's queries find the first right item after the last lesson; 0: not among k."""
        found = [self.right(self.rows[-1], task) for task in self.tasks]
        return [[] if right is None else metrics.first_right(right[:, :k]).tolist() for right in found]

    def ndcg(self, k: int) -> float | None:
        """Return normalised discounted cumulative gain at k after the last lesson, averaged over tasks."""
        exam, gains = self.direction.exam, []
        for task in self.tasks:
            right = self.right(self.rows[-1], task)
            if right is not None:
                gains.append(
                    metrics.ndcg(right, exam.relevant(task, self.tasks if self.merge else [task]), k)
                )
        return metrics.mean(gains)

    def zero_shot(self, k: int) -> list[float | None]:
        """Return recall@k of each task under the untrained head."""
        plan = {task: (Placement(0, 0, 0),) for task in self.tasks}
        return [_recall(self.direction.right(plan, 0, task, None), k) for task in self.tasks]

    def future(self, k: int) -> Cells:
        """Return recall@k of tasks still to be learned, as if they had been indexed by the head of the row."""
        found: Cells = []
        for row in self.rows:
            wide, there = self.direction.wide(self.policy, row), self.direction.plans(self.policy)[row]
            held = (None if t in there else self.direction.right(wide, row, t, None) for t in self.tasks)
            found.append([_recall(right, k) for right in held])
        return found

    def on_final_gallery(self, k: int) -> Cells:
        """Return the matrix where the items of all tasks are in the gallery after every lesson."""
        found: Cells = []
        for row in self.rows:
            wide, there = self.direction.wide(self.policy, row), self.direction.plans(self.policy)[row]
            held = (
                self.direction.right(wide, row, t, self.merge) if t in there else None for t in self.tasks
            )
            found.append([_recall(right, k) for right in held])
        return found

    def confusion(self, k: int) -> float | None:
        """Return recall@k with the task known less that with the task unknown, after the last lesson."""
        known = Asked(self.direction, self.policy, None, self.tasks)
        gaps = []
        for task in self.tasks:
            with_task, without = known.right(self.rows[-1], task), self.right(self.rows[-1], task)
            if with_task is not None and without is not None:
                gaps.append(metrics.recall(with_task, k) - metrics.recall(without, k))
        return metrics.mean(gaps)


def _recall(right: Right | None, k: int) -> float | None:
    return None if right is None else metrics.recall(right, k)
