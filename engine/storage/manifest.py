"""The manifest: everything current, as `workspace.json` holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.history import History, Reference
from engine.types import Modality, PolicyName, ShardKey


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
    policy: PolicyName
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

    policy: PolicyName = "matched"
    lessons: int = 0
    shards: tuple[ServedShard, ...] = ()
    directions: tuple[ServedDirection, ...] = ()
    policies: Mapping[str, PolicyName] = field(default_factory=dict)
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
    """

    width: int
    aligned: bool
    backbones: Mapping[Modality, BackboneRecord]
    history: History = field(default_factory=History)
    served: Served = field(default_factory=Served)
    previous: Served | None = None
    sealed: Mapping[str, Sealed] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()
