"""One direction under evaluation, and what is retrieved and right in it under a condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.evaluation.qrels import Run
from engine.history import History
from engine.types import AllTasks, KnownTask, Modality, Scope
from indexer.evaluation.embedded import Galleries, Queries
from indexer.evaluation.protocol import Condition, EvalSet
from indexer.evaluation.runs import IndexState, Judged, asking, judge, retrieve


@dataclass(frozen=True)
class Trial:
    """One direction under evaluation.

    Attributes:
        trained: whether some lesson trained all its modalities together.
        states: of each system, by name, what answers after every lesson.
        full: the same, if all later tasks had been indexed by then, too; nothing unless details are wanted.
    """

    eval_set: EvalSet
    history: History
    trained: bool
    queries: Queries
    galleries: Galleries
    states: Mapping[str, Sequence[IndexState]]
    full: Mapping[str, Sequence[IndexState]]

    @property
    def query(self) -> Modality:
        """The modality of the queries."""
        return self.eval_set.query

    @property
    def target(self) -> Modality:
        """The modality of what is to be found."""
        return self.eval_set.target


def judge_all(trial: Trial, state: IndexState, condition: Condition) -> dict[str, Judged]:
    """Return what is right for all tasks that are indexed and have queries, each asked as a condition says."""
    judged = [judge(state, trial.queries, trial.galleries, scope) for scope in _scopes(state, condition)]
    return {task: by_task[task] for by_task in judged for task in by_task}


def retrieve_all(trial: Trial, state: IndexState, condition: Condition) -> dict[str, Run]:
    """Return the runs of all tasks that are indexed and have queries, each asked as a condition says."""
    scopes = [scope for scope in _scopes(state, condition) if asking(state, trial.queries, scope)]
    runs = [retrieve(state, trial.queries, trial.galleries, scope).by_task() for scope in scopes]
    return {task: by_task[task] for by_task in runs for task in by_task}


def _scopes(state: IndexState, condition: Condition) -> Sequence[Scope]:
    """Return where the queries look: each task's in its own, or those of all tasks in all."""
    return [condition] if isinstance(condition, AllTasks) else [KnownTask(task) for task in state.plan]
