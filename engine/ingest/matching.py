"""The rows of a source beside those that the store keeps: under which key, as what, and whether they changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from engine.ids import item_id
from engine.ingest.encoding import look
from engine.sources.base import Collection, Row
from engine.storage.rows import StoredRow, ids_of, row_key
from engine.storage.store import Store
from engine.types import ItemId, Modality, Split


@dataclass(frozen=True)
class Matcher:
    """What the store keeps of the rows of a source.

    Attributes:
        task: for rows that name none; where it is given, rows that name another are none of this matter.
    """

    store: Store
    collection: Collection
    task: str | None

    def task_of(self, row: Row) -> str:
        """Return the task that a row belongs to."""
        return row.task or self.task or self.collection.default_task

    def key(self, row: Row) -> bytes:
        """Return the key under which a row is kept."""
        return row_key(str(self.collection.source), self.task_of(row), row.name)

    def known_keys(self) -> list[bytes]:
        """Return the keys of the stored rows that a pass over the source could meet again."""
        return [
            row.key
            for row in self.store.rows()
            if row.source == str(self.collection.source)
            and (row.task == self.task if self.task else row.named or row.task == self.collection.name)
        ]

    def is_unchanged(self, row: Row) -> bool:
        """Say whether a row is stored as it is now, with features of all its items, as far as its files show."""
        stored = self.store.row(self.key(row))
        return (
            stored is not None
            and stored == self._as_remembered(row)
            and not self.store.lacking(ids_of(stored))
        )

    def to_store(self, row: Row, items: Sequence[tuple[Modality, ItemId]]) -> StoredRow:
        """Return what is stored for a row whose items are these."""
        by_modality: dict[Modality, tuple[ItemId, ...]] = {}
        for modality, id in items:
            by_modality[modality] = (*by_modality.get(modality, ()), id)
        media = [id for modality, id in items if modality in row.media or modality in row.features]
        return StoredRow(
            str(self.collection.source),
            row.name,
            self.task_of(row),
            row.task is not None,
            row.split or hashed_split(row.id or " ".join(media or [id for _, id in items])),
            row.labels,
            by_modality,
            {modality: str(path) for modality, path in {**row.media, **row.origins}.items()},
            row.other,
            row.id,
        )

    def _as_remembered(self, row: Row) -> StoredRow | None:
        """Return what would be stored for a row if its files hold what they held; None where they look changed."""
        items = []
        for modality, path in row.media.items():
            stamp = self.store.stamp(str(path))
            if stamp is None or look(path) != (stamp.size, stamp.mtime):
                return None
            items.append((modality, stamp.item))
        items += [(modality, item_id(modality, array.tobytes())) for modality, array in row.features.items()]
        items += [("text", item_id("text", text.encode())) for text in row.texts]
        return self.to_store(row, items)


def hashed_split(key: str) -> Split:
    """Put a row into train, val or test, 80/10/10, by nothing but its key."""
    place = int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64
    return "train" if place < 0.8 else "val" if place < 0.9 else "test"
