"""mneme for notebooks and scripts: the same functions that the command line calls.

import mneme

photos = mneme.open("photos")
photos.index("pictures", backbone="builtin")
photos.train("holidays", source="pictures/holidays")
photos.index("pictures/holidays", task="holidays")
for hit in photos.search("a red boat"):
    print(hit.score, hit.path)

What a person should know although nothing failed is a warning of class `Note`.
"""

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from engine.decoding.limits import LIMITS, DecodingLimits
from engine.errors import Note, UserError
from engine.heads.embedder import resolve
from engine.ids import clean_text
from engine.ingest.setup import WorkspaceOptions
from engine.media import modality_of
from engine.ranking.query import Input, as_words, file_input
from engine.sources.tables.values import AS_USUAL, Limits, SourceOptions
from engine.storage.selection import Selection
from engine.storage.workspace import locate, place
from engine.types import DeviceName, Hit, MergeName, Modality, PolicyName, TrainSettings
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.evaluation.results import Result
from indexer.serving import index as indexing
from indexer.serving import remove as removing
from indexer.serving import status as statuses
from indexer.serving.index import IndexSummary
from indexer.serving.remove import RowRemoval
from indexer.serving.search import open_searcher
from indexer.serving.status import Status
from indexer.verification import repair as repairing
from indexer.verification import verify as verifying
from indexer.verification.damage import Verification
from training import lesson as lessons
from training.lesson import Outcome

__all__ = [
    "DecodingLimits",
    "EvalSettings",
    "Hit",
    "Limits",
    "Mneme",
    "Note",
    "Result",
    "SourceOptions",
    "TrainSettings",
    "UserError",
    "__version__",
    "open",
]

__version__ = version("mneme")


@dataclass(frozen=True)
class Mneme:
    """A workspace, which need not exist yet; every call reads it as it then stands."""

    folder: Path
    device: DeviceName = "auto"

    def index(
        self,
        *sources: str | Path,
        task: str | None = None,
        backbone: str | Sequence[str] = (),
        policy: PolicyName | None = None,
        reading: SourceOptions = AS_USUAL,
        allow_mass_delete: bool = False,
    ) -> IndexSummary:
        """Bring sources into the index: add what is new, re-read what changed, drop what is gone.

        Args:
            reading: limits, where media lie, and whether to read all again.
            allow_mass_delete: drop rows even where most of a source is gone.
        """
        tell = _teller()
        done = indexing.index(
            place(self.folder),
            [Path(source) for source in sources],
            _options(backbone, reading, tell),
            task=task,
            policy=policy,
            device=resolve(self.device),
            allow_mass_delete=allow_mass_delete,
        )
        tell(done.notes)
        return done

    def train(
        self,
        task: str,
        *,
        source: str | Path | None = None,
        backbone: str | Sequence[str] = (),
        settings: TrainSettings | None = None,
        reading: SourceOptions = AS_USUAL,
        allow_mass_delete: bool = False,
    ) -> Outcome:
        """Teach the newest head a task; what is served changes with the next `index`.

        Raises:
            UserError: `settings` are those of another task.
        """
        if settings and settings.task != task:
            raise UserError(f"the task to teach is {task!r}, but the settings are of {settings.task!r}")
        tell = _teller()
        outcome, reports = lessons.learn(
            place(self.folder),
            [] if source is None else [Path(source)],
            _options(backbone, reading, tell),
            settings or TrainSettings(task=task),
            device=resolve(self.device),
            allow_mass_delete=allow_mass_delete,
        )
        for report in reports:
            tell(report.told)
        tell([*outcome.notes, *outcome.waiting])
        return outcome

    def search(
        self,
        query: str | Path,
        *,
        to: Modality | None = None,
        k: int = 10,
        task: str = "all",
        policy: PolicyName | None = None,
        merge: MergeName | None = None,
        limits: DecodingLimits = LIMITS,
    ) -> list[Hit]:
        """Return the K best hits for a text (str) or a file (Path), whose decoding has limits."""
        tell = _teller()
        given = _file(query) if isinstance(query, Path) else Input("text", clean_text(query).encode())
        root, device = locate(self.folder), resolve(self.device)
        with open_searcher(root, device=device, policy=policy, limits=limits) as searcher:
            hits = searcher.search([given], to, k, searcher.scope(task, merge)).hits
            tell([*(as_words(query) if isinstance(query, str) else []), *searcher.notes([given], to)])
        return hits

    def remove(
        self,
        what: str | Path = "",
        *,
        task: str | None = None,
        source: str | Path | None = None,
        dry_run: bool = False,
    ) -> RowRemoval:
        """Remove the rows of an item (its id or the beginning of it), a row's id, a file, folder, task or source.

        What is given narrows; the items that no other row names go too.
        """
        tell = _teller()
        named = Selection(str(what), task, None if source is None else Path(source))
        root = locate(self.folder)
        done = (
            removing.dry_run(root, named)
            if dry_run
            else removing.remove_rows(root, named, device=resolve(self.device))
        )
        tell(done.notes)
        return done

    def status(self) -> Status:
        """Return what the workspace holds: tasks, items, heads, lessons, shards."""
        return statuses.status(locate(self.folder))

    def verify(self, *, deep: bool = False, repair: bool = False) -> Verification:
        """Say what is damaged, missing or left over; mend it if `repair`.

        Args:
            deep: read every byte, as `repair` does.
        """
        tell, root = _teller(), locate(self.folder)
        done = (
            repairing.repair(root, device=resolve(self.device))
            if repair
            else verifying.verify(root, deep=deep)
        )
        tell(done.notes)
        return done

    def evaluate(self, setting: EvalSettings | None = None) -> list[Result]:
        """Return the matrices of recall after every lesson, by policy and direction."""
        tell = _teller()
        with open_evaluation(
            locate(self.folder), setting or EvalSettings(), device=resolve(self.device)
        ) as evaluation:
            results = list(evaluation.results())
            tell(evaluation.notes(results))
        return results


def open(folder: str | Path = ".", *, device: DeviceName = "auto") -> Mneme:
    """Name the folder of a workspace; nothing is read or made yet."""
    return Mneme(Path(folder), device)


def _teller() -> Callable[[Sequence[Note]], None]:
    """Return what raises notes as warnings at the line that called the method which asks, from however deep below."""
    caller = _depth() - 2

    def tell(notes: Sequence[Note]) -> None:
        for note in notes:
            warnings.warn(note, stacklevel=_depth() - caller + 1)

    return tell


def _depth() -> int:
    """Return how many functions have called each other here, of which the last called this."""
    frame, depth = inspect.currentframe(), -1
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def _options(
    backbone: str | Sequence[str], reading: SourceOptions, tell: Callable[[Sequence[Note]], None]
) -> WorkspaceOptions:
    specs = [backbone] if isinstance(backbone, str) else backbone
    return WorkspaceOptions(specs, on_default=lambda chosen: tell(chosen.notes), sources=reading)


def _file(path: Path) -> Input:
    modality = modality_of(path)
    if modality is None:
        raise UserError(f"{path} is no medium that can be read; give a text as a str")
    return file_input(modality, path)
