"""What of a store is not as it was written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.ids import to_key
from engine.storage.blocks import damaged
from engine.storage.rows import Corrupt, StoredRow, from_json, ids_of, parse
from engine.storage.tables import STATE, Tables


@dataclass(frozen=True)
class Corruption:
    """What of a store is not as it was written, by keys; missing: uses that rows have and the table has not."""

    rows: list[bytes]
    items: list[bytes]
    files: list[bytes]
    features: list[bytes]
    former: list[bytes]
    missing: list[tuple[bytes, bytes]]

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind, where there are any."""
        return {name: len(keys) for name, keys in vars(self).items() if keys}


def corruption(tables: Tables, txn: Any, *, deep: bool) -> Corruption:
    """Read every row and item of a store, and if `deep` all else; say what is not as it was written."""
    rows, bad_rows = dict[bytes, StoredRow](), list[bytes]()
    for key, value in txn.cursor(tables.rows):
        try:
            rows[key] = parse(value)
        except Corrupt:
            bad_rows.append(key)
    bad_rows += [key for key, row in rows.items() if row.key != key]
    items = _unreadable(txn.cursor(tables.items), from_json)
    stored = set(txn.cursor(tables.items).iternext(values=False)).difference(items)
    named = {(to_key(id), key) for key, row in rows.items() if row.key == key for id in ids_of(row)}
    items += sorted({item for item, _ in named} - stored - set(items))
    return Corruption(
        bad_rows,
        items,
        _unreadable(txn.cursor(tables.files), from_json) if deep else [],
        list(damaged(tables, txn)) if deep else [],
        _former(tables, txn) if deep else [],
        sorted(named.difference(txn.cursor(tables.uses))),
    )


def _former(tables: Tables, txn: Any) -> list[bytes]:
    """Return the keys of rows of the served state that cannot be read; empty ones say that it had no such row."""
    keys = (
        _unreadable(txn.cursor(tables.former), lambda value: value and parse(value)) if tables.former else []
    )
    return [key for key in keys if key != STATE]


def _unreadable(cursor: Any, read: Callable[[bytes], object]) -> list[bytes]:
    keys = []
    for key, value in cursor:
        try:
            read(value)
        except Corrupt:
            keys.append(key)
    return keys
