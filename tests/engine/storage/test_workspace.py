import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import filelock
import pytest

from engine.errors import UserError
from engine.storage import workspace
from engine.storage.manifest import Served
from engine.storage.rows import StoredRow
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from manifests import MANIFEST


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MNEME_WORKSPACE", raising=False)


def make_workspace(folder: Path) -> Path:
    root = folder / ".mneme"
    root.mkdir(parents=True)
    Workspace(root, MANIFEST).with_manifest(MANIFEST)
    return root


def store_and_fail(root: Path, *rows: StoredRow) -> None:
    with workspace.writing(root):
        with Store(root / "store", readonly=False) as store, store.writing() as txn:
            for row in rows:
                txn.put_row(row)
        raise UserError("a bad source")


def lock_in_another_process(root: Path) -> "subprocess.CompletedProcess[str]":
    code = (
        "import sys; from pathlib import Path; from engine.storage.workspace import writing\n"
        "with writing(Path(sys.argv[1])): pass"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(root)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )


def test_a_manifest_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    assert workspace.open_at(make_workspace(tmp_path)).manifest == MANIFEST


def test_a_change_of_the_manifest_is_on_disk_at_once(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    changed = workspace.open_at(root).with_manifest(replace(MANIFEST, served=Served("reindex")))
    assert workspace.open_at(root) == changed


def test_replacing_the_manifest_leaves_one_file(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    workspace.open_at(root).with_manifest(replace(MANIFEST, width=32))
    assert [path.name for path in root.iterdir()] == ["workspace.json"]


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    path = make_workspace(tmp_path) / "workspace.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": workspace.FORMAT + 1}))
    with pytest.raises(UserError) as raised:
        workspace.open_at(path.parent)
    assert str(raised.value) == f"{path} has format 4; this mneme reads up to 3: upgrade mneme"


def test_a_manifest_that_lacks_something_is_a_user_error(tmp_path: Path) -> None:
    path = make_workspace(tmp_path) / "workspace.json"
    path.write_text('{"format": 2}')
    with pytest.raises(UserError, match="is damaged: 'width'"):
        workspace.open_at(path.parent)


def test_a_cut_manifest_is_a_user_error(tmp_path: Path) -> None:
    path = make_workspace(tmp_path) / "workspace.json"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=f"^cannot read {path}: "):
        workspace.open_at(path.parent)


def test_no_workspace_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        workspace.locate(None)
    assert str(raised.value) == (
        "no workspace here or above; make one with `mneme index SOURCE`, or name one with `workspace=DIR`"
    )


def test_a_workspace_is_found_from_below(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert workspace.find(tmp_path / "a" / "b") == root


def test_the_nearest_workspace_is_found(tmp_path: Path) -> None:
    make_workspace(tmp_path)
    nearer = make_workspace(tmp_path / "a")
    (tmp_path / "a" / "b").mkdir()
    assert workspace.find(tmp_path / "a" / "b") == nearer


def test_the_workspace_of_a_folder_goes_before_one_above_it(tmp_path: Path) -> None:
    make_workspace(tmp_path)
    assert workspace.find(tmp_path / "a") == tmp_path / ".mneme"
    assert workspace.find(make_workspace(tmp_path / "a").parent) == tmp_path / "a" / ".mneme"


def test_a_folder_without_a_manifest_is_no_workspace(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    (tmp_path / "a" / ".mneme").mkdir(parents=True)
    assert workspace.find(tmp_path / "a") == root


def test_a_command_works_on_the_workspace_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_workspace(tmp_path).parent)
    assert workspace.locate(None) == tmp_path / ".mneme"


def test_the_variable_names_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_workspace(tmp_path / "here").parent)
    monkeypatch.setenv("MNEME_WORKSPACE", str(make_workspace(tmp_path / "there").parent))
    assert workspace.locate(None) == tmp_path / "there" / ".mneme"


def test_the_option_goes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNEME_WORKSPACE", str(make_workspace(tmp_path / "there").parent))
    assert workspace.locate(make_workspace(tmp_path / "given").parent) == tmp_path / "given" / ".mneme"


def test_a_named_workspace_is_not_looked_for_above(tmp_path: Path) -> None:
    make_workspace(tmp_path)
    with pytest.raises(UserError, match=f"^no workspace in {tmp_path / 'a'}; make one there with"):
        workspace.locate(tmp_path / "a")


def test_a_new_workspace_is_placed_where_it_was_named(tmp_path: Path) -> None:
    assert workspace.place(tmp_path / "new") == tmp_path / "new" / ".mneme"


def test_a_new_workspace_is_placed_where_the_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNEME_WORKSPACE", str(tmp_path / "new"))
    assert workspace.place(None) == tmp_path / "new" / ".mneme"


def test_a_workspace_above_is_used_rather_than_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_workspace(tmp_path)
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert workspace.place(None) == root


def test_a_second_writer_is_refused_in_one_line(tmp_path: Path) -> None:
    with workspace.writing(tmp_path), pytest.raises(UserError) as raised, workspace.writing(tmp_path):
        pass
    assert str(raised.value) == (
        f"another mneme is writing to {tmp_path}; wait until it ends (searching goes on)"
    )


def test_a_writer_of_another_process_is_refused(tmp_path: Path) -> None:
    with workspace.writing(tmp_path):
        second = lock_in_another_process(tmp_path)
    assert f"UserError: another mneme is writing to {tmp_path}" in second.stderr


def test_the_lock_is_let_go_by_its_holder_and_not_left_to_the_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks: list[filelock.BaseFileLock] = []

    def new_lock(path: Path) -> filelock.BaseFileLock:
        locks.append(filelock.SoftFileLock(path))
        return locks[-1]

    monkeypatch.setattr("engine.storage.workspace.filelock.FileLock", new_lock)
    with workspace.writing(tmp_path):
        assert [lock.is_locked for lock in locks] == [True]
    assert [lock.is_locked for lock in locks] == [False]


def test_a_writer_that_failed_lets_the_next_one_in(tmp_path: Path) -> None:
    with pytest.raises(KeyError), workspace.writing(tmp_path):
        raise KeyError("a crash")
    with workspace.writing(tmp_path):
        pass


def test_a_workspace_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as raised, workspace.writing(tmp_path / "file" / ".mneme"):
        pass
    assert str(raised.value) == f"cannot write to {tmp_path / 'file' / '.mneme'}: Not a directory"


def test_a_writer_first_drops_what_a_crash_left(tmp_path: Path) -> None:
    draft = tmp_path / "heads" / f".v0001.{'0' * 32}"
    draft.mkdir(parents=True)
    with workspace.writing(tmp_path):
        assert not draft.exists()


def test_a_head_version_has_a_folder_of_its_own(tmp_path: Path) -> None:
    assert Workspace(tmp_path, MANIFEST).head(12) == tmp_path / "heads" / "v0012"


def test_a_workspace_that_came_to_nothing_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a bad source"), workspace.writing(tmp_path / ".mneme"):
        raise UserError("a bad source")
    assert not (tmp_path / ".mneme").exists()


def test_a_workspace_that_was_there_before_stays_where_a_run_comes_to_nothing(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    with pytest.raises(UserError, match="a bad source"), workspace.writing(root):
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


def test_everything_of_a_workspace_has_its_place(tmp_path: Path) -> None:
    here = Workspace(tmp_path, MANIFEST)
    assert (here.store, here.shards, here.routers) == (
        tmp_path / "store",
        tmp_path / "shards",
        tmp_path / "router",
    )


def test_a_relative_folder_is_named_from_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert workspace.place(Path("new")) == tmp_path / "new" / ".mneme"


def test_a_folder_that_the_variable_names_in_vain_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNEME_WORKSPACE", str(tmp_path / "gone"))
    with pytest.raises(UserError, match=f"^no workspace in {tmp_path / 'gone'}; make one there with"):
        workspace.locate(None)


@pytest.mark.parametrize("format", [0, "3", None])
def test_a_format_that_never_was_is_refused(tmp_path: Path, format: object) -> None:
    path = make_workspace(tmp_path) / "workspace.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": format}))
    with pytest.raises(UserError, match=f"has format {format}; this mneme reads up to 3"):
        workspace.open_at(path.parent)


def test_a_manifest_of_which_a_part_is_of_another_kind_is_a_user_error(tmp_path: Path) -> None:
    path = make_workspace(tmp_path) / "workspace.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lessons": 3}))
    with pytest.raises(UserError, match="is damaged: "):
        workspace.open_at(path.parent)


# workspaces of others


def test_a_workspace_of_another_user_is_not_used_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_workspace(tmp_path)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert workspace.place(None) == root
    monkeypatch.setattr("os.geteuid", lambda: root.stat().st_uid + 1)
    with pytest.raises(
        UserError, match=f"{root} belongs to another user; if you trust it, name it: .*{tmp_path}"
    ):
        workspace.place(None)
    assert workspace.locate(tmp_path) == root


def test_who_became_root_by_sudo_uses_the_workspaces_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_workspace(tmp_path)
    os.chown(root, 1234, -1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="belongs to another user"):
        workspace.place(None)
    monkeypatch.setenv("SUDO_UID", "1234")
    assert workspace.place(None) == root


def test_a_workspace_that_everyone_may_write_to_is_not_used_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_workspace(tmp_path)
    root.chmod(0o777)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"everyone may write to {root}; if you trust it, name it"):
        workspace.locate(None)
    monkeypatch.setenv("MNEME_WORKSPACE", str(tmp_path))
    assert workspace.locate(None) == root


def test_a_workspace_with_a_link_in_it_is_not_written_to(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    (tmp_path / "home" / "letters").mkdir(parents=True)
    (root / "shards").mkdir()
    (root / "shards" / "x").symlink_to(tmp_path / "home")
    with pytest.raises(UserError, match="shards/x is a link"), workspace.writing(root):
        pass
    assert (tmp_path / "home" / "letters").is_dir()


@pytest.mark.parametrize("name", ["workspace.json", "store"])
def test_what_a_link_in_a_workspace_leads_to_is_not_read(tmp_path: Path, name: str) -> None:
    root = make_workspace(tmp_path)
    (root / "store").mkdir()
    (root / name).rename(tmp_path / name)
    (root / name).symlink_to(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} is a link"):
        _ = workspace.open_at(root).store
