import random
import shutil
from pathlib import Path

import lmdb
import numpy as np
import pytest

from engine.errors import StoreError
from engine.storage import pages
from engine.storage.rows import StoredRow
from engine.storage.soundness import flaw
from engine.storage.store import Store
from engine.storage.tables import DATA, LATER_NAMES, NAMES
from engine.types import Item

TABLES = frozenset([*NAMES, *LATER_NAMES])
CAPTION = "f" * 32


def id_of(number: int) -> str:
    return f"{number * 2654435761:032x}"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose tables have branches, many values of one key, long values, and pages that were let go."""
    folder = tmp_path_factory.mktemp("sound") / "store"
    with Store(folder, readonly=False) as store:
        for start in range(0, 600, 200):
            with store.writing() as txn:
                txn.put_item(Item(CAPTION, "text", (), "a dog", {}, ()))
                for n in range(start, start + 200):
                    items = {"image": (id_of(n),), "text": (CAPTION,)}
                    txn.put_item(Item(id_of(n), "image", (), "", {}, ()))
                    txn.put_row(StoredRow("/a", str(n), "sky", False, "train", (), items, {}))
                    txn.put_features(id_of(n), "b", np.full(16, n, np.float32))
        with store.writing() as txn:
            txn.drop_features(map(id_of, range(0, 500)))
    return folder


@pytest.fixture
def copied(stored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "store"))


def flipped(file: Path, place: int, bit: int = 0) -> None:
    with file.open("r+b") as opened:
        opened.seek(place)
        byte = opened.read(1)[0]
        opened.seek(place)
        opened.write(bytes([byte ^ 1 << bit]))


def in_use(folder: Path) -> list[int]:
    """Return the pages that are in use, each the first of its value; those that were let go are not."""
    with (folder / DATA).open("rb") as file:
        meta = pages.newest_meta(file)
        free = set(pages._free(file, meta))
        content = (folder / DATA).read_bytes()
    found, number = [], 2
    while number <= meta.last:
        _, _, flags, low, high = pages.HEADER.unpack_from(content, number * meta.page)
        if number not in free:
            found.append(number)
        number += low | high << 16 if number not in free and flags == 4 else 1
    return found


def test_a_store_that_was_written_to_is_sound(stored: Path) -> None:
    assert flaw(stored / DATA, TABLES) is None


def test_a_bit_of_the_header_of_any_page_in_use_is_noticed(copied: Path) -> None:
    file, rng = copied / DATA, random.Random(0)
    unseen = []
    for number in in_use(copied):
        place = rng.choice([*range(8), *range(10, 16)])  # but two bytes that nobody reads
        flipped(file, number * 4096 + place)
        if flaw(file, TABLES) is None:
            unseen.append((number, place))
        flipped(file, number * 4096 + place)
    assert unseen == []


def test_a_key_out_of_order_is_noticed(copied: Path) -> None:
    content = (copied / DATA).read_bytes()
    key = bytes.fromhex(id_of(300))
    place = content.rindex(key)
    while place >= 0:
        flipped(copied / DATA, place, 7)
        place = content.rfind(key, 0, place)
    assert flaw(copied / DATA, TABLES) is not None


def test_a_page_in_use_that_is_listed_as_free_is_noticed(copied: Path) -> None:
    with (copied / DATA).open("rb") as file:
        meta = pages.newest_meta(file)
        listed = list(pages._free(file, meta))
        content = (copied / DATA).read_bytes()
    root = meta.free * 4096
    place = content.index(listed[0].to_bytes(8, "little"), root)
    with (copied / DATA).open("r+b") as file:
        file.seek(place)
        file.write(in_use(copied)[0].to_bytes(8, "little"))
    assert flaw(copied / DATA, TABLES) == "pages in use are listed as free"


def test_a_table_of_an_unknown_name_is_noticed(stored: Path) -> None:
    assert flaw(stored / DATA, TABLES - {b"blocks"}) == "a table has an unknown name"


def test_features_in_the_place_of_others_are_refused(copied: Path) -> None:
    with lmdb.open(str(copied), max_dbs=8) as env, env.begin(write=True) as txn:
        places = env.open_db(b"places", txn)
        (one, place), (other, _), *_ = txn.cursor(places)
        txn.put(other, place, db=places)
    with Store(copied) as store, pytest.raises(StoreError, match="a checksum does not hold"):
        store.features([one[:16].hex(), other[:16].hex()], "b")


def test_a_block_that_is_written_anew_keeps_the_checksums_that_rows_had(copied: Path) -> None:
    with lmdb.open(str(copied), max_dbs=8) as env, env.begin(write=True) as txn:
        blocks = env.open_db(b"blocks", txn)
        number, block = list(txn.cursor(blocks))[-1]
        txn.put(number, block[:-1] + bytes([block[-1] ^ 1]), db=blocks)
    with Store(copied, readonly=False) as store:
        with store.writing() as txn:
            txn.drop_features(map(id_of, range(500, 599)))
        with pytest.raises(StoreError, match="a checksum does not hold"):
            store.features([id_of(599)], "b")
