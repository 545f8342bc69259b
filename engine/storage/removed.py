"""Tasks whose features were removed, which the manifest calls sealed: which they are, what is left of pairs."""

from dataclasses import replace

from engine.storage.manifest import Manifest
from engine.storage.rows import ids_of
from engine.storage.store import Store
from engine.types import ItemId, Modality, Pair


def tasks(manifest: Manifest, store: Store) -> list[str]:
    """Return the sealed tasks, less those whose features have all come back."""
    items: dict[str, set[ItemId]] = {task: set() for task in manifest.sealed}
    for row in store.rows() if items else ():
        if row.task in items:
            items[row.task].update(ids_of(row))
    return [task for task, ids in items.items() if store.lacking(ids)]


def readable(manifest: Manifest, store: Store) -> list[Pair]:
    """Return every pair, with those of its items whose features are stored."""
    return left(manifest, store, store.pairs())


def left(manifest: Manifest, store: Store, pairs: list[Pair]) -> list[Pair]:
    """Return the pairs with those of their items whose features are stored; a pair without any is left out."""
    if not manifest.sealed:
        return pairs
    gone = store.lacking({id for pair in pairs for ids in pair.items.values() for id in ids})
    rest = [replace(pair, items=_items_left(pair, gone)) for pair in pairs]
    return [pair for pair in rest if pair.items]


def _items_left(pair: Pair, gone: set[ItemId]) -> dict[Modality, tuple[ItemId, ...]]:
    left = {m: tuple(id for id in ids if id not in gone) for m, ids in pair.items.items()}
    return {m: ids for m, ids in left.items() if ids}
