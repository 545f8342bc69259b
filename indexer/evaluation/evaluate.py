"""What each policy would have answered after every lesson: the matrices, from features and heads alone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.errors import Note, Setting, UserError
from engine.evaluation.splits import grouped
from engine.heads.embedder import Embedder
from engine.heads.files import read_record
from engine.history import History, settled, up_to
from engine.ranking.fusion import BEST
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at, readable_pairs, sealed_tasks
from engine.types import Modality, Pair
from indexer.embeddings.embeddings import EmbeddingCache, embedding_cache
from indexer.evaluation import plans
from indexer.evaluation.composed_queries import directions, parts, with_queries
from indexer.evaluation.diagnosis import Diagnosis, diagnoses
from indexer.evaluation.embedded import Caches, Galleries, Queries
from indexer.evaluation.plans import IndexPolicy, ReferenceHeads, System, lesson_numbers
from indexer.evaluation.protocol import EvalSettings, eval_set
from indexer.evaluation.results import Comparison, Result, compared, results
from indexer.evaluation.runs import IndexState, Trial
from indexer.policies.plan import Plan
from indexer.policies.statistics import DirectionStatistics
from indexer.routing import routers
from indexer.routing.slda import Router
from indexer.shards import gpu


@dataclass(frozen=True)
class Evaluation:
    """A workspace under evaluation; what is computed once is kept."""

    workspace: Workspace
    store: Store
    settings: EvalSettings
    device: str = "cpu"

    @cached_property
    def pairs(self) -> list[Pair]:
        """The pairs whose features are stored."""
        return readable_pairs(self.workspace.manifest, self.store)

    @cached_property
    def sealed(self) -> list[str]:
        """The tasks that are left out, since their features were removed."""
        return sealed_tasks(self.workspace.manifest, self.store)

    @cached_property
    def embeddings(self) -> EmbeddingCache:
        """What any head makes of the stored items."""
        return embedding_cache(Embedder(self.workspace, self.device), self.store, self.pairs)

    @property
    def history(self) -> History:
        """What is evaluated: every lesson, and the arrival of those tasks that were never learned."""
        history, learned = self.workspace.manifest.history, set(self.lessons)
        return History(history.lessons, tuple(a for a in history.arrivals if a.task not in learned))

    @property
    def lessons(self) -> list[str]:
        """The task of each lesson."""
        return [lesson.task for lesson in self.workspace.manifest.history.lessons]

    @property
    def tasks(self) -> list[str]:
        """The tasks in the order they were learned, then those that were never learned."""
        known = [*dict.fromkeys(self.lessons), *(arrival.task for arrival in self.history.arrivals)]
        return [task for task in known if task not in self.sealed]

    @property
    def references(self) -> list[ReferenceHeads]:
        """The heads trained beside the history, by their method."""
        references = self.workspace.manifest.references
        methods = dict.fromkeys(reference.method for reference in references)
        return [
            ReferenceHeads(method, tuple(head for head in references if head.method == method))
            for method in methods
        ]

    @property
    def systems(self) -> list[System]:
        """What is compared: the policies, then the references."""
        policies = [IndexPolicy(name, self.settings.budget) for name in self.settings.policies]
        return [*policies, *self.references]

    def results(self) -> Iterator[Result]:
        """Yield the matrices of every direction, system and merge, task known and unknown, at every K."""
        for trial in self.trials:
            for system in self.systems:
                yield from results(trial, system, self.settings)

    def notes(self, results: Sequence[Result]) -> list[Note]:
        """Return what a person should know of the results."""
        told = []
        if self.sealed:
            told.append(Note(f"left out, since their features were removed: {', '.join(self.sealed)}"))
        if not any(any(result.queries) for result in results):
            split, gallery, other = self.settings.split, self.settings.gallery, Setting("gallery", "all")
            problem = f"no query of split {split} has a right item in gallery {gallery}"
            told.append(Note(f"{problem}: try {other}", [other]))
        return told

    def comparisons(self) -> Iterator[Comparison]:
        """Yield how far each system is above each other one after the last lesson, at every K."""
        for trial in self.trials:
            for condition in self.settings.conditions:
                yield from compared(trial, self.systems, condition, self.settings.ks)

    def diagnoses(self) -> Iterator[Diagnosis]:
        """Yield what has become of every task under every policy, lesson by lesson."""
        for trial in self.trials:
            for policy in self.settings.policies:
                yield from diagnoses(trial, policy, self.settings.merges[-1])

    @cached_property
    def trials(self) -> list[Trial]:
        """Every direction that some pair of the split joins.

        Raises:
            UserError: there is none.
        """
        if self.sealed and not self.tasks:
            raise UserError("the features of all tasks were removed: run `mneme index` on a source again")
        if not self.tasks:
            raise UserError("nothing is indexed yet: run `mneme index SOURCE`")
        split = self.settings.split
        trials = [
            self.trial(*direction) for direction in directions([p for p in self.pairs if p.split == split])
        ]
        if not trials:
            raise UserError(f"no {split} pair joins two modalities: there is nothing to evaluate")
        return trials

    def trial(self, query: Modality, target: Modality) -> Trial:
        """Return one direction, ready to be evaluated."""
        tested = eval_set(with_queries(self.pairs, query), self.tasks, (query, target), self.settings)
        galleries = Galleries(
            direction=(query, target),
            ids=tested.galleries,
            embeddings=self.embeddings,
            qrels=tested.qrels,
            depth=max(BEST, *self.settings.ks),
            on_gpu=self.device == "cuda" and gpu.gpus() > 0,
            caches=self._caches,
        )
        # composed queries are planned for as their first part is, as search does
        statistics = DirectionStatistics(
            self.embeddings, tested.groups, parts(query)[0], target, galleries.items
        )
        by_lesson = {
            system: plans.plans(system, self.history, statistics, tested.tasks) for system in self.systems
        }
        full = {
            system: plans.with_later_tasks(system, self.history, statistics, tested.tasks, each)
            for system, each in by_lesson.items()
            if self.settings.details
        }
        return Trial(
            eval_set=tested,
            history=self.history,
            trained=self._trained({*parts(query), target}),
            queries=Queries(query, tested.queries, self.embeddings),
            galleries=galleries,
            states={system.name: self._states(query, statistics, each) for system, each in by_lesson.items()},
            full={system.name: self._states(query, statistics, each) for system, each in full.items()},
        )

    def _states(
        self, query: Modality, statistics: DirectionStatistics, by_lesson: Iterable[Plan]
    ) -> list[IndexState]:
        """Return what answers after every lesson, by its plan and the routers there were."""
        routers_of = {modality: self._routers[modality] for modality in parts(query)}
        return [
            IndexState(number, plan, statistics.temperature, {m: each[row] for m, each in routers_of.items()})
            for row, (number, plan) in enumerate(zip(lesson_numbers(self.history), by_lesson, strict=True))
        ]

    @cached_property
    def _caches(self) -> Caches:
        """What directions have computed, which share the memory granted."""
        return Caches()

    @cached_property
    def _routers(self) -> dict[Modality, list[Router]]:
        """The router of every modality after each lesson."""
        indexed = [settled(up_to(self.history, number)) for number in lesson_numbers(self.history)]
        known = [[task for task in heads if task not in self.sealed] for heads in indexed]
        modalities = sorted({modality for pair in self.pairs for modality in pair.items})
        groups = grouped(self.pairs)
        return {m: list(routers.learn(self.embeddings, groups, m, known)) for m in modalities}

    def _trained(self, modalities: set[Modality]) -> bool:
        """Say whether some lesson trained these modalities together."""
        heads = [self.workspace.head(lesson.head) for lesson in self.history.lessons]
        return any(modalities <= {*read_record(head).settings.modalities} for head in heads)


def to_json(evaluation: Evaluation, results: Sequence[Result]) -> Mapping[str, object]:
    """Return what `mneme evaluate --json` prints."""
    return {
        "format": 1,
        "tasks": evaluation.tasks,
        "lessons": evaluation.lessons,
        "references": [vars(reference) for reference in evaluation.workspace.manifest.references],
        "results": [{n: value for n, value in vars(result).items() if n != "ranks"} for result in results],
        "comparisons": [vars(comparison) for comparison in evaluation.comparisons()],
        "causes": [vars(diagnosis) for diagnosis in evaluation.diagnoses()],
    }


@contextmanager
def open_evaluation(root: Path, settings: EvalSettings, *, device: str = "cpu") -> Iterator[Evaluation]:
    """Open a workspace for evaluation."""
    workspace = open_at(root)
    with Store(workspace.store) as store:
        yield Evaluation(workspace, store, settings, device)
