"""What each policy would have answered after every lesson: the matrices, from features and heads alone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import UserError
from engine.evaluation.splits import Groups, grouped
from engine.heads.embedder import Embedder
from engine.heads.head import read_record
from engine.history import History, Reference, settled, up_to
from engine.storage.removed import readable
from engine.storage.removed import tasks as sealed_tasks
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at
from engine.types import Modality, Pair
from indexer.embeddings.embeddings import EmbeddingCache, embedding_cache
from indexer.evaluation.composed_queries import parts, ways, with_queries
from indexer.evaluation.diagnosis import Cause, causes
from indexer.evaluation.protocol import EvalSettings, exam
from indexer.evaluation.results import Comparison, Result, compared, judged
from indexer.evaluation.runs import Computed, Direction
from indexer.routing import routers
from indexer.routing.slda import Router
from indexer.shards import flat


@dataclass
class Evaluation:
    """A workspace under evaluation.

    Attributes:
        sealed: the tasks that are left out, since their features were removed.
    """

    workspace: Workspace
    store: Store
    setting: EvalSettings
    device: str = "cpu"
    pairs: list[Pair] = field(init=False)
    sealed: list[str] = field(init=False)
    reader: EmbeddingCache = field(init=False)
    _groups: Groups = field(init=False)
    _routers: dict[Modality, list[Router]] = field(default_factory=dict)
    _directions: list[Direction] = field(default_factory=list)
    _kept: Computed = field(default_factory=Computed)

    def __post_init__(self) -> None:
        self.pairs = readable(self.workspace.manifest, self.store)
        self._groups = grouped(self.pairs)
        self.sealed = sealed_tasks(self.workspace.manifest, self.store)
        self.reader = embedding_cache(Embedder(self.workspace, self.device), self.store, self.pairs)

    @property
    def history(self) -> History:
        """What is judged: every lesson, and the arrival of those tasks that were never learned."""
        history = self.workspace.manifest.history
        learned = {lesson.task for lesson in history.lessons}
        return History(history.lessons, tuple(a for a in history.arrivals if a.task not in learned))

    @property
    def tasks(self) -> list[str]:
        """The tasks in the order they were learned, then those that were never learned."""
        learned = dict.fromkeys(self.lessons)
        known = [*learned, *(arrival.task for arrival in self.history.arrivals)]
        return [task for task in known if task not in self.sealed]

    @property
    def references(self) -> dict[str, list[Reference]]:
        """The heads trained beside the history, by their method, in the order of training."""
        found: dict[str, list[Reference]] = {}
        for one in self.workspace.manifest.references:
            found.setdefault(one.method, []).append(one)
        return found

    @property
    def lessons(self) -> list[str]:
        """The task of each lesson."""
        return [lesson.task for lesson in self.workspace.manifest.history.lessons]

    def results(self) -> Iterator[Result]:
        """Yield the matrices of every direction, policy and merge, task known and unknown, at every K."""
        for direction in self.directions():
            trained = self._trained((direction.query, direction.target))
            for policy in (*self.setting.policies, *direction.references):
                for merge in (None, *self.setting.merges):
                    yield from judged(direction, policy, merge, self.setting, trained)

    def comparisons(self) -> Iterator[Comparison]:
        """Yield how far each policy is above each other one after the last lesson, at every K."""
        for direction in self.directions():
            for merge in (None, *self.setting.merges):
                yield from compared(direction, merge, self.setting)

    def causes(self) -> Iterator[Cause]:
        """Yield what has become of every task under every policy, lesson by lesson."""
        merge = self.setting.merges[-1]
        for direction in self.directions():
            for policy in self.setting.policies:
                yield from causes(direction, policy, merge)

    def directions(self) -> list[Direction]:
        """Return every direction that can be tested; each keeps what it has computed."""
        if not self._directions:
            if self.sealed and not self.tasks:
                raise UserError("the features of all tasks were removed: run `mneme index` on a source again")
            if not self.tasks:
                raise UserError("nothing is indexed yet: run `mneme index SOURCE`")
            self._directions = [self.direction(*way) for way in self._ways()]
            if not self._directions:
                raise UserError(
                    f"no {self.setting.split} pair joins two modalities: there is nothing to evaluate"
                )
        return self._directions

    def direction(self, query: Modality, target: Modality) -> Direction:
        """Return one direction, ready to be asked."""
        setting = self.setting
        asked = exam(with_queries(self.pairs, query), self.tasks, (query, target), setting)
        return Direction(
            self.reader,
            self.history,
            query,
            target,
            asked,
            {modality: self._learned(modality) for modality in parts(query)},
            max(setting.ks),
            budget=setting.budget,
            on_gpu=self.device == "cuda" and flat.gpus() > 0,
            references=self.references,
            kept=self._kept,
        )

    def _ways(self) -> list[tuple[Modality, Modality]]:
        """Return every direction that some pair of the split joins."""
        return ways([pair for pair in self.pairs if pair.split == self.setting.split])

    def _trained(self, way: tuple[Modality, Modality]) -> bool:
        """Say whether some lesson trained all modalities of a direction together."""
        heads = [self.workspace.head(lesson.head) for lesson in self.history.lessons]
        return any({*parts(way[0]), way[1]} <= {*read_record(head).settings.modalities} for head in heads)

    def _learned(self, modality: Modality) -> list[Router]:
        """Return the router of a modality after every lesson."""
        if modality not in self._routers:
            numbers = [lesson.number for lesson in self.history.lessons] or [0]
            there = [settled(up_to(self.history, number)) for number in numbers]
            known = [[task for task in heads if task not in self.sealed] for heads in there]
            self._routers[modality] = list(routers.learn(self.reader, self._groups, modality, known))
        return self._routers[modality]


def to_json(evaluation: Evaluation, results: Sequence[Result]) -> Mapping[str, object]:
    """Return what `mneme evaluate --json` prints."""
    return {
        "format": 1,
        "tasks": evaluation.tasks,
        "lessons": evaluation.lessons,
        "references": [vars(one) for one in evaluation.workspace.manifest.references],
        "results": [{n: value for n, value in vars(result).items() if n != "ranks"} for result in results],
        "comparisons": [vars(one) for one in evaluation.comparisons()],
        "causes": [vars(one) for one in evaluation.causes()],
    }


@contextmanager
def open_evaluation(root: Path, setting: EvalSettings, *, device: str = "cpu") -> Iterator[Evaluation]:
    """Open a workspace for evaluation."""
    workspace = open_at(root)
    with Store(workspace.store) as store:
        yield Evaluation(workspace, store, setting, device)
