"""What a sweep is, in Python values: tasks in their order, and every training to be made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from engine.ids import escape
from engine.storage.names import file_name
from engine.types import Modality, PolicyName, TrainSettings
from indexer.evaluation.protocol import EvalSettings

Changes: TypeAlias = Mapping[str, int | float | str]
"""Fields of `TrainSettings` by name (`epochs`), and hyper-parameters of losses and links (`ewc.weight`)."""


@dataclass(frozen=True)
class Step:
    """One lesson of the stream; no modalities named: all that the task's pairs hold."""

    source: Path
    task: str
    modalities: tuple[Modality, ...] = ()


@dataclass(frozen=True)
class Variant:
    """One entry of an axis: a method, a loss or a head, under the name that tables show.

    Attributes:
        changes: what it changes in the settings of a run, such as {"method": "ewc", "protect": "text"}.
        policies: those that a method is evaluated under; none named: those of the whole sweep.
        last_only: of a method that starts anew with each lesson: only the last one is trained in full and judged.
    """

    name: str
    changes: Changes = field(default_factory=dict)
    policies: Sequence[PolicyName] = ()
    last_only: bool = False


@dataclass(frozen=True)
class Axes:
    """The product of these is what a sweep trains; an axis that is left out has the default of `mneme train`."""

    methods: Sequence[Variant] = (Variant(TrainSettings.method, {"method": TrainSettings.method}),)
    losses: Sequence[Variant] = (Variant(TrainSettings.loss, {"loss": TrainSettings.loss}),)
    heads: Sequence[Variant] = (Variant("default"),)
    seeds: Sequence[int] = (TrainSettings.seed,)


@dataclass(frozen=True)
class SweepRun:
    """One training over the whole stream, under the names that tables show.

    Attributes:
        settings: of every lesson, whose task and modalities the stream names.
        evaluation: what is measured once all tasks are learned.
        last_only: only the last lesson is trained in full and judged.
    """

    method: str
    loss: str
    head: str
    settings: TrainSettings
    evaluation: EvalSettings
    last_only: bool = False

    @property
    def name(self) -> str:
        """The run in words."""
        return f"{self.method}, {self.loss}, {self.head}, seed {self.settings.seed}"

    @property
    def slug(self) -> str:
        """The run as the name of a file, which no other run has."""
        names = (escape(name, "_") for name in (self.method, self.loss, self.head))
        return file_name(f"{'_'.join(names)}_seed{self.settings.seed}")


@dataclass(frozen=True)
class Spec:
    """A whole sweep; `grid.runs` makes its runs of axes.

    Attributes:
        backbones: by name, as `mneme index --backbone` takes them; none named: the default ones.
        width: the shared width E; None: that of the backbones.
    """

    steps: Sequence[Step]
    runs: Sequence[SweepRun]
    backbones: Sequence[str] = ()
    width: int | None = None
