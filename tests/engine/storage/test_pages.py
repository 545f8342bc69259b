"""A store whose files are links, or have other names too: what these lead to stays as it is."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.errors import UserError
from engine.ids import item_id
from engine.storage.store import Store


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Return the folder of a store."""
    with Store(tmp_path / "store", readonly=False):
        pass
    return tmp_path / "store"


@pytest.mark.parametrize("name", ["lock.mdb", "data.mdb"])
@pytest.mark.parametrize("readonly", [True, False])
def test_a_link_in_a_store_is_refused_and_what_it_leads_to_stays(
    made: Path, tmp_path: Path, name: str, readonly: bool
) -> None:
    (tmp_path / "precious").write_bytes(b"precious" * 2000)
    (made / name).unlink()
    (made / name).symlink_to(tmp_path / "precious")
    with pytest.raises(UserError) as raised, Store(made, readonly=readonly):
        pass
    told = "is a link, and mneme follows none in a workspace: remove it (what it leads to stays)"
    assert str(raised.value) == f"{made / name} {told}"
    assert (tmp_path / "precious").read_bytes() == b"precious" * 2000


@pytest.mark.parametrize("readonly", [True, False])
def test_a_file_in_the_place_of_the_lock_that_is_none_is_not_written_to(
    made: Path, tmp_path: Path, readonly: bool
) -> None:
    (tmp_path / "precious").write_bytes(b"precious" * 2000)
    (made / "lock.mdb").unlink()
    os.link(tmp_path / "precious", made / "lock.mdb")
    with Store(made, readonly=readonly) as store:
        assert store.counts() == {}
    assert (tmp_path / "precious").read_bytes() == b"precious" * 2000


def test_a_backup_of_hard_links_is_not_written_to(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "backup", copy_function=os.link)
    before = (tmp_path / "backup/data.mdb").read_bytes()
    with Store(made, readonly=False) as store, store.writing() as txn:
        txn.put_features(item_id("text", b"new"), "fake-1", np.ones(8, np.float32))
    assert (tmp_path / "backup/data.mdb").read_bytes() == before
    with Store(made) as store:
        assert store.has_features(item_id("text", b"new"), "fake-1")
