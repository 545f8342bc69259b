"""METHODS: what every training method is made of, and in which order its links stand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.types import MethodName, TrainSettings
from training.data.history import PastTasks
from training.gradient import Strategy
from training.strategies.alternate import Alternate
from training.strategies.co2l import Cila, Co2l
from training.strategies.der import Der, DerPp
from training.strategies.dns import Dns
from training.strategies.ewc import Ewc, Mas
from training.strategies.gem import Agem, Gem
from training.strategies.igm import Igm, Mla
from training.strategies.replay import CrossTask, Replay
from training.strategies.sam import CFlat, Sam

Place = Literal[
    "memory", "update", "decay", "adam", "gradient", "flatness", "distillation", "penalty", "branch"
]
"""Where a link stands, outermost first: memory joins rows to the batch; what stands outside Adam filters the step
itself, what stands inside it the gradient; flatness asks what is inside of it at shifted parameters."""


@dataclass(frozen=True)
class Link:
    """One strategy of a recipe: where it stands, what makes it, and what it is given besides its options.

    Attributes:
        remembers: it guards what it saw in earlier lessons, so it has to be there from the first one on.
    """

    place: Place
    make: Callable[..., Strategy]
    bind: Callable[[TrainSettings, PastTasks], tuple[object, ...]] = lambda settings, past: ()
    remembers: bool = True


@dataclass(frozen=True)
class Recipe:
    """A training method.

    Attributes:
        order: why its links stand where they do.
        start: train on from the newest head, or from the initialisation.
        pairs: of the task alone, or of every task learned so far and the task.
        negatives: within a batch, all other rows or those of the row's own task.
        links: by the name that `--set NAME.option=` reaches; equal names in two recipes are one link.
    """

    summary: str
    source: str
    order: str = ""
    start: Literal["parent", "initialisation"] = "parent"
    pairs: Literal["task", "history"] = "task"
    negatives: Literal["all", "task"] = "all"
    links: Mapping[str, Link] = field(default_factory=dict)


def _protecting(settings: TrainSettings, past: PastTasks) -> tuple[str]:
    return (settings.protect,)


def _remembering(settings: TrainSettings, past: PastTasks) -> tuple[PastTasks]:
    return (past,)


def _scoring(settings: TrainSettings, past: PastTasks) -> tuple[PastTasks, float]:
    return (past, settings.temperature)


NEGATIVES = Link("memory", Replay, lambda settings, past: (past, "negatives"))
SAM = Link("flatness", Sam, remembers=False)
ALTERNATE = Link("branch", Alternate, remembers=False)

METHODS: Mapping[MethodName, Recipe] = {
    "finetune": Recipe("train the newest head on the task alone", "the usual baseline"),
    "joint": Recipe(
        "train anew on every task learned so far together",
        "the upper bound of Wang et al. 2021, with cross-task negatives",
        start="initialisation",
        pairs="history",
    ),
    "joint-intra": Recipe(
        "as joint, with negatives from a row's own task only",
        "Wang et al. 2021, without cross-task negatives",
        start="initialisation",
        pairs="history",
        negatives="task",
    ),
    "experts": Recipe(
        "train anew on the task alone: one head per task",
        "the upper bound for a known task; ask with policy matched",
        start="initialisation",
    ),
    "ewc": Recipe(
        "hold what mattered to old tasks' losses near its old value",
        "Kirkpatrick et al. 2017; Wang et al. 2021, eq. 4 and 5",
        "The penalty is part of the loss, so it stands innermost: Adam and projections see the sum.",
        links={"ewc": Link("penalty", Ewc, _protecting)},
    ),
    "mas": Recipe(
        "hold what mattered to old tasks' outputs near its old value",
        "Aljundi et al. 2018; Wang et al. 2021, eq. 6",
        "The penalty is part of the loss, so it stands innermost: Adam and projections see the sum.",
        links={"mas": Link("penalty", Mas, _protecting)},
    ),
    "replay": Recipe(
        "train on remembered pairs of old tasks along with the new",
        "Chaudhry et al. 2019, experience replay",
        "Rows join the batch outermost, so that everything else sees one batch.",
        links={"replay": Link("memory", Replay, lambda settings, past: (past, "positives"))},
    ),
    "crosstask": Recipe(
        "old tasks' pairs, or their indexed embeddings, as negatives only",
        "Wang et al. 2021, section 5.4: pseudo cross-task negative pairs",
        "Rows join the batch outermost, so that everything else sees one batch.",
        links={"crosstask": Link("memory", CrossTask, _remembering, remembers=False)},
    ),
    "gem": Recipe(
        "turn the gradient until no past task's memory gets worse",
        "Lopez-Paz and Ranzato 2017, eq. 11",
        "It bounds the gradient of the loss, as in the paper, so it stands inside Adam.",
        links={"gem": Link("gradient", Gem, _remembering)},
    ),
    "agem": Recipe(
        "as gem, with one gradient of all memories together",
        "Chaudhry et al. 2019, eq. 11",
        "It bounds the gradient of the loss, as in the paper, so it stands inside Adam.",
        links={"agem": Link("gradient", Agem, _remembering)},
    ),
    "der": Recipe(
        "keep the scores of remembered pairs as they were when stored",
        "Buzzega et al. 2020, eq. 6",
        "Its term is part of the loss: inside flatness and Adam.",
        links={"der": Link("distillation", Der, _scoring)},
    ),
    "derpp": Recipe(
        "as der, and tell remembered pairs from mismatched ones",
        "Buzzega et al. 2020, eq. 7",
        "Its terms are part of the loss: inside flatness and Adam.",
        links={"derpp": Link("distillation", DerPp, _scoring)},
    ),
    "co2l": Recipe(
        "remembered rows as negatives, and the old head's similarities kept",
        "Cha et al. 2021, eq. 3 and 6",
        "Memory joins the batch outermost; distillation then sees old and new rows.",
        links={"replay": NEGATIVES, "co2l": Link("distillation", Co2l)},
    ),
    "cila": Recipe(
        "as co2l, the weight of distillation set from the losses so far",
        "Wen et al. 2024",
        "As co2l.",
        links={"replay": NEGATIVES, "cila": Link("distillation", Cila)},
    ),
    "sam": Recipe(
        "take the gradient where the loss nearby is worst",
        "Foret et al. 2021, eq. 3",
        "It asks all of the loss twice, so it stands inside Adam, whose moments advance once a step.",
        links={"sam": SAM},
    ),
    "cflat": Recipe(
        "as sam, and flatten the loss to first order too; often chained: co2l+cflat",
        "Bian et al. 2024",
        "It asks all of the loss four times, so it stands inside Adam and outside memory's terms.",
        links={"cflat": Link("flatness", CFlat, remembers=False)},
    ),
    "dns": Recipe(
        "project the gradient so that old alignments stay, to first order",
        "Liu et al. 2025, algorithm 1",
        "Inside Adam, as published. Adam's scaling then breaks the guarantee: see dns-exact.",
        links={"dns": Link("gradient", Dns)},
    ),
    "dns-exact": Recipe(
        "project the step itself, so that old alignments do stay to first order",
        "Liu et al. 2025, theorem 4, on the update as Wang et al. 2021 (Adam-NSCL) apply theirs",
        "Outside Adam and decay: what is projected is what moves the head.",
        links={"dns": Link("update", Dns)},
    ),
    "igm": Recipe(
        "train one branch at a time, its gradient damped along the other's flat directions",
        "Jiang et al. 2025, eq. 2 to 9",
        "One branch is chosen innermost, so that SAM shifts that branch alone; the damping acts on SAM's gradient.",
        links={"igm": Link("gradient", Igm), "sam": SAM, "alternate": ALTERNATE},
    ),
    "mla": Recipe(
        "train one branch at a time, its gradient orthogonal to the other's inputs",
        "Zhang et al. 2024",
        "One branch is chosen innermost; the projector acts on its gradient.",
        links={"mla": Link("gradient", Mla), "alternate": ALTERNATE},
    ),
}
