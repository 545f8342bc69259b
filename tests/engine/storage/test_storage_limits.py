import os
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

import apart
from engine.errors import StoreError
from engine.ids import item_id
from engine.storage.store import Store


def write_much(folder: Path, told: Connection) -> None:
    """Write more than a file may hold; tell why that was refused."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (128 << 10, resource.RLIM_INFINITY))
    try:
        with Store(folder, readonly=False) as store, store.writing() as txn:
            txn.put_features(item_id("text", b"much"), "fake-1", np.zeros(1 << 18, np.float32))
        told.send("written")
    except StoreError as error:
        told.send(str(error))


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no file")
def test_a_limit_on_the_size_of_a_file_is_told_as_that_and_not_as_a_disk_that_fails(tmp_path: Path) -> None:
    heard, told = apart.pipe()
    apart.run(write_much, tmp_path / "store", told)
    reason = "file too large: raise the limit on the size of a file (ulimit -f) and run it again"
    assert heard.recv() == f"cannot access {tmp_path / 'store/data.mdb'}: {reason}"
