"""Write what docs/indexing.md says of each form of source: what is read of it, and what a person is told.

    python -m docs.sources

Every line of that table is a source that is made here and indexed.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from docs.source_cases import FIFO, Case, Content, cases
from engine import backbones
from engine.backbones import Backbone, Features, Prepared
from engine.backbones.precomputed import FeatureFile
from engine.decoding.jobs import Decode, here
from engine.errors import UserError
from engine.ingest.encoding import Loader
from engine.ingest.ingest import ingest
from engine.ingest.report import IngestReport
from engine.sources import open_source
from engine.sources.tables.columns import READ
from engine.storage.rows import StoredRow
from engine.storage.store import Store
from engine.types import Modality

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write the table into the page beside this file."""
    page = ROOT / "docs/indexing.md"
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")


def renewed(page: str) -> str:
    """Return the page with the table between its marks as the code now reads sources."""
    start, end = "<!-- sources -->\n", "<!-- end of sources -->"
    before, _, rest = page.partition(start)
    return before + start + "\n".join([*table(), end]) + rest.partition(end)[2]


@dataclass(frozen=True)
class Reader:
    """Prepares media as the built-in backbone does, and makes no features of them."""

    read: Backbone
    spec: str = "builtin"
    id: str = "none"
    aligned: bool = False
    digest: str = ""

    @property
    def widths(self) -> Mapping[Modality, int]:
        """Return the width D of each modality."""
        return dict.fromkeys(self.read.widths, 1)

    def prepare(self, modality: Modality, data: bytes, decode: Decode = here) -> Prepared:
        """Decode an item."""
        return self.read.prepare(modality, data, decode)

    def encode(self, modality: Modality, batch: Sequence[Prepared]) -> Features:
        """Return rows of ones (B, 1)."""
        return np.ones((len(batch), 1), np.float32)


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    yield from ("| source | with | rows that are read | what is said |", "| --- | --- | --- | --- |")
    reader = Reader(backbones.load("builtin", "cpu"))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(os.path.realpath(folder))
        with Store(place / "store", readonly=False) as store:
            for number, case in enumerate(cases()):
                photos = place / str(number) / "photos"
                read, told = outcome(case, photos, store, reader)
                told = (
                    told.replace(f"{photos}/", "")
                    .replace(str(photos), "photos")
                    .replace(", ".join(READ), "...")
                )
                row = (case.form, case.variant, read, told)
                yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"


def outcome(case: Case, folder: Path, store: Store, reader: Reader) -> tuple[str, str]:
    """Ingest a source; return what was read of it, and what was said."""
    for name, content in case.files.items():
        write(folder / name, content)
    source = folder / case.source
    try:
        widths = open_source(source).widths
        report = ingest(Loader(store, lambda m: FeatureFile(m, widths[m]) if m in widths else reader), source)
    except UserError as error:
        return "refused", str(error)
    rows = [row for row in store.rows() if row.source == str(source)]
    kinds = Counter(m for row in rows for m, ids in row.items.items() for _ in ids)
    parts = [f"{count} {modality}" for modality, count in sorted(kinds.items())]
    parts += [f"{name} {', '.join(values)}" for name, values in details(rows) if values]
    return f"{report.added}: {', '.join(parts)}", said(report)


def details(rows: Sequence[StoredRow]) -> Iterator[tuple[str, list[str]]]:
    """Yield the labels of rows and the fields they keep, each once."""
    yield "labels", sorted({label for row in rows for label in row.labels})
    yield "fields", sorted({name for row in rows for name in row.other})


def write(path: Path, content: Content) -> None:
    """Write what stands under a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is FIFO:
        os.mkfifo(path)
    elif isinstance(content, Path):
        path.symlink_to(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)


def said(report: IngestReport) -> str:
    """Return what a run says, in one line."""
    lines = [f"note: {note}" for note in report.told]
    skipped = [f"skipped {s.place.replace(s.path, Path(s.path).name)}: {s.reason}" for s in report.skipped]
    return "; ".join([*skipped, *lines])


if __name__ == "__main__":
    main()
