"""The manifest: everything current, as `workspace.json` holds it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import SkipValidation

from engine.errors import Damaged, UserError
from engine.history import History, Reference
from engine.storage import files
from engine.types import Modality, PolicyName, ShardKey

Policy: TypeAlias = Annotated[PolicyName, SkipValidation]
"""One of ours, or of whoever added theirs."""

FORMAT = 4
"""Since 4 the file has a checksum, and so has each row of the store."""


@dataclass(frozen=True)
class BackboneRecord:
    """Which backbone reads a modality.

    Attributes:
        spec: as a person wrote it.
        id: what its features are stored under.
        width: D of its features.
        digest: that of its weights, as `Backbone.digest`; "" where it has none, or an older mneme did not say.
    """

    spec: str
    id: str
    width: int
    digest: str = ""


@dataclass(frozen=True)
class ServedShard:
    """A shard that queries are answered from; its path is relative to the workspace's `shards`."""

    key: ShardKey
    path: str


@dataclass(frozen=True)
class Lookup:
    """How one shard is searched in one direction.

    Attributes:
        shard: its place among the served shards, from 0.
        queries: the head version that embeds the queries.
        tau: what its cosines are divided by to be log-likelihoods.
    """

    shard: int
    queries: int
    tau: float


@dataclass(frozen=True)
class ServedDirection:
    """How queries of one modality find items of another."""

    query: Modality
    target: Modality
    policy: Policy
    lookups: tuple[Lookup, ...]


@dataclass(frozen=True)
class Served:
    """What queries see: the first `lessons` lessons, shards, and how each direction asks them.

    Attributes:
        policy: that of the directions that `policies` does not name.
        policies: by direction, `text-image`.
        routers: the folder of each query modality's router, relative to the workspace's `router`.
        chosen: whether a person chose the policy; else it is what suits the validation pairs.
    """

    policy: Policy = "matched"
    lessons: int = 0
    shards: tuple[ServedShard, ...] = ()
    directions: tuple[ServedDirection, ...] = ()
    policies: Mapping[str, Policy] = field(default_factory=dict)
    routers: Mapping[Modality, str] = field(default_factory=dict)
    chosen: bool = False


@dataclass(frozen=True)
class Temperature:
    """What the cosines of a task were divided by in one direction, to be log-likelihoods.

    Attributes:
        head, space, queries: the versions that embedded the items, in whose space, and the queries.
    """

    query: Modality
    target: Modality
    head: int
    space: int
    queries: int
    tau: float


@dataclass(frozen=True)
class Sealed:
    """What stands in for the features of a sealed task, whose features were removed.

    Attributes:
        shards: its vectors, by the head of its last lesson.
        sums: of each modality, the folder of the sums over its training items, relative to `router`.
        temperatures: as its validation pairs gave them while there were features.
    """

    shards: tuple[ServedShard, ...] = ()
    sums: Mapping[Modality, str] = field(default_factory=dict)
    temperatures: tuple[Temperature, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Everything current; the content of `workspace.json`.

    Attributes:
        width: the shared width E of all embeddings.
        aligned: whether the backbones share one pretrained space (heads are linear by default).
        previous: what was served before the last `reindex`.
        sealed: the tasks whose features were removed; their vectors can still be searched.
        references: heads trained beside the history, to measure it by.
        writes: how often it was written; one of fewer than its copy is an old one that was put back.
    """

    width: int
    aligned: bool
    backbones: Mapping[Modality, BackboneRecord]
    history: History = field(default_factory=History)
    served: Served = field(default_factory=Served)
    previous: Served | None = None
    sealed: Mapping[str, Sealed] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()
    writes: int = field(default=0, compare=False)


def to_json(manifest: Manifest) -> dict[str, Any]:
    """Return what `workspace.json` holds; what an older mneme did not write only where it says something."""
    fields = asdict(manifest)
    content = {"format": FORMAT, **fields.pop("history"), **fields}
    for said, name in ((content, "writes"), *((head, "digest") for head in _heads(content))):
        if not said[name]:
            del said[name]
    return content


def _heads(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*content["lessons"], *content["references"]]


def from_json(path: Path, content: Mapping[str, Any]) -> Manifest:
    """Return the manifest that a file holds, of this format or an older one."""
    fields = dict(content)
    format = fields.pop("format", None)
    if not isinstance(format, int) or format < 1:
        raise Damaged(path, "it names no format")
    if format > FORMAT:
        raise UserError(f"{path} has format {format}; this mneme reads up to {FORMAT}: upgrade mneme")
    try:
        fields["history"] = {name: fields.pop(name) for name in ("lessons", "arrivals")}
        states = {name: fields[name] for name in ("served", "previous") if fields.get(name)}
        # what there was before anything was chosen unasked; of format 1 the policy alone
        older = {name: {"chosen": True, **state} for name, state in states.items()}
        if format == 1:
            older = {name: {"policy": state["policy"], "chosen": True} for name, state in states.items()}
    except (KeyError, TypeError) as error:
        raise Damaged(path, f"it lacks {error}") from None
    if format < 3:
        fields.pop("sealed", None)
    return files.typed(path, Manifest, {**fields, **older})
