"""Answer a query from what is served: the shards a plan names, each asked with the head the plan names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.embed import Embedder
from engine.errors import UserError, Vanished
from engine.media import clean_text, modality_of
from engine.merge import MERGES
from engine.opening import Encoders
from engine.query import Asked, Input, Part, compose, encode, file_input, hits, rank, text_input
from engine.store import Store
from engine.types import Hit, MergeName, Modality, PolicyName, ShardKey
from engine.workspace import ServedShard, Workspace, open_at, tasks
from indexer import shard
from indexer.policy import POLICIES, Plan, up_to
from indexer.shard import Shard


@dataclass
class Index:
    """What is served, opened once for any number of queries.

    Attributes:
        policy: ask the index as this policy would have it, None: the served one. What no shard holds is
            embedded from features in memory, and nothing is written.
    """

    workspace: Workspace
    store: Store
    device: str = "cpu"
    policy: PolicyName | None = None
    embedder: Embedder = field(init=False)
    _open: dict[ShardKey, Shard] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.embedder = Embedder(self.workspace, self.device)
        if self.policy is not None and self.policy not in POLICIES:
            raise UserError(f"no policy {self.policy!r}; policies are: {', '.join(POLICIES)}")

    @property
    def tasks(self) -> list[str]:
        """The tasks that can be searched, in the order they were learned."""
        indexed = {one.key.task for one in self.workspace.manifest.served.shards}
        return [task for task in tasks(self.workspace.manifest.history) if task in indexed]

    def search(
        self,
        parts: Sequence[Part],
        target: Modality,
        k: int,
        *,
        task: str = "all",
        merge: MergeName = "raw",
        min_score: float = -1.0,
    ) -> list[Hit]:
        """Return the K items of the target modality nearest to a query of one or more parts.

        Args:
            task: search this task only, or all.
            min_score: leave out hits below this cosine.
        """
        if k < 1:
            raise UserError(f"k must be at least 1, not {k}")
        try:
            asked = self._asked(parts, target, task)
        except Vanished:  # an `index` switched and a later one cleaned up since the manifest was read
            self.workspace = open_at(self.workspace.root)
            self.embedder = Embedder(self.workspace, self.device)
            self._open.clear()
            asked = self._asked(parts, target, task)
        return hits(rank(asked, k, MERGES[merge]), asked, self.store, min_score=min_score)

    def _asked(self, parts: Sequence[Part], target: Modality, task: str) -> list[Asked]:
        """Return the shards to ask and the queries put to each."""
        plan = self._plan()
        wanted = [one for one in self._tasks(task) if self._members(one, target)]
        if not wanted:
            raise UserError(self._nothing(target, task))
        queries: dict[int, NDArray[np.float32]] = {}
        asked = []
        for name in wanted:
            placement = plan[name]
            if placement.queries not in queries:
                queries[placement.queries] = compose(self.embedder, placement.queries, parts)
            found = self._shard(ShardKey(name, target, placement.items))
            asked.append(Asked(found, queries[placement.queries]))
        return asked

    def _plan(self) -> Plan:
        manifest = self.workspace.manifest
        return POLICIES[self.policy or manifest.served.policy](
            up_to(manifest.history, manifest.served.lessons)
        )

    def _tasks(self, task: str) -> list[str]:
        if not self.tasks:
            raise UserError("nothing is indexed yet: run `mneme index SOURCE`")
        if task != "all" and task not in self.tasks:
            raise UserError(f"no task {task!r} in the index; tasks are: {', '.join(self.tasks)}")
        return self.tasks if task == "all" else [task]

    def _members(self, task: str, modality: Modality) -> list[ServedShard]:
        served = self.workspace.manifest.served.shards
        return [one for one in served if (one.key.task, one.key.modality) == (task, modality)]

    def _nothing(self, target: Modality, task: str) -> str:
        held = sorted({one.key.modality for one in self.workspace.manifest.served.shards})
        place = "the index" if task == "all" else f"task {task!r}"
        return f"no {target} in {place}; the index holds: {', '.join(held)} (choose one with --to)"

    def _shard(self, key: ShardKey) -> Shard:
        if key not in self._open:
            found = self._read(key)
            self._open[key] = shard.to_gpu(found) if self.device == "cuda" and shard.gpus() else found
        return self._open[key]

    def _read(self, key: ShardKey) -> Shard:
        backbone = self.workspace.manifest.backbones[key.modality].id
        members: Mapping[int, ServedShard] = {
            one.key.head: one for one in self._members(key.task, key.modality)
        }
        if key.head in members:
            return shard.read(self.workspace.shards / members[key.head].path, key, backbone)
        (other,) = members.values()
        held = shard.read(self.workspace.shards / other.path, other.key, backbone).ids
        ids = [id.decode() for id in held if self.store.has_features(id.decode(), backbone)]
        vectors = np.concatenate(list(self.embedder.blocks(self.store, key.head, key.modality, ids)))
        return shard.build(key, ids, vectors)


@contextmanager
def open_index(root: Path, *, device: str = "cpu", policy: PolicyName | None = None) -> Iterator["Answers"]:
    """Open what is served for any number of queries."""
    workspace = open_at(root)
    with Store(workspace.store) as store:
        encoders = Encoders(workspace.manifest.backbones, device)
        yield Answers(Index(workspace, store, device, policy), encoders)


@dataclass(frozen=True)
class Answers:
    """An open index, and the backbones that read queries."""

    index: Index
    encoders: Encoders

    def ask(
        self,
        question: Sequence[Input],
        to: Modality | None,
        k: int,
        *,
        task: str = "all",
        merge: MergeName = "raw",
        min_score: float = -1.0,
    ) -> list[Hit]:
        """Return the K best hits for a question."""
        parts, target = encode(question, self.encoders.backbone), target_of(question, to)
        return self.index.search(parts, target, k, task=task, merge=merge, min_score=min_score)

    def is_meaningless(self, question: Sequence[Input], to: Modality | None) -> bool:
        """Say whether query and target have nothing in common yet: no shared backbone and no lesson."""
        manifest = self.index.workspace.manifest
        across = any(one.modality != target_of(question, to) for one in question)
        return across and not manifest.aligned and not manifest.served.lessons


def target_of(question: Sequence[Input], to: Modality | None) -> Modality:
    """Return the modality to be found: the one asked for, else image for a text and text for all else."""
    return to or ("image" if all(one.modality == "text" for one in question) else "text")


def title(question: Sequence[Input]) -> str:
    """Return a question in words."""
    return " + ".join(one.data.decode() if one.modality == "text" else one.name for one in question)


def questions(
    what: str | None,
    files: Mapping[Modality, Sequence[Path]],
    texts: Sequence[str],
    lines: Iterable[str],
) -> Iterator[list[Input]]:
    """Yield what is asked: the lines of a stream for `-`, else one question of one or more inputs."""
    if what == "-":
        if texts or any(files.values()):
            raise UserError("- reads whole queries from stdin: leave out --image, --audio and --text")
        yield from ([_bare(line.rstrip("\r\n"))] for line in lines if line.strip())
        return
    inputs = [] if what is None else [_bare(what)]
    inputs += [file_input(modality, path) for modality, paths in files.items() for path in paths]
    inputs += [text_input(text) for text in texts]
    if not inputs:
        raise UserError("nothing to look for: give a text or a file, or --image, --audio, --text")
    yield inputs


def _bare(what: str) -> Input:
    """Return what a bare argument means: a file where one of that name exists, else a text."""
    path = Path(what)
    modality = modality_of(path)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # no file can be called so
        is_file = False
    if is_file and modality:
        return file_input(modality, path)
    if is_file:
        raise UserError(f"{what} is a file, but no medium that can be read (to search for the words: --text)")
    if modality:
        raise UserError(f"no such file: {what} (to search for the words: --text)")
    return Input("text", clean_text(what).encode())
