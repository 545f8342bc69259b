"""A source whose folder or file was renamed: known again by the names and the content of what is in it."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from engine import media
from engine.errors import Unreadable
from engine.ids import item_id
from engine.ingest.encoding import look
from engine.sources.base import Collection, Row
from engine.storage.rows import FileStamp, StoredRow, ids_of, row_key
from engine.storage.store import Store
from engine.types import ItemId, Skipped

Mark: TypeAlias = "tuple[str, frozenset[ItemId]]"
"""A row's task, and the items that it is known again by."""


@dataclass(frozen=True)
class Former:
    """Where a source stood before it moved.

    Attributes:
        task: the default task there; None where another is asked for, or rows name theirs.
    """

    source: str
    task: str | None

    def name(self, name: str, collection: Collection) -> str:
        """Return what a row of the moved source was called; names may hold paths."""
        now, before = Path(collection.source), Path(self.source)
        if now.is_file():
            now, before = now.parent, before.parent
        return name.replace(f"{now}{os.sep}", f"{before}{os.sep}")


def find(
    store: Store, collection: Collection, task: str | None, vanished: Mapping[str, Sequence[str]]
) -> Former | None:
    """Return where a source stood before, by the first row of it that is stored from a place that is no more.

    Args:
        task: the one that is asked for.
        vanished: of each such place the tasks of rows that named none, the likeliest first.
    """
    for row in collection.rows():
        if isinstance(row, Skipped) or (task is not None and row.task not in (None, task)):
            continue
        given = row.task or task
        for source, tasks in vanished.items():
            for home in [given] if given else tasks:
                former = Former(source, None if given else home)
                before = store.row(row_key(source, home, former.name(row.name, collection)))
                if before is not None and _holds(store, before, row):
                    return former
    return None


def _holds(store: Store, stored: StoredRow, row: Row) -> bool:
    """Say whether a stored row has the content that a row has now."""
    now = set[ItemId]()
    for modality, path in row.media.items():
        stamp = store.stamp(stored.files.get(modality, ""))
        try:
            if stamp is None or path.stat().st_size != stamp.size:
                return False
            now.add(item_id(modality, media.read(path)))
        except (OSError, Unreadable):
            return False
    now |= {item_id(modality, array.tobytes()) for modality, array in row.features.items()}
    return _content(stored) == (now or {item_id("text", text.encode()) for text in row.texts})


def is_alike(before: StoredRow, now: StoredRow) -> bool:
    """Say whether two rows hold the same media or features, or where they have none the same texts."""
    return _content(before) == _content(now)


def mark(row: StoredRow) -> Mark:
    """Return what a row of a source is known again by under another name."""
    return row.task, _content(row)


def pairs_of(lost: Sequence[StoredRow], added: Counter[Mark]) -> int:
    """Return how many rows that were lost have one of equal content that was added, each its own."""
    return (Counter(map(mark, lost)) & added).total()


def stamp_by_look(store: Store, rows: Sequence[StoredRow]) -> Callable[[Path], FileStamp | None]:
    """Return what finds, for a file, the stamp of a file of these rows that looked as it does."""
    stamps = [store.stamp(path) for row in rows for path in row.files.values()]
    by_look = {(stamp.size, stamp.mtime): stamp for stamp in stamps if stamp is not None}
    return lambda path: by_look.get(look(path) or (-1, -1))


def _content(row: StoredRow) -> frozenset[ItemId]:
    media = [id for modality, ids in row.items.items() if modality != "text" for id in ids]
    return frozenset(media or ids_of(row))
