"""Which methods and settings learn the stream, and one run of one of them."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.papers.dns_measure import SCORES, Grade, chance, figures, grade, read_steps
from benchmarks.papers.dns_stream import MODALITIES, STEPS, WIDTH, Step
from benchmarks.tables import Measurement
from engine.heads import files as heads
from engine.heads.head import Head
from engine.ingest.setup import WorkspaceOptions
from engine.storage import files
from engine.storage.workspace import open_at
from engine.types import TrainSettings
from training import lesson as lessons

MAIN, CUT, DECAY, SLOW = "Table 2", "lambda_min", "weight decay", "lr 1e-4"
EPOCHS, BATCH, LR, WEIGHT_DECAY = 5, 64, 1e-3, 1e-3
AS_PUBLISHED = {"dns.mode": "dual", "dns.outputs": "stored", "dns.rule": "absolute"}


@dataclass(frozen=True)
class Trial:
    """A method with its settings.

    Attributes:
        places: the tables its figures stand in, and under which names.
    """

    places: Sequence[tuple[str, str]]
    method: str
    options: Mapping[str, int | float | str] = field(default_factory=dict)
    lr: float = LR
    weight_decay: float = WEIGHT_DECAY

    @property
    def is_main(self) -> bool:
        """Whether it stands in the main table."""
        return any(table == MAIN for table, _ in self.places)


def _published(places: Sequence[tuple[str, str]], cut: float = 0.01, decay: float = WEIGHT_DECAY) -> Trial:
    return Trial(places, "dns", {**AS_PUBLISHED, "dns.lambda_min": cut}, weight_decay=decay)


TRIALS = (
    Trial([(MAIN, "vanilla"), (CUT, "vanilla"), (DECAY, "vanilla")], "finetune"),
    Trial([(MAIN, "gem")], "gem", {"gem.margin": 0.5}),
    Trial([(MAIN, "der")], "der", {"der.alpha": 0.1}),
    Trial([(MAIN, "derpp")], "derpp", {"derpp.alpha": 0.1, "derpp.beta": 0.1}),
    Trial([(MAIN, "ewc")], "ewc", {"ewc.weight": 0.5}),
    Trial([(MAIN, "ewc, weight 300")], "ewc", {"ewc.weight": 3e2}),
    Trial([(MAIN, "co2l")], "co2l", {"co2l.power": 1.0}),
    Trial([(MAIN, "cflat")], "co2l+cflat", {"cflat.rho": 0.2, "cflat.strength": 0.2}),
    Trial([(MAIN, "cila")], "cila", {"cila.balance": 5.0}),
    Trial([(MAIN, "dns")], "dns"),
    Trial([(MAIN, "dns-exact")], "dns-exact"),
    _published([(MAIN, "dns, as published"), (CUT, "0.01"), (DECAY, "0.001")]),
    *(_published([(CUT, str(cut))], cut) for cut in (0.0, 1e-4, 1e-3, 1e-1)),
    Trial([(CUT, "energy 0.99")], "dns", {**AS_PUBLISHED, "dns.rule": "energy"}),
    *(_published([(DECAY, str(decay))], decay=decay) for decay in (0.0, 1e-2, 0.1, 0.5)),
    Trial([(SLOW, "vanilla")], "finetune", lr=1e-4),
    Trial([(SLOW, "dns")], "dns", lr=1e-4),
    Trial([(SLOW, "dns-exact")], "dns-exact", lr=1e-4),
)
QUICK = ("vanilla", "ewc", "dns", "dns-exact", "dns, as published")
"""The names of the main table that a quick run has too."""


def run(root: Path, trial: Trial, seed: int, steps: Sequence[Step] = STEPS) -> list[Measurement]:
    """Learn the stream step by step and return the figures, under each table and each score."""
    every = read_steps(root, steps)
    new: dict[str, list[Grade]] = {score: [] for score in SCORES}
    with tempfile.TemporaryDirectory(dir=root) as folder:
        workspace = _fresh_workspace(root, Path(folder))
        for number, step in enumerate(steps, 1):
            lessons.learn(workspace, [], WorkspaceOptions(), _settings(trial, step.name, seed))
            head, _ = heads.read(open_at(workspace).head(number))
            for score in SCORES:
                new[score].append(grade(head, every[number - 1], score))
    last = {score: [grade(head, pairs, score) for pairs in every] for score in SCORES}
    by_score = {score: figures(new[score], last[score]) for score in SCORES}
    return [
        Measurement(f"{table}, {score}", name, seed, by_score[score])
        for table, name in trial.places
        for score in SCORES
    ]


def baselines(root: Path, seed: int, steps: Sequence[Step] = STEPS) -> list[Measurement]:
    """Return the rows of what no training comes to: a random order, and the prior under identity heads."""
    every = read_steps(root, steps)
    identity = Head("linear", WIDTH).eval()
    for m in MODALITIES:
        identity.add_branch(m, WIDTH)
    rows = []
    for score in SCORES:
        grades = [grade(identity, pairs, score) for pairs in every]
        untrained = figures(grades, grades)
        random = {**dict.fromkeys(untrained, 0.0), **chance(every)}
        rows += [Measurement(f"{MAIN}, {score}", "chance", seed, random)]
        rows += [Measurement(f"{MAIN}, {score}", "zero-shot", seed, untrained)]
    return rows


def _settings(trial: Trial, task: str, seed: int) -> TrainSettings:
    return TrainSettings(
        task=task,
        method=trial.method,
        form="linear",
        epochs=EPOCHS,
        batch_size=BATCH,
        lr=trial.lr,
        weight_decay=trial.weight_decay,
        keep="last",
        seed=seed,
        options=trial.options,
    )


def _fresh_workspace(root: Path, folder: Path) -> Path:
    """Return a workspace that holds the stream and has learned nothing; its store is shared."""
    files.share(root / "stored/store", folder / "store")
    shutil.copy(root / "stored/workspace.json", folder / "workspace.json")
    return folder
