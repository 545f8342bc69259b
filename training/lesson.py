"""One lesson: a task's pairs out of the store, a head version out of training, the history one longer."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from engine.decoding.pool import decoders
from engine.errors import InvalidSetting, Note, Setting, UserError
from engine.heads import files as heads
from engine.heads.files import Record
from engine.heads.head import Head
from engine.history import Lesson, Reference
from engine.ingest.encoding import Loader
from engine.ingest.ingest import Progress, ingest, silent
from engine.ingest.report import IngestReport
from engine.ingest.setup import WorkspaceOptions, open_or_make
from engine.sources.base import checked_task
from engine.storage.store import Store
from engine.storage.workspace import Workspace, is_at, waiting
from engine.storage.writer import writing
from engine.types import HeadForm, TrainSettings
from training import methods, selection
from training.data.history import past_tasks
from training.loop import Epoch, Objective, train_task
from training.recipes import Recipe


@dataclass(frozen=True)
class Outcome:
    """A finished lesson; seconds of wall time.

    Attributes:
        lesson: number 0 for a reference, which is no part of the history.
        lost: tasks that the method would have trained on too, had their features not been removed.
        unaware: links of the method that know nothing of the lessons before, which were trained without them.
        waiting: that the lesson is not served yet, and what serves it.
    """

    lesson: Lesson
    parent: int
    settings: TrainSettings
    epochs: Sequence[Epoch]
    unaware: Sequence[str]
    lost: Sequence[str]
    waiting: Sequence[Note]
    seconds: float

    @property
    def notes(self) -> list[Note]:
        """What a person should know of how it was trained."""
        before = "knows nothing of the lessons before, which were trained without it"
        told = [Note(f"{link} {before}") for link in self.unaware]
        if self.lost:
            told.append(Note(f"not trained on, since their features were removed: {', '.join(self.lost)}"))
        return told

    @property
    def kept(self) -> Epoch:
        """The epoch that the head ended as."""
        return next(epoch for epoch in self.epochs if epoch.kept)


def train(
    workspace: Workspace,
    store: Store,
    settings: TrainSettings,
    *,
    reference: bool = False,
    device: str = "cpu",
    on_epoch: Callable[[int, Epoch], None] = lambda number, epoch: None,
) -> tuple[Workspace, Outcome]:
    """Train the next head on a task's train pairs and append the lesson; no shard is touched.

    Args:
        reference: keep the head beside the history instead: later lessons and searches know nothing of it.
    """
    began = time.perf_counter()
    recipe = methods.recipe(settings.method)
    selected = selection.select(workspace, store, settings, recipe)
    parent, head, state = _start(workspace, settings, recipe)
    for modality in selected.modalities:
        if modality not in head.layers:
            head.add_branch(modality, workspace.manifest.backbones[modality].width)
    links = methods.strategies(settings, past_tasks(workspace, store, settings.task))
    for name, link in links.items():
        link.state.update(_of_link(name, state))
    objective = Objective(methods.loss(settings, head), list(links.values()))
    data = selection.load(workspace, store, settings, recipe, selected)
    epochs = train_task(head.to(device), data, objective, settings, on_epoch)
    unaware = [n for n, k in recipe.links.items() if k.remembers and parent and not _of_link(n, state)]
    lesson = _next_lesson(workspace, settings.task, is_reference=reference)
    digest = heads.write(
        workspace.head(lesson.head),
        head,
        _record(workspace, lesson, parent, head, replace(settings, modalities=tuple(selected.modalities))),
        {**state, **{f"{name}.{key}": t for name, link in links.items() for key, t in link.state.items()}},
        b"".join(json.dumps(asdict(epoch)).encode() + b"\n" for epoch in epochs),
    )
    seconds = time.perf_counter() - began
    workspace = _appended(workspace, replace(lesson, digest=digest), recipe, settings.method, seconds)
    to_serve = waiting(workspace.manifest) if lesson.number else []
    return workspace, Outcome(lesson, parent, settings, epochs, unaware, selected.lost, to_serve, seconds)


def learn(
    root: Path,
    sources: Sequence[Path],
    options: WorkspaceOptions,
    settings: TrainSettings,
    *,
    reference: bool = False,
    device: str = "cpu",
    allow_mass_delete: bool = False,
    progress: Progress = silent,
    on_epoch: Callable[[int, Epoch], None] = lambda number, epoch: None,
) -> tuple[Outcome, list[IngestReport]]:
    """Store what the sources hold of the task, then train it."""
    settings = methods.settled(replace(settings, task=checked_task(settings.task)))
    check(settings)
    if not sources and not is_at(root):
        raise UserError(f"no workspace at {root}: give a SOURCE to make one")
    with writing(root):
        workspace, backbones = open_or_make(root, sources, options, device)
        with Store(workspace.store, readonly=not sources, served=workspace.state) as store:
            with decoders(options.sources.decoding) as processes:
                loader = Loader(store, backbones.of, options.sources, processes)
                reports = [
                    ingest(
                        loader,
                        source,
                        task=settings.task,
                        allow_mass_delete=allow_mass_delete,
                        progress=progress,
                    )
                    for source in sources
                ]
            _, outcome = train(
                workspace, store, settings, reference=reference, device=device, on_epoch=on_epoch
            )
    return outcome, reports


def check(settings: TrainSettings) -> None:
    """Raise where settings cannot train, whatever the task holds; nothing is read."""
    if settings.epochs < 1:
        raise InvalidSetting("epochs", f"must be at least 1, not {settings.epochs}")
    if settings.batch_size < 2:
        raise InvalidSetting(
            "batch_size", f"must be at least 2, not {settings.batch_size}: a row needs negatives"
        )
    if not settings.lr > 0:
        raise InvalidSetting("lr", f"must be above 0, not {settings.lr}")
    if not settings.weight_decay >= 0:
        raise InvalidSetting("weight_decay", f"must be at least 0, not {settings.weight_decay}")
    if settings.patience < 0:
        raise InvalidSetting("patience", f"must be at least 0, not {settings.patience}")
    if not 0 <= settings.seed < 2**63:
        raise InvalidSetting("seed", f"must be from 0 to {2**63 - 1}, not {settings.seed}")
    if not 0 <= settings.warmup <= 1:
        raise InvalidSetting("warmup", f"must be from 0 to 1, a share of all steps, not {settings.warmup}")
    methods.check(settings)


def _start(
    workspace: Workspace, settings: TrainSettings, recipe: Recipe
) -> tuple[int, Head, dict[str, Tensor]]:
    """Return the version to start from, its head and what its strategies remember; 0 from the initialisation."""
    lessons = workspace.manifest.history.lessons
    default: HeadForm = "linear" if workspace.manifest.aligned else "mlp"
    if not lessons or recipe.start == "initialisation":
        form, shared = settings.form or default, bool(settings.shared_top)
        return 0, Head(form, workspace.manifest.width, shared_top=shared, seed=settings.seed), {}
    parent = lessons[-1].head
    folder = workspace.head(parent)
    head, _ = heads.read(folder, workspace.digest(parent))
    if settings.form not in (None, head.form) or settings.shared_top not in (None, head.top is not None):
        of_form, top, anew = Setting("form"), Setting("shared_top"), Setting("method", "experts")
        raise UserError(
            f"head v{parent:04d} is {head.form}{' with a shared top' if head.top else ''}, and a later head has "
            f"its parent's form: leave {of_form} and {top} out, or start anew with {anew}",
            [of_form, top, anew],
        )
    head.seed = settings.seed
    return parent, head, heads.read_state(folder)


def _of_link(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of one link, by the link's own names."""
    return {key.removeprefix(f"{name}."): t for key, t in state.items() if key.startswith(f"{name}.")}


def _next_lesson(workspace: Workspace, task: str, *, is_reference: bool) -> Lesson:
    manifest = workspace.manifest
    lessons = manifest.history.lessons
    taken = [lesson.head for lesson in lessons] + [reference.head for reference in manifest.references]
    return Lesson(0 if is_reference else len(lessons) + 1, task, max(taken, default=0) + 1)


def _appended(workspace: Workspace, lesson: Lesson, recipe: Recipe, method: str, seconds: float) -> Workspace:
    """Return the workspace with its history one longer, or with one more reference beside it."""
    manifest, history = workspace.manifest, workspace.manifest.history
    if lesson.number:
        longer = replace(history, lessons=(*history.lessons, lesson))
        return workspace.with_manifest(replace(manifest, history=longer))
    alone = recipe.start == "initialisation" and recipe.pairs == "task"
    reference = Reference(
        method, lesson.task, len(history.lessons), lesson.head, alone, seconds, lesson.digest
    )
    return workspace.with_manifest(replace(manifest, references=(*manifest.references, reference)))


def _record(workspace: Workspace, lesson: Lesson, parent: int, head: Head, settings: TrainSettings) -> Record:
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
