"""The core types and the names they use; nothing heavy is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from engine.errors import Setting

Modality: TypeAlias = str
"""image, text, audio, or any name a features file brings."""

ItemId: TypeAlias = str
"""32 hex digits: the digest of the modality and the item's bytes."""

Split = Literal["train", "val", "test"]
LossName = Literal["triplet", "infonce", "fabind", "centrobind", "pmrl", "gram"]
MethodName = Literal[
    "finetune",
    "joint",
    "joint-intra",
    "experts",
    "ewc",
    "mas",
    "replay",
    "crosstask",
    "gem",
    "agem",
    "der",
    "derpp",
    "co2l",
    "cila",
    "sam",
    "cflat",
    "dns",
    "dns-exact",
    "igm",
    "mla",
]
HeadForm = Literal["linear", "mlp"]
PolicyName = Literal["reindex", "no-reindex", "matched", "aligned", "partial", "auto"]
MergeName = Literal["raw", "routed"]
Relevance = Literal["pair", "label"]
Gallery = Literal["test", "train", "all"]
DeviceName = Literal["auto", "cpu", "cuda"]
Keep = Literal["best", "last"]


@dataclass(frozen=True)
class Item:
    """One image, sound or text; where it stands is known by its paths, what it is by its id.

    Attributes:
        row: what a row that names it says of itself: its own id, its source, its other fields.
        rows: all that name it say, and their tasks; those of the task asked for first, and in each task those whose
            files exist.
    """

    id: ItemId
    modality: Modality
    paths: tuple[str, ...] = ()
    text: str | None = None
    row: Mapping[str, object] = field(default_factory=dict, compare=False)
    rows: tuple[Mapping[str, object], ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Pair:
    """The items of one instance; a modality may bring several items (five captions)."""

    key: str
    items: Mapping[Modality, tuple[ItemId, ...]]
    task: str
    split: Split
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShardKey:
    """Which embeddings a shard holds: those of one task and modality by one head version.

    Attributes:
        space: the head version whose space they lie in: `head`, unless they were mapped to another.
        part: empty where the shard holds all items of the task and modality, else a digest of those it holds.
    """

    task: str
    modality: Modality
    head: int
    space: int
    part: str = ""


@dataclass(frozen=True)
class Hit:
    """One line of an answer; score is the cosine, -1 to 1.

    Attributes:
        path: the first of its paths.
        paths: those that exist before those that do not, and those in the task of the hit before others.
        row: what the row says of itself that names it, of the task of the hit where there are several.
        rows: what all that name it say, and their tasks; in the same order.
    """

    rank: int
    score: float
    id: ItemId
    modality: Modality
    task: str
    tasks: tuple[str, ...]
    path: str | None
    text: str | None
    head: int
    log_p: float | None = None
    paths: tuple[str, ...] = ()
    row: Mapping[str, object] = field(default_factory=dict, compare=False)
    rows: tuple[Mapping[str, object], ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class KnownTask:
    """Search the shards of one task, the one that the query is known to belong to."""

    task: str


@dataclass(frozen=True)
class AllTasks:
    """Search the shards of all tasks, and merge what they find."""

    merge: MergeName


Scope: TypeAlias = KnownTask | AllTasks
"""Where a query looks: in one task, or in all of them."""


OF_ROWS = ("", ".npz", ".parquet", ".json")
"""How sources end that have rows and no lines; a folder of embeddings is one."""


@dataclass(frozen=True)
class Skipped:
    """A file or row that could not be used, and why.

    Attributes:
        line: counted from 1.
        name: of the row, where that much could be read.
        settings: those that the reason speaks of, as in a UserError.
    """

    path: str
    reason: str
    line: int | None = None
    settings: tuple[Setting, ...] = ()
    name: str | None = field(default=None, compare=False)

    @property
    def place(self) -> str:
        """Where it stands, in words."""
        word = "row" if Path(self.path).suffix.lower() in OF_ROWS else "line"
        return self.path if self.line is None else f"{self.path} {word} {self.line}"


@dataclass(frozen=True)
class TrainSettings:
    """How a lesson is to be trained, as recorded beside its head.

    Attributes:
        form, shared_top: None takes the parent's, or for a first head what suits the backbones.
        modalities: those to train; none named: all that the task's pairs hold.
        method: one recipe's name, or several joined by +.
        lr: the step size, reached after `warmup`, a share of all steps from 0 to 1.
        temperature: what a loss divides cosines by.
        protect: the one modality whose branch ewc and mas guard; empty: all.
        patience: epochs without a better validation loss before training stops; 0: never.
        keep: the epoch of lowest validation loss (the last where too few pairs can tell), or the last.
        options: hyper-parameters of the loss and of the links, by name (`triplet.margin`).
    """

    task: str
    method: str = "finetune"
    loss: LossName = "infonce"
    form: HeadForm | None = None
    shared_top: bool | None = None
    modalities: tuple[Modality, ...] = ()
    epochs: int = 40
    lr: float = 1e-3
    batch_size: int = 128
    temperature: float = 0.07
    weight_decay: float = 1e-2
    patience: int = 0
    warmup: float = 0.0
    keep: Keep = "best"
    protect: Modality = ""
    seed: int = 0
    options: Mapping[str, int | float | str] = field(default_factory=dict)
