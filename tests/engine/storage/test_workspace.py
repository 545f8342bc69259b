import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.storage import manifest, workspace
from engine.storage.manifest import Served
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


def test_a_manifest_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    assert workspace.open_at(make_workspace(tmp_path)).manifest == MANIFEST


def test_a_change_of_the_manifest_is_on_disk_at_once(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    changed = workspace.open_at(root).with_manifest(replace(MANIFEST, served=Served("reindex")))
    assert workspace.open_at(root) == changed


def test_replacing_the_manifest_leaves_one_file(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    workspace.open_at(root).with_manifest(replace(MANIFEST, width=32))
    assert {path.name for path in root.iterdir()} == {"workspace.json", "workspace.copy.json"}


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    path = make_workspace(tmp_path) / "workspace.json"
    path.write_text(json.dumps({**unsealed(path), "format": manifest.FORMAT + 1}))
    with pytest.raises(UserError) as raised:
        workspace.open_at(path.parent)
    assert str(raised.value) == f"{path} has format 5; this mneme reads up to 4: upgrade mneme"


def test_a_manifest_that_lacks_something_is_a_user_error(tmp_path: Path) -> None:
    path = make_workspace(tmp_path) / "workspace.json"
    path.write_text('{"format": 2}')
    with pytest.raises(UserError, match="is damaged: it lacks 'lessons'"):
        workspace.open_at(path.parent)


def test_a_cut_manifest_is_a_user_error(tmp_path: Path) -> None:
    path = make_workspace(tmp_path) / "workspace.json"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=f"^{path} is damaged: it is no JSON"):
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


def test_a_head_version_has_a_folder_of_its_own(tmp_path: Path) -> None:
    assert Workspace(tmp_path, MANIFEST).head(12) == tmp_path / "heads" / "v0012"


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


def unsealed(path: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(path.read_text())
    del content["checksum"]
    return content


@pytest.mark.parametrize("format", [0, "3", None])
def test_a_format_that_never_was_is_refused(tmp_path: Path, format: object) -> None:
    path = make_workspace(tmp_path) / "workspace.json"
    path.write_text(json.dumps({**unsealed(path), "format": format}))
    with pytest.raises(UserError, match="is damaged: it names no format"):
        workspace.open_at(path.parent)


def test_a_manifest_of_which_a_part_is_of_another_kind_is_a_user_error(tmp_path: Path) -> None:
    path = make_workspace(tmp_path) / "workspace.json"
    path.write_text(json.dumps({**unsealed(path), "lessons": 3}))
    with pytest.raises(UserError, match="is damaged: "):
        workspace.open_at(path.parent)


# paths of ours


@pytest.mark.parametrize("path", ["/etc", "../out", "sky/../../out"])
def test_a_path_that_leads_out_of_a_folder_of_ours_is_an_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match="leads out of"):
        workspace.below(tmp_path, path)


@pytest.mark.parametrize("place", ["shards", "shards/sky", "shards/sky/image/v0001-3fa9c1d2"])
def test_a_link_on_the_way_is_an_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "ours" / place).parent.mkdir(parents=True)
    (tmp_path / "ours" / place).symlink_to(tmp_path / "home")
    with pytest.raises(UserError, match=rf"{place} is a link, .*: remove it"):
        workspace.below(tmp_path / "ours", "shards", "sky/image/v0001-3fa9c1d2")


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


@pytest.mark.parametrize("name", ["workspace.json", "store"])
def test_what_a_link_in_a_workspace_leads_to_is_not_read(tmp_path: Path, name: str) -> None:
    root = make_workspace(tmp_path)
    (root / "store").mkdir()
    (root / name).rename(tmp_path / name)
    (root / name).symlink_to(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} is a link"):
        _ = workspace.open_at(root).store
