import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Damaged, UserError
from engine.storage import files
from engine.storage.names import file_name
from journal import Journal


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill_and_fail(path: Path) -> None:
    with files.new_folder(path) as draft:
        (draft / "a.json").write_text("new")
        raise KeyError("a crash")


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    watched = Journal(tmp_path)
    watched.watch(monkeypatch)
    return watched


def test_a_checksum_is_32_hex_digits_that_change_with_the_bytes() -> None:
    assert files.checksum(b"a") != files.checksum(b"b")
    assert len(bytes.fromhex(files.checksum(b"a"))) == 16


# what is flushed, and when


def test_a_value_of_json_that_was_changed_is_damage_where_a_checksum_tells(tmp_path: Path) -> None:
    path, sealed = tmp_path / "router.json", files.to_sealed_json({"width": 512})
    path.write_bytes(sealed)
    assert files.read_json(path) == {"width": 512}
    path.write_bytes(sealed.replace(b"512", b"513"))
    with pytest.raises(Damaged, match="its checksum does not hold"):
        files.read_json(path)
    path.write_bytes(files.to_json({"width": 513}))  # of a mneme of before
    assert files.read_json(path) == {"width": 513}


def test_a_file_is_flushed_whole_before_it_takes_its_name_and_its_folder_after(
    tmp_path: Path, journal: Journal
) -> None:
    files.replace(tmp_path / "a.json", b"new")
    assert journal.lines == ["flush a.json, 3 bytes", "name a.json", "flush ./"]


def test_every_file_of_a_folder_and_its_names_are_flushed_before_it_takes_its_own(
    tmp_path: Path, journal: Journal
) -> None:
    with files.new_folder(tmp_path / "v1") as draft:
        (draft / "a.json").write_bytes(b"new")
        (draft / "b.bin").write_bytes(b"newer")
    first, second, *then = journal.lines
    assert {first, second} == {"flush v1/a.json, 3 bytes", "flush v1/b.bin, 5 bytes"}
    assert then == ["flush v1/", "name v1", "flush ./"]


def test_folders_that_a_new_folder_needs_are_flushed_into_those_above_them(
    tmp_path: Path, journal: Journal
) -> None:
    with files.new_folder(tmp_path / "sky" / "image" / "v1"):
        pass
    assert journal.lines == [
        "flush sky/",
        "flush ./",
        "flush sky/image/v1/",
        "name sky/image/v1",
        "flush sky/image/",
    ]


# files


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text("old")

    def full(handle: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="the disk is full"):
        files.replace(tmp_path / "a.json", b"new")
    assert (names(tmp_path), (tmp_path / "a.json").read_text()) == (["a.json"], "old")


def test_a_link_under_the_name_of_a_file_of_ours_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "another.json").write_text("another's")
    (tmp_path / "a.json").symlink_to("another.json")
    files.replace(tmp_path / "a.json", b"new")
    assert not (tmp_path / "a.json").is_symlink()
    assert (tmp_path / "another.json").read_text() == "another's"


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch(mode=0o600)
    files.replace(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    files.replace(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert names(tmp_path) == ["a.json"]


def test_a_reader_keeps_the_file_it_has_open(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    with (tmp_path / "a.json").open() as file:
        files.replace(tmp_path / "a.json", b"new")
        assert file.read() == "old"


def test_a_new_folder_is_not_seen_before_it_is_whole(tmp_path: Path) -> None:
    with files.new_folder(tmp_path / "deep" / "v1") as draft:
        (draft / "a.json").write_text("new")
        assert not (tmp_path / "deep" / "v1").exists()
    assert names(tmp_path / "deep") == ["v1"]
    assert (tmp_path / "deep" / "v1" / "a.json").read_text() == "new"


def test_a_folder_that_could_not_be_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        fill_and_fail(tmp_path / "v1")
    assert names(tmp_path) == []


def test_a_folder_that_could_not_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "a.json").write_text("old")
    with pytest.raises(KeyError):
        fill_and_fail(tmp_path / "v1")
    assert (tmp_path / "v1" / "a.json").read_text() == "old"


def test_a_new_folder_takes_the_place_of_an_orphan(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "orphan").touch()
    with files.new_folder(tmp_path / "v1") as draft:
        (draft / "a.json").touch()
    assert names(tmp_path / "v1") == ["a.json"]


def test_a_crash_while_a_folder_is_dropped_leaves_a_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "v1").mkdir()
    with monkeypatch.context() as crash:
        crash.setattr("shutil.rmtree", lambda path: None)
        files.drop_folder(tmp_path / "v1")
    files.drop_drafts(tmp_path)
    assert names(tmp_path) == []


def test_drafts_of_files_and_folders_are_dropped_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "shards" / f".v1.{'0' * 32}").mkdir(parents=True)
    (tmp_path / "shards" / f".v1.{'0' * 32}" / "half").touch()
    (tmp_path / f".workspace.json.{'a' * 32}").touch()
    files.drop_drafts(tmp_path)
    assert names(tmp_path) == ["shards"]
    assert names(tmp_path / "shards") == []


def test_what_is_no_draft_is_kept(tmp_path: Path) -> None:
    (tmp_path / "workspace.json").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / f"shard-{'0' * 32}").touch()
    files.drop_drafts(tmp_path)
    assert len(names(tmp_path)) == 3


def test_a_link_that_is_called_like_a_draft_is_neither_followed_nor_dropped(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").touch()
    (tmp_path / "ours" / "deep").mkdir(parents=True)
    (tmp_path / "ours" / "deep" / f".v1.{'0' * 32}").symlink_to(tmp_path / "home")
    (tmp_path / "home" / f".mine.{'0' * 32}").touch()
    (tmp_path / "ours" / "all").symlink_to(tmp_path / "home")
    files.drop_drafts(tmp_path / "ours")
    assert names(tmp_path / "home") == [f".mine.{'0' * 32}", "letter"]
    assert names(tmp_path / "ours" / "deep") == [f".v1.{'0' * 32}"]


def test_drafts_of_one_name_are_dropped_and_no_others(tmp_path: Path) -> None:
    for name in (f".a[b].{'0' * 32}", f".ab.{'0' * 32}", ".a[b].mine"):
        (tmp_path / name).touch()
    files.drop_drafts_of(tmp_path / "a[b]")
    assert names(tmp_path) == [".a[b].mine", f".ab.{'0' * 32}"]


def test_a_link_anywhere_below_a_folder_of_ours_is_told(tmp_path: Path) -> None:
    files.refuse_links(tmp_path)
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "image").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"router/image is a link"):
        files.refuse_links(tmp_path)


# names


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("year-2020_b+c", "year-2020_b+c"),
        ("../a b", "%2E%2E%2Fa%20b"),
        ("\u6df1\u5ea6", "%E6%B7%B1%E5%BA%A6"),
        ("-rf", "%2Drf"),
        ("_tmp", "%5Ftmp"),
    ],
)
def test_a_short_name_is_percent_encoded(name: str, file: str) -> None:
    assert (file_name(name), unquote(file)) == (file, name)


@pytest.mark.parametrize("name", ["con", "lpt9", "", "Sky", "\u56f3" * 7, "x" * 61])
def test_a_name_that_is_long_or_reserved_or_has_capitals_ends_with_a_digest(name: str) -> None:
    beginning, _, digest = file_name(name).partition("~")
    assert (len(digest), name.startswith(unquote(beginning))) == (16, True)


ANY = st.text(st.characters(exclude_categories=[])) | st.text("aA-_.~%+ \u00e9\u00c9", max_size=4)


@given(ANY, ANY)
def test_two_names_never_share_a_file_even_where_case_is_not_told_apart(first: str, second: str) -> None:
    one, other = file_name(first), file_name(second)
    assert (one.casefold() == other.casefold()) == (first == second)


@given(ANY)
def test_a_name_gives_a_file_that_every_system_takes(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9%+~][A-Za-z0-9%+~_-]{0,59}", file_name(name))


def test_a_file_of_the_longest_name_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / ("\u56f3" * 85)
    files.replace(path, b"new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"new"]


def test_a_shared_folder_has_the_same_files_or_copies_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "data").write_text("all")
    files.share(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "data").samefile(tmp_path / "a" / "data")

    def refuse(*given: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    files.share(tmp_path / "a", tmp_path / "c")
    assert not (tmp_path / "c" / "data").samefile(tmp_path / "a" / "data")
    assert (tmp_path / "c" / "data").read_text() == "all"
