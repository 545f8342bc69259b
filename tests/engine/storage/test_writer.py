import errno
import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from engine.errors import REMEDIES, UserError
from engine.storage import workspace
from engine.storage.rows import StoredRow
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.storage.writer import writing
from manifests import MANIFEST


def make_workspace(folder: Path) -> Path:
    root = folder / ".mneme"
    root.mkdir(parents=True)
    Workspace(root, MANIFEST).with_manifest(MANIFEST)
    return root


def store_and_fail(root: Path, *rows: StoredRow) -> None:
    with writing(root):
        with Store(root / "store", readonly=False) as store, store.writing() as txn:
            for row in rows:
                txn.put_row(row)
        raise UserError("a bad source")


def lock_in_another_process(root: Path) -> "subprocess.CompletedProcess[str]":
    code = (
        "import sys; from pathlib import Path; from engine.storage.writer import writing\n"
        "with writing(Path(sys.argv[1])): pass"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(root)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )


def test_a_second_writer_is_refused_in_one_line(tmp_path: Path) -> None:
    with writing(tmp_path), pytest.raises(UserError) as raised, writing(tmp_path):
        pass
    assert str(raised.value) == (
        f"another mneme is writing to {tmp_path}; wait until it ends (searching goes on)"
    )


def test_a_writer_of_another_process_is_refused(tmp_path: Path) -> None:
    with writing(tmp_path):
        second = lock_in_another_process(tmp_path)
    assert f"UserError: another mneme is writing to {tmp_path}" in second.stderr


def test_the_lock_is_let_go_by_its_holder_and_not_left_to_the_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks: list[filelock.BaseFileLock] = []

    def new_lock(path: Path) -> filelock.BaseFileLock:
        locks.append(filelock.SoftFileLock(path))
        return locks[-1]

    monkeypatch.setattr("engine.storage.writer.filelock.FileLock", new_lock)
    with writing(tmp_path):
        assert [lock.is_locked for lock in locks] == [True]
    assert [lock.is_locked for lock in locks] == [False]


def test_a_writer_that_failed_lets_the_next_one_in(tmp_path: Path) -> None:
    with pytest.raises(KeyError), writing(tmp_path):
        raise KeyError("a crash")
    with writing(tmp_path):
        pass


def test_a_workspace_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as raised, writing(tmp_path / "file" / ".mneme"):
        pass
    assert str(raised.value) == f"cannot write to {tmp_path / 'file' / '.mneme'}: not a directory"


def test_a_file_system_without_locks_is_one_line_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UserError) as raised, writing(tmp_path):
        pass
    assert str(raised.value) == (
        f"cannot write to {tmp_path}: no locks available: its file system has no locks: keep the workspace on another"
    )


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_what_the_system_refuses_a_writer_is_one_line_that_names_the_file_and_says_what_to_do(
    tmp_path: Path, code: int
) -> None:
    with pytest.raises(UserError) as raised, writing(tmp_path):
        raise OSError(code, os.strerror(code), "heads/v0001/head.json")
    told = f"cannot access heads/v0001/head.json: {os.strerror(code).lower()}: {REMEDIES[code]}"
    assert str(raised.value) == told


def test_a_writer_first_drops_what_a_crash_left(tmp_path: Path) -> None:
    draft = tmp_path / "heads" / f".v0001.{'0' * 32}"
    draft.mkdir(parents=True)
    with writing(tmp_path):
        assert not draft.exists()


def test_a_workspace_that_came_to_nothing_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a bad source"), writing(tmp_path / ".mneme"):
        raise UserError("a bad source")
    assert not (tmp_path / ".mneme").exists()


def test_a_workspace_that_was_there_before_stays_where_a_run_comes_to_nothing(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    with pytest.raises(UserError, match="a bad source"), writing(root):
        raise UserError("a bad source")
    assert workspace.open_at(root).manifest == MANIFEST


def test_a_new_workspace_that_holds_rows_stays_where_the_rest_of_a_run_fails(tmp_path: Path) -> None:
    row = StoredRow("/source", "a", "sky", True, "train", (), {}, {})
    with pytest.raises(UserError, match="a bad source"):
        store_and_fail(tmp_path / ".mneme", row)
    with Store(tmp_path / ".mneme/store") as store:
        assert list(store.rows()) == [row]


def test_a_new_workspace_of_an_empty_store_leaves_no_folder_either(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a bad source"):
        store_and_fail(tmp_path / ".mneme")
    assert not (tmp_path / ".mneme").exists()


def test_a_workspace_with_a_link_in_it_is_not_written_to(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    (tmp_path / "home" / "letters").mkdir(parents=True)
    (root / "shards").mkdir()
    (root / "shards" / "x").symlink_to(tmp_path / "home")
    with pytest.raises(UserError, match="shards/x is a link"), writing(root):
        pass
    assert (tmp_path / "home" / "letters").is_dir()
