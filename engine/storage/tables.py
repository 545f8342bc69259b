"""LMDB's file: opened, and its tables; a view of them as of one state."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import lmdb

from engine.ids import to_key
from engine.storage import faults, files, pages
from engine.types import ItemId

NAMES = (b"rows", b"uses", b"items", b"files", b"features")
LATER_NAMES = (b"former", b"places", b"blocks")
"""Of the tables that a store of before may lack."""

DATA, LOCK = "data.mdb", "lock.mdb"
TABLES, READERS = 8, 512
LOCK_BYTES = 128 * READERS
"""Of the lock file, which holds LMDB's table of readers."""

ROOM = 64 << 20
"""How many bytes a store may grow, at the least, before it is mapped anew."""


@dataclass(frozen=True)
class Tables:
    """Handles of the tables, as LMDB gives them; None where a store of before has no such table."""

    rows: Any
    uses: Any
    items: Any
    files: Any
    features: Any
    former: Any
    places: Any
    blocks: Any


ROUND = b"\0round"
"""The key of a number that is written, and dropped at last, where writes alone are to be counted."""

STATE = b"\0state"
"""The key in `former` of the served state whose rows stand there."""


@dataclass(frozen=True)
class Table:
    """A transaction that goes on, whose usual table is the one of a call."""

    _txn: Any
    _usual: Any

    def get(self, key: bytes, default: bytes | None = None, *, db: Any = None) -> Any:
        return self._txn.get(key, default, db=db or self._usual)

    def cursor(self, db: Any = None) -> Any:
        return self._txn.cursor(db or self._usual)


def make(folder: Path) -> None:
    """Make an empty store in one step."""
    with files.new_folder(folder) as draft:
        _provide(draft / LOCK, LOCK_BYTES)
        try:
            with lmdb.open(str(draft), map_size=ROOM, max_dbs=TABLES) as env:
                open_tables(env, create=True)
        except lmdb.Error as error:
            raise faults.explained(error, folder / DATA) from None


def opened(file: Path, *, readonly: bool, lock: bool) -> Any:
    """Return the environment of a file; one that was cut short is refused, for to read it would end the process."""
    settings: dict[str, Any] = {"readonly": readonly, "lock": lock, "max_dbs": TABLES, "max_readers": READERS}
    try:
        size = file.stat().st_size
        if not size:
            raise faults.cut_short(file)
        env = lmdb.open(str(file.parent), map_size=with_room(size), **settings)
    except (lmdb.Error, OSError) as error:
        raise faults.explained(error, file) from None
    end = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if file.stat().st_size < end and pages.are_missing(file):
        env.close()
        raise faults.cut_short(file)
    return env


def identity(file: Path) -> tuple[int, int]:
    """Return what tells a file from one that takes its place, while it is open."""
    try:
        status = file.stat()
    except OSError as error:
        raise faults.explained(error, file) from None
    return status.st_dev, status.st_ino


def compact(folder: Path) -> int:
    """Put a copy of the store in a folder in its place, without its free pages; return how many bytes that saves.

    The caller holds the writer's lock, and has no store of the folder open in this process. Readers in other
    processes go on with the file that they have mapped, and open the new one when they ask for the newest state.

    Raises:
        StoreError: there is no room for the copy, the file is damaged or, on Windows, in use; it stays as it was.
    """
    file = folder / DATA
    draft = file.with_name(f".{DATA}.{uuid.uuid4().hex}")
    try:
        draft.mkdir()
        env = opened(file, readonly=True, lock=can_lock(folder / LOCK, readonly=True))
        try:
            write = env.info()["last_txnid"]
            env.copy(str(draft), compact=True)
        finally:
            env.close()
        _count_up(draft / DATA, write)
        saved = file.stat().st_size - (draft / DATA).stat().st_size
        if saved > 0:
            files.take_place(draft / DATA, file)
        return max(0, saved)
    except (lmdb.Error, OSError) as error:
        raise faults.explained(error, file) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _count_up(file: Path, write: int) -> None:
    """Write to a copy until its newest write has a number, and all of it is on the disk.

    LMDB counts the writes of a copy from 1. The lock file, which readers of the old file share with those of the
    copy, has the number of the newest; which of the two meta pages counts is told by whether it is even.
    """
    with lmdb.open(
        str(file), subdir=False, lock=False, sync=False, map_size=with_room(file.stat().st_size)
    ) as env:
        more = write - env.info()["last_txnid"]
        for n in range(more):
            with env.begin(write=True) as txn:
                txn.put(ROUND, b"%d" % n) if n + 1 < more else txn.delete(ROUND)
        env.sync(True)
        assert env.info()["last_txnid"] == write, f"{more} writes did not make it {write}"


def open_tables(env: Any, *, create: bool) -> Tables:
    """Return the handles of an environment's tables."""
    tables = [env.open_db(name, create=create, dupsort=name == b"uses") for name in NAMES]
    for name in LATER_NAMES:
        try:
            tables.append(env.open_db(name, create=create))
        except lmdb.NotFoundError:  # of a store of before, which nobody has written to since
            tables.append(None)
    return Tables(*tables)


def can_lock(lock: Path, *, readonly: bool) -> bool:
    """Say whether LMDB can list us in its table of readers, without which nobody may write."""
    try:
        if lock.exists() and not pages.is_lock(lock):
            files.replace(lock, bytes(LOCK_BYTES))
        return _provide(lock, LOCK_BYTES) or not readonly
    except OSError as error:
        if readonly:
            return False
        raise faults.explained(error, lock) from None


def with_room(size: int) -> int:
    """Return how many bytes of address space are taken for a file, whole pages of any system."""
    return (size + max(ROOM, size // 4)) >> 16 << 16


def _provide(path: Path, size: int) -> bool:
    """Say whether a file may be written; where there is none, one of zeros is made whose bytes are on the disk.

    A file of a length alone may lack them: who writes to it through a map, on a full disk, is ended by the system.
    """
    if not path.exists():
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            files.write(draft, bytes(size))
            with suppress(OSError):  # another was faster, or the file system has no links
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def rows_naming(tables: Tables, id: ItemId, served: bytes | None, txn: Any) -> dict[bytes, bytes]:
    """Return the rows that name an item, by their keys: as they are, or as they are in a state that is served."""
    uses = txn.cursor(tables.uses)
    keys = list(uses.iternext_dup()) if uses.set_key(to_key(id)) else []
    is_former = bool(served and tables.former and txn.get(STATE, db=tables.former) == served)
    rows = {}
    for key in keys:
        former = txn.get(key, db=tables.former) if is_former else None
        value = txn.get(key, b"", db=tables.rows) if former is None else former
        if id.encode() in value:
            rows[key] = value
    return rows


def reach(cursor: Any, key: bytes) -> bool:
    """Go to the first entry whose key begins so; say whether there is one."""
    return bool(cursor.set_range(key)) and cursor.key().startswith(key)


def keys_from(cursor: Any, key: bytes) -> Iterator[bytes]:
    """Yield the keys from this one on."""
    more = cursor.set_range(key)
    while more:
        yield cursor.key()
        more = cursor.next()


def feature_key(id: ItemId, backbone: str) -> bytes:
    """Return the key of an item's features by a backbone; without an item, how such keys end."""
    return to_key(id) + blake2b(backbone.encode(), digest_size=8).digest()
