"""From rows to features: files read and digested in threads, decoded in processes, encoded in batches."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from engine.backbones import Backbone, Features, Prepared
from engine.decoding.jobs import here
from engine.decoding.pool import Decoders
from engine.errors import Setting, Unreadable
from engine.ids import counted, item_id
from engine.media import Flag, collected, read
from engine.sources.base import Row
from engine.sources.tables.values import AS_USUAL, SourceOptions
from engine.storage.rows import FileStamp
from engine.storage.store import Store
from engine.types import Item, ItemId, Modality

CHUNK = 64
"""Rows that are encoded and stored together; the next chunk is decoded meanwhile."""

READERS = 4
"""Threads that read files and wait for what decodes them."""


@dataclass(frozen=True)
class LoadedItem:
    """One item on its way to the store.

    Attributes:
        prepared: what its backbone is to encode; None where its features are known already.
        features: those (D,) that its source brought; None where they are stored, or to be encoded.
        stamp: what its file looked like; None of a text or of features.
        flags: what was odd about it.
    """

    item: Item
    backbone: Backbone
    prepared: Prepared | None = None
    features: Features | None = None
    stamp: FileStamp | None = None
    flags: frozenset[Flag] = frozenset()


Loaded: TypeAlias = "list[LoadedItem] | Unreadable"
"""The items of one row, or why the row cannot be used."""


@dataclass(frozen=True)
class Loader:
    """What reads the media of rows.

    Attributes:
        store: knows what is encoded already.
        backbone: returns the backbone of a modality; raises Unreadable where none reads it.
        sources: how the sources are read that bring the rows.
        decoders: decode media in processes of their own; None: they are decoded in this one.
    """

    store: Store
    backbone: Callable[[Modality], Backbone]
    sources: SourceOptions = AS_USUAL
    decoders: Decoders | None = None

    def chunks(self, rows: Iterator[Row]) -> Generator[list[tuple[Row, Loaded]], None, None]:
        """Yield rows with their items, or with the reason why a row cannot be used, CHUNK at a time.

        Each chunk is submitted one step before it is needed, so that decoding runs beside encoding. Whoever takes
        them closes this generator, which ends what is being decoded.
        """
        waiting: deque[list[tuple[Row, Future[list[LoadedItem]]]]] = deque()
        with ThreadPoolExecutor(READERS) as pool, ExitStack() as if_left_early:
            if_left_early.callback(self._stop, pool)
            while chunk := list(islice(rows, CHUNK)):
                waiting.append([(row, pool.submit(self._load, row)) for row in chunk])
                if len(waiting) > 1:
                    yield _finished(waiting.popleft())
            while waiting:
                yield _finished(waiting.popleft())
            if_left_early.pop_all()

    def printed(self) -> list[str]:
        """Return what decoders have printed since they were asked last."""
        return self.decoders.printed() if self.decoders else []

    def _stop(self, pool: ThreadPoolExecutor) -> None:
        pool.shutdown(wait=False, cancel_futures=True)
        if self.decoders:
            self.decoders.stop()

    def _load(self, row: Row) -> list[LoadedItem]:
        """Read, digest and decode what a row names; runs in a thread."""
        items = [self._load_file(modality, path) for modality, path in row.media.items()]
        items += [
            self._load_features(modality, array, row.title(modality))
            for modality, array in row.features.items()
        ]
        for text in row.texts_to_encode:
            data = text.encode()
            items.append(self._prepare(Item(item_id("text", data), "text", text=text), data, None))
        return items

    def _load_features(self, modality: Modality, features: Features, title: str) -> LoadedItem:
        backbone = self.backbone(modality)
        if backbone.spec != "features":
            raise _of_another_encoder(f"{modality} features here are by {backbone.spec}, not from files")
        if len(features) != backbone.widths[modality]:
            width = counted(len(features), "number")
            raise _of_another_encoder(
                f"{modality} has {width}; this workspace holds {backbone.widths[modality]}"
            )
        item = Item(item_id(modality, features.tobytes()), modality, text=title)
        return LoadedItem(item, backbone, features=features)

    def _load_file(self, modality: Modality, path: Path) -> LoadedItem:
        seen = look(path)
        try:
            data = read(path)
            item = Item(item_id(modality, data), modality, (str(path),))
            return self._prepare(item, data, FileStamp(*seen, item.id) if seen else None)
        except Unreadable as error:
            raise Unreadable(str(error), path, error.settings) from None

    def _prepare(self, item: Item, data: bytes, stamp: FileStamp | None) -> LoadedItem:
        backbone = self.backbone(item.modality)
        if self.store.has_features(item.id, backbone.id):
            return LoadedItem(item, backbone, stamp=stamp)
        with collected() as flags:
            prepared = backbone.prepare(item.modality, data, self.decoders.decode if self.decoders else here)
        return LoadedItem(item, backbone, prepared=prepared, stamp=stamp, flags=frozenset(flags))


def encode(items: Iterable[LoadedItem]) -> dict[tuple[ItemId, str], Features]:
    """Return the features (D,) of those items that have none yet, each item once, by item and backbone id."""
    features: dict[tuple[ItemId, str], Features] = {}
    batches: dict[tuple[Modality, str], dict[ItemId, tuple[Backbone, Prepared]]] = {}
    for loaded in items:
        item, backbone = loaded.item, loaded.backbone
        if loaded.features is not None:
            features[item.id, backbone.id] = loaded.features
        elif loaded.prepared is not None:
            batch = batches.setdefault((item.modality, backbone.id), {})
            batch[item.id] = backbone, loaded.prepared
    for (modality, backbone_id), batch in batches.items():
        backbone = next(iter(batch.values()))[0]
        rows = backbone.encode(modality, [prepared for _, prepared in batch.values()])
        features |= {(id, backbone_id): row for id, row in zip(batch, rows, strict=True)}
    return features


def look(path: Path) -> tuple[int, int] | None:
    """Return a file's size in bytes and mtime in nanoseconds, None where it cannot be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _finished(chunk: Sequence[tuple[Row, Future[list[LoadedItem]]]]) -> list[tuple[Row, Loaded]]:
    return [(row, _result(future)) for row, future in chunk]


def _result(future: Future[list[LoadedItem]]) -> Loaded:
    try:
        return future.result()
    except Unreadable as error:
        return error


def _of_another_encoder(why: str) -> Unreadable:
    """Return why features cannot stand beside those that are stored, and where they can."""
    workspace = Setting("workspace", "DIR")
    return Unreadable(f"{why}: index them elsewhere with {workspace}", settings=[workspace])
