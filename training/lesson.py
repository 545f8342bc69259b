"""One lesson: a task's pairs out of the store, a head version out of training, the history one longer."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine import head as heads
from engine.errors import UserError
from engine.head import Head, Record
from engine.ingest import Progress, Report, ingest, silent
from engine.loading import Loader
from engine.opening import Wish, enter
from engine.store import Store
from engine.types import HeadForm, ItemId, Lesson, Modality, Pair, Settings
from engine.workspace import Workspace, writing
from training import methods
from training.pairs import PairSet, collect
from training.train import Course, Epoch, Material, Objective, train_task

MOST_VALIDATION = 4096
"""Validation pairs beyond these are not measured during training."""


@dataclass(frozen=True)
class Outcome:
    """A finished lesson; seconds of wall time."""

    lesson: Lesson
    parent: int
    settings: Settings
    epochs: Sequence[Epoch]
    seconds: float

    @property
    def kept(self) -> Epoch:
        """The epoch that the head ended as."""
        return next(epoch for epoch in self.epochs if epoch.kept)


def train(
    workspace: Workspace,
    store: Store,
    settings: Settings,
    *,
    device: str = "cpu",
    on_epoch: Callable[[int, Epoch], None] = lambda number, epoch: None,
) -> tuple[Workspace, Outcome]:
    """Train the next head on a task's train pairs and append the lesson; no shard is touched."""
    began = time.perf_counter()
    pairs = _pairs(workspace, store, settings)
    modalities = _modalities(pairs, settings)
    joined = [pair for pair in pairs if sum(m in pair.items for m in modalities) > 1]
    train_pairs = [pair for pair in joined if pair.split == "train"]
    if sum(pair.task == settings.task for pair in train_pairs) < 2:
        raise UserError(_too_few(settings, modalities, train_pairs))
    loss, links = methods.loss(settings), methods.strategies(settings)
    parent, head = _start(workspace, settings)
    for modality in modalities:
        if modality not in head.layers:
            head.add_branch(modality, workspace.manifest.backbones[modality].width)
    epochs = train_task(
        head.to(device),
        Material(
            _collect(workspace, store, settings, train_pairs, modalities),
            _collect(workspace, store, settings, _validation(joined, train_pairs, modalities), modalities),
        ),
        Objective(loss, links),
        Course(
            settings.epochs, settings.lr, settings.batch_size, settings.patience, settings.keep, settings.seed
        ),
        on_epoch,
    )
    lesson = _next_lesson(workspace, settings.task)
    heads.write(
        workspace.head(lesson.head),
        head,
        _record(workspace, lesson, parent, head, replace(settings, modalities=tuple(modalities))),
        {f"{type(link).__name__}.{name}": t for link in links for name, t in link.state.items()},
        b"".join(json.dumps(asdict(epoch)).encode() + b"\n" for epoch in epochs),
    )
    history = workspace.manifest.history
    longer = replace(history, lessons=(*history.lessons, lesson))
    workspace = workspace.with_manifest(replace(workspace.manifest, history=longer))
    return workspace, Outcome(lesson, parent, settings, epochs, time.perf_counter() - began)


def learn(
    root: Path,
    sources: Sequence[Path],
    wish: Wish,
    settings: Settings,
    *,
    device: str = "cpu",
    allow_mass_delete: bool = False,
    progress: Progress = silent,
    on_epoch: Callable[[int, Epoch], None] = lambda number, epoch: None,
) -> tuple[Outcome, list[Report]]:
    """Store what the sources hold of the task, then train it."""
    settings = methods.settled(settings)
    _check(settings)
    if not sources and not (root / "workspace.json").is_file():
        raise UserError(f"no workspace at {root}: give a SOURCE to make one")
    with writing(root):
        workspace, encoders = enter(root, sources, wish, device)
        with Store(workspace.store, readonly=False) as store:
            loader = Loader(store, encoders.backbone)
            reports = [
                ingest(
                    loader, source, task=settings.task, allow_mass_delete=allow_mass_delete, progress=progress
                )
                for source in sources
            ]
            _, outcome = train(workspace, store, settings, device=device, on_epoch=on_epoch)
    return outcome, reports


def _check(settings: Settings) -> None:
    if settings.epochs < 1:
        raise UserError(f"--epochs must be at least 1, not {settings.epochs}")
    if settings.batch_size < 2:
        raise UserError(f"--batch-size must be at least 2, not {settings.batch_size}: a row needs negatives")
    if not settings.lr > 0:
        raise UserError(f"--lr must be above 0, not {settings.lr}")
    if not settings.weight_decay >= 0:
        raise UserError(f"--weight-decay must be at least 0, not {settings.weight_decay}")
    if settings.patience < 0:
        raise UserError(f"--patience must be at least 0, not {settings.patience}")
    if not 0 <= settings.seed < 2**63:
        raise UserError(f"--seed must be from 0 to {2**63 - 1}, not {settings.seed}")
    methods.loss(settings)  # which refuses unknown names, here before anything is read


def _pairs(workspace: Workspace, store: Store, settings: Settings) -> list[Pair]:
    """Return the pairs a method trains and validates on, in the order of their names."""
    every = store.pairs()
    known = list(dict.fromkeys(pair.task for pair in every))
    if settings.task not in known:
        raise UserError(
            f"no task {settings.task!r} is stored; tasks are: {', '.join(known) or 'none'} "
            "(give a SOURCE that holds it)"
        )
    wanted = {settings.task}
    if methods.METHODS[settings.method].pairs == "history":
        wanted |= {lesson.task for lesson in workspace.manifest.history.lessons}
    return [pair for pair in every if pair.task in wanted]


def _modalities(pairs: Sequence[Pair], settings: Settings) -> list[Modality]:
    held = sorted({modality for pair in pairs for modality in pair.items})
    missing = [m for m in settings.modalities if m not in held]
    if missing:
        raise UserError(f"no pair of task {settings.task!r} holds {missing[0]}; they hold: {', '.join(held)}")
    chosen = sorted(set(settings.modalities) or held)
    if len(chosen) < 2:
        named = "--modalities names" if settings.modalities else f"task {settings.task!r} holds"
        raise UserError(f"{named} {', '.join(chosen)} only: training needs pairs of two modalities")
    return chosen


def _too_few(settings: Settings, modalities: Sequence[Modality], found: Sequence[Pair]) -> str:
    count = sum(pair.task == settings.task for pair in found)
    return (
        f"task {settings.task!r} has {count} train pairs that join {' and '.join(modalities)}: "
        "at least 2 are needed"
    )


def _start(workspace: Workspace, settings: Settings) -> tuple[int, Head]:
    """Return the version to start from and its head; 0 and a fresh one from the initialisation."""
    lessons = workspace.manifest.history.lessons
    usual: HeadForm = "linear" if workspace.manifest.aligned else "mlp"
    if not lessons or methods.METHODS[settings.method].start == "initialisation":
        form, shared = settings.form or usual, bool(settings.shared_top)
        return 0, Head(form, workspace.manifest.width, shared_top=shared, seed=settings.seed)
    parent = lessons[-1].head
    head, _ = heads.read(workspace.head(parent))
    if settings.form not in (None, head.form) or settings.shared_top not in (None, head.top is not None):
        raise UserError(
            f"head v{parent:04d} is {head.form}{' with a shared top' if head.top else ''}, and a later head has "
            "its parent's form: leave --head and --shared-top out, or start anew with --method experts"
        )
    head.seed = settings.seed
    return parent, head


def _collect(
    workspace: Workspace,
    store: Store,
    settings: Settings,
    pairs: Sequence[Pair],
    modalities: Sequence[Modality],
) -> PairSet:
    def read(modality: Modality, ids: Sequence[ItemId]) -> NDArray[np.float32]:
        return store.features(ids, workspace.manifest.backbones[modality].id)

    found = collect(pairs, modalities, read)
    if methods.METHODS[settings.method].negatives == "all":
        return replace(found, group=found.group.zero_())
    return found


def _validation(
    joined: Sequence[Pair], trained: Sequence[Pair], modalities: Sequence[Modality]
) -> list[Pair]:
    """Return the validation pairs in the order of their keys, which mixes tasks as training does.

    Where they lack a modality that is trained they cannot judge, and there are none.
    """
    held = sorted((pair for pair in joined if pair.split == "val"), key=lambda pair: pair.key)
    there = {m for pair in held for m in pair.items}
    lacking = {m for pair in trained for m in pair.items if m in modalities} - there
    return [] if lacking else held[:MOST_VALIDATION]


def _next_lesson(workspace: Workspace, task: str) -> Lesson:
    number = len(workspace.manifest.history.lessons) + 1
    return Lesson(number, task, number)


def _record(workspace: Workspace, lesson: Lesson, parent: int, head: Head, settings: Settings) -> Record:
    backbones = workspace.manifest.backbones
    return Record(
        version=lesson.head,
        parent=parent,
        widths={m: backbones[m].width for m in head.layers},
        width=head.width,
        form=head.form,
        shared_top=head.top is not None,
        settings=settings,
        backbones={m: backbones[m].id for m in head.layers},
    )
