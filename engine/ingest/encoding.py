"""From rows to features: files read, digested and decoded in threads, encoded in batches."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from engine import media
from engine.backbones import Backbone, Features, Prepared
from engine.errors import Unreadable
from engine.ids import item_id
from engine.sources.base import Row
from engine.storage.rows import FileStamp
from engine.storage.store import Store
from engine.types import Item, ItemId, Modality

CHUNK = 64
"""Rows that are encoded and stored together; the next chunk is decoded meanwhile."""

DECODERS = 4


@dataclass(frozen=True)
class Ready:
    """One item on its way to the store; nothing is prepared where its features are there already."""

    item: Item
    backbone: Backbone | None = None
    prepared: Prepared | None = None
    features: Features | None = None
    stamp: FileStamp | None = None


@dataclass(frozen=True)
class Loader:
    """What reads rows.

    Attributes:
        store: knows what is encoded already.
        backbone: the backbone of a modality; raises Unreadable where none reads it.
    """

    store: Store
    backbone: Callable[[Modality], Backbone]

    def chunks(self, rows: Iterator[Row]) -> Iterator[tuple[list[Row], list[list[Ready] | Unreadable]]]:
        """Yield rows with their items, or with the reason why a row cannot be used.

        Each chunk is submitted one step before it is needed, so that decoding runs beside encoding.
        """
        waiting: deque[tuple[list[Row], list[Future[list[Ready]]]]] = deque()
        with ThreadPoolExecutor(DECODERS) as pool:
            while chunk := list(islice(rows, CHUNK)):
                waiting.append((chunk, [pool.submit(self._load, row) for row in chunk]))
                if len(waiting) > 1:
                    yield _finished(*waiting.popleft())
            while waiting:
                yield _finished(*waiting.popleft())

    def _load(self, row: Row) -> list[Ready]:
        """Read, digest and decode what a row names; runs in a worker thread."""
        ready = [self._load_file(modality, path) for modality, path in row.media.items()]
        for modality, array in row.features.items():
            backbone, item = self.backbone(modality), _array_item(modality, array, row.name)
            if backbone.spec != "features":
                raise Unreadable(f"{modality} features here are by {backbone.spec}, not from files")
            if len(array) != backbone.widths[modality]:
                raise Unreadable(
                    f"{modality} has {len(array)} numbers; this workspace holds {backbone.widths[modality]}"
                )
            ready.append(Ready(item, backbone, features=array))
        for text in row.texts:
            data = text.encode()
            ready.append(self._prepared(Item(item_id("text", data), "text", text=text), data, None))
        return ready

    def _load_file(self, modality: Modality, path: Path) -> Ready:
        before = look(path)
        try:
            data = media.read(path)
            item = Item(item_id(modality, data), modality, (str(path),))
            return self._prepared(item, data, FileStamp(*before, item.id) if before else None)
        except Unreadable as error:
            raise Unreadable(str(error), path, error.settings) from None

    def _prepared(self, item: Item, data: bytes, stamp: FileStamp | None) -> Ready:
        backbone = self.backbone(item.modality)
        if self.store.has_features(item.id, backbone.id):
            return Ready(item, backbone, stamp=stamp)
        return Ready(item, backbone, prepared=backbone.prepare(item.modality, data), stamp=stamp)


def _array_item(modality: Modality, array: Features, name: str) -> Item:
    return Item(item_id(modality, array.tobytes()), modality, text=name)


def encode(ready: Iterable[Ready]) -> dict[tuple[ItemId, str], Features]:
    """Return the features of those items that have none yet, each item once."""
    found: dict[tuple[ItemId, str], Features] = {}
    waiting: dict[tuple[Modality, str], dict[ItemId, Ready]] = {}
    for one in ready:
        if one.backbone and one.features is not None:
            found[one.item.id, one.backbone.id] = one.features
        elif one.backbone and one.prepared is not None:
            waiting.setdefault((one.item.modality, one.backbone.id), {})[one.item.id] = one
    for (modality, backbone_id), batch in waiting.items():
        backbone = next(iter(batch.values())).backbone
        assert backbone
        features = backbone.encode(
            modality, [one.prepared for one in batch.values() if one.prepared is not None]
        )
        found |= {(id, backbone_id): row for id, row in zip(batch, features, strict=True)}
    return found


def look(path: Path) -> tuple[int, int] | None:
    """Return a file's size in bytes and mtime in nanoseconds, None where it cannot be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _finished(
    rows: list[Row], loaded: Sequence[Future[list[Ready]]]
) -> tuple[list[Row], list[list[Ready] | Unreadable]]:
    return rows, [_outcome(future) for future in loaded]


def _outcome(future: Future[list[Ready]]) -> list[Ready] | Unreadable:
    try:
        return future.result()
    except Unreadable as error:
        return error
