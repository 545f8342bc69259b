"""Answer queries: the shards that are asked, each with its own head, merged into one ranking."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import Setting, UserError, Vanished
from engine.heads.embedder import Embedder
from engine.history import tasks
from engine.ingest.setup import Backbones
from engine.ranking.parse import target_of
from engine.ranking.query import Asked, Input, Part, TaskPosterior, compose, encode, hits, rank
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at
from engine.types import Hit, MergeName, Modality, PolicyName, ShardKey
from indexer.routing.slda import agreed
from indexer.serving.snapshot import Ask, Snapshot
from indexer.shards import files as shards
from indexer.shards import flat
from indexer.shards.shard import Shard, build_shard, to_gpu

Found = TypeVar("Found")


@dataclass(frozen=True)
class Inferred:
    """The task that a query most likely belongs to, and how likely, 0 to 1."""

    task: str
    probability: float


@dataclass
class Index:
    """What is served, opened once for any number of queries.

    Attributes:
        policy: ask the index as this policy would have it; None: as it is served. What no shard holds is
            embedded from features in memory, and nothing is written.
        at: ask it as it stood after so many lessons; None: as it is served.
    """

    workspace: Workspace
    store: Store
    device: str = "cpu"
    policy: PolicyName | None = None
    at: int | None = None
    view: Snapshot = field(init=False)
    _open: dict[ShardKey, Shard] = field(default_factory=dict)

    def __post_init__(self) -> None:
        embedder = Embedder(self.workspace, self.device)
        self.view = Snapshot(self.workspace, self.store, embedder, self.policy, self.at)

    @property
    def tasks(self) -> list[str]:
        """The tasks that can be searched, in the order they were learned."""
        indexed = {one.key.task for one in self.workspace.manifest.served.shards}
        return [task for task in tasks(self.view.history) if task in indexed]

    def search(
        self,
        parts: Sequence[Part],
        target: Modality,
        k: int,
        *,
        task: str = "all",
        merge: MergeName | None = None,
        min_score: float = -1.0,
    ) -> list[Hit]:
        """Return the K items of the target modality nearest to a query of one or more parts.

        Args:
            task: search this task only, or all.
            merge: how the shards of several tasks are merged; None: routed once anything was learned,
                else raw, since one head's cosines are comparable.
            min_score: leave out hits below this cosine.
        """
        if k < 1:
            raise UserError(f"k must be at least 1, not {k}")
        return self._current(lambda: self._search(parts, target, k, task, merge, min_score))

    def infer(self, parts: Sequence[Part], target: Modality) -> Inferred:
        """Return the task that a query most likely belongs to, among those that hold the target modality."""
        guess = self._current(lambda: self._guess(parts, self._names(self._ways(parts, target, "all"))))
        best = int(guess.log_p[0].argmax())
        return Inferred(guess.tasks[best], float(np.exp(guess.log_p[0, best])))

    def _current(self, ask: Callable[[], Found]) -> Found:
        """Ask; once more where an `index` switched and a later one cleaned up since the manifest was read."""
        try:
            return ask()
        except Vanished:
            self.refresh()
            return ask()

    def _search(
        self,
        parts: Sequence[Part],
        target: Modality,
        k: int,
        task: str,
        merge: MergeName | None,
        least: float,
    ) -> list[Hit]:
        asks = self._ways(parts, target, task)
        queries: dict[int, NDArray[np.float32]] = {}
        asked = []
        for ask in asks:
            if ask.queries not in queries:
                queries[ask.queries] = compose(self.view.embedder, ask.queries, parts)
            asked.append(Asked(self._shard(ask), queries[ask.queries], ask.tau))
        routed = merge == "routed" or (merge is None and bool(self.view.history.lessons))
        names = self._names(asks)
        guess = self._guess(parts, names) if routed and len(names) > 1 else None
        return hits(rank(asked, k, guess), asked, self.store, min_score=least)

    @staticmethod
    def _names(asks: Sequence[Ask]) -> list[str]:
        return list(dict.fromkeys(ask.key.task for ask in asks))

    def _guess(self, parts: Sequence[Part], names: Sequence[str]) -> TaskPosterior:
        """Return what a query's parts say of its task on average; a part that is subtracted has no say."""
        told = [part for part in parts if part.weight > 0] or parts
        each = [self.view.router(one.modality).log_p(one.features[None], names) for one in told]
        return TaskPosterior(names, agreed(each))

    def _ways(self, parts: Sequence[Part], target: Modality, task: str) -> list[Ask]:
        """Return how the shards of a task or of all are asked; the first part says in which direction."""
        if not self.tasks:
            raise UserError("nothing is indexed yet: run `mneme index SOURCE`")
        if task != "all" and task not in self.tasks:
            raise UserError(f"no task {task!r} in the index; tasks are: {', '.join(self.tasks)}")
        asks = self.view.asks(parts[0].modality, target)
        found = [ask for ask in asks if task in ("all", ask.key.task)]
        if not found:
            raise self._nothing(target, task)
        return found

    def _shard(self, ask: Ask) -> Shard:
        if ask.key not in self._open:
            found = self._read(ask)
            self._open[ask.key] = to_gpu(found) if self.device == "cuda" and flat.gpus() else found
        return self._open[ask.key]

    def _read(self, ask: Ask) -> Shard:
        key = ask.key
        if ask.path:
            backbone = self.workspace.manifest.backbones[key.modality].id
            return shards.read(self.workspace.shards / ask.path, key, backbone)
        vectors = self.view.plans().reader.embed(key.modality, ask.items, key.head, key.space)
        return build_shard(key, ask.items, vectors)

    def refresh(self) -> None:
        """Read what is served now, and forget what was open."""
        self.workspace = open_at(self.workspace.root)
        self._open.clear()
        self.__post_init__()

    def _nothing(self, target: Modality, task: str) -> UserError:
        held = sorted({one.key.modality for one in self.workspace.manifest.served.shards})
        place = "the index" if task == "all" else f"task {task!r}"
        to = Setting("to")
        return UserError(
            f"no {target} in {place}; the index holds: {', '.join(held)} (choose one with {to})", [to]
        )


@contextmanager
def open_index(
    root: Path, *, device: str = "cpu", policy: PolicyName | None = None, at: str | None = None
) -> Iterator["Answers"]:
    """Open what is served for any number of queries.

    Args:
        policy: ask as this policy would have it; None: as it is served.
        at: ask as it stood after a lesson: its number, from 1, or its task; None: as it is served.
    """
    workspace = open_at(root)
    with Store(workspace.store) as store:
        backbones = Backbones(workspace.manifest.backbones, device)
        lesson = None if at is None else lesson_number(workspace, at)
        yield Answers(Index(workspace, store, device, policy, lesson), backbones)


def lesson_number(workspace: Workspace, named: str) -> int:
    """Return the number of a lesson that is named by its number or by its task, whose last one it then is."""
    lessons = workspace.manifest.history.lessons
    found = [one.number for one in lessons if one.task == named] or [
        one.number for one in lessons if str(one.number) == named
    ]
    if not found:
        known = ", ".join(f"{one.number} ({one.task})" for one in lessons) or "none"
        raise UserError(f"no lesson {named!r}; lessons are: {known}")
    return found[-1]


@dataclass(frozen=True)
class Answer:
    """The hits for one question, best first; and the task they were looked for in, where it was inferred."""

    hits: list[Hit]
    inferred: Inferred | None


@dataclass(frozen=True)
class Answers:
    """An open index, and the backbones that read queries."""

    index: Index
    backbones: Backbones

    def ask(
        self,
        question: Sequence[Input],
        to: Modality | None,
        k: int,
        *,
        task: str = "all",
        merge: MergeName | None = None,
        min_score: float = -1.0,
    ) -> "Answer":
        """Return the K best hits for a question, of one task, of all, or (auto) of the likeliest."""
        parts, target = encode(question, self.backbones.of), target_of(question, to)
        inferred = self.index.infer(parts, target) if task == "auto" else None
        named = inferred.task if inferred else task
        found = self.index.search(parts, target, k, task=named, merge=merge, min_score=min_score)
        return Answer(found, inferred)

    def is_meaningless(self, question: Sequence[Input], to: Modality | None) -> bool:
        """Say whether query and target have nothing in common yet: no shared backbone and no lesson."""
        manifest = self.index.workspace.manifest
        across = any(one.modality != target_of(question, to) for one in question)
        return across and not manifest.aligned and not manifest.served.lessons
