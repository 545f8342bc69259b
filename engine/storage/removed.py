"""Tasks whose features were removed: which they are now, and what can still be read of all pairs."""

from dataclasses import replace

from engine.storage.manifest import Manifest
from engine.storage.rows import ids_of
from engine.storage.store import Store
from engine.types import ItemId, Modality, Pair


def tasks(manifest: Manifest, store: Store) -> list[str]:
    """Return the sealed tasks, less those whose features all came back."""
    held: dict[str, set[ItemId]] = {task: set() for task in manifest.sealed}
    for row in store.rows() if held else ():
        if row.task in held:
            held[row.task].update(ids_of(row))
    return [task for task, ids in held.items() if store.lacking(ids)]


def readable(manifest: Manifest, store: Store) -> list[Pair]:
    """Return every pair, with those of its items whose features are stored."""
    return left(manifest, store, store.pairs())


def left(manifest: Manifest, store: Store, pairs: list[Pair]) -> list[Pair]:
    """Return what is left of pairs: those of their items whose features are stored."""
    if not manifest.sealed:
        return pairs
    gone = store.lacking({id for pair in pairs for ids in pair.items.values() for id in ids})
    less = [replace(pair, items=_less(pair, gone)) for pair in pairs]
    return [pair for pair in less if pair.items]


def _less(pair: Pair, gone: set[ItemId]) -> dict[Modality, tuple[ItemId, ...]]:
    kept = {m: tuple(id for id in ids if id not in gone) for m, ids in pair.items.items()}
    return {m: ids for m, ids in kept.items() if ids}
