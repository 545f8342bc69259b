"""mneme for notebooks and scripts: the same functions that the command line calls.

import mneme

photos = mneme.open("photos")
photos.index("pictures", backbone="builtin")
photos.train("holidays", source="pictures/holidays")
photos.index("pictures/holidays", task="holidays")
for hit in photos.search("a red boat"):
    print(hit.score, hit.path)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from engine.errors import UserError
from engine.heads.embedder import resolve
from engine.ids import clean_text
from engine.ingest.setup import WorkspaceOptions
from engine.media import modality_of
from engine.ranking.query import Input, file_input
from engine.storage.workspace import locate, place
from engine.types import DeviceName, Hit, MergeName, Modality, PolicyName, TrainSettings
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.evaluation.results import Result
from indexer.serving import index as indexing
from indexer.serving.index import IndexSummary
from indexer.serving.search import open_searcher
from training import lesson as lessons
from training.lesson import Outcome

__all__ = ["EvalSettings", "Hit", "Mneme", "Result", "TrainSettings", "UserError", "__version__", "open"]

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
    ) -> IndexSummary:
        """Bring sources into the index: add what is new, re-read what changed, drop what is gone."""
        return indexing.index(
            place(self.folder),
            [Path(source) for source in sources],
            _options(backbone),
            task=task,
            policy=policy,
            device=resolve(self.device),
        )

    def train(
        self,
        task: str,
        *,
        source: str | Path | None = None,
        backbone: str | Sequence[str] = (),
        settings: TrainSettings | None = None,
    ) -> Outcome:
        """Teach the newest head a task; what is served changes with the next `index`."""
        outcome, _ = lessons.learn(
            place(self.folder),
            [] if source is None else [Path(source)],
            _options(backbone),
            replace(settings, task=task) if settings else TrainSettings(task=task),
            device=resolve(self.device),
        )
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
    ) -> list[Hit]:
        """Return the K best hits for a text (str) or a file (Path)."""
        given = _file(query) if isinstance(query, Path) else Input("text", clean_text(query).encode())
        with open_searcher(locate(self.folder), device=resolve(self.device), policy=policy) as searcher:
            return searcher.search([given], to, k, searcher.scope(task, merge)).hits

    def evaluate(self, setting: EvalSettings | None = None) -> list[Result]:
        """Return the matrices of recall after every lesson, by policy and direction."""
        with open_evaluation(
            locate(self.folder), setting or EvalSettings(), device=resolve(self.device)
        ) as evaluation:
            return list(evaluation.results())


def open(folder: str | Path = ".", *, device: DeviceName = "auto") -> Mneme:
    """Name the folder of a workspace; nothing is read or made yet."""
    return Mneme(Path(folder), device)


def _options(backbone: str | Sequence[str]) -> WorkspaceOptions:
    return WorkspaceOptions([backbone] if isinstance(backbone, str) else backbone)


def _file(path: Path) -> Input:
    modality = modality_of(path)
    if modality is None:
        raise UserError(f"{path} is no medium that can be read; give a text as a str")
    return file_input(modality, path)
