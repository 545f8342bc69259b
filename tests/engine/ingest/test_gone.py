import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bound import by_permissions
from engine.errors import UserError
from engine.ingest.encoding import Loader
from engine.ingest.gone import is_vanished, obstacle, sort_out
from engine.ingest.ingest import ingest, preview
from engine.ingest.report import IngestReport
from engine.storage.rows import StoredRow
from engine.types import Skipped


@pytest.fixture
def source(loader: Loader, tmp_path: Path) -> Iterator[Path]:
    """Return a folder of four pictures, two of them in a folder below it, that was read once."""
    folder = tmp_path / "scenes"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c", "sub/d"):
        (folder / f"{name}.jpg").write_text(f"photo {name}")
    ingest(loader, folder)
    yield folder
    for place in (folder, folder / "sub"):
        if place.is_dir() and not place.is_symlink():
            place.chmod(0o755)


def row(name: str, file: str | None = None) -> StoredRow:
    return StoredRow("/scenes", name, "sky", True, "train", (), {}, {"image": file} if file else {})


def names(loader: Loader) -> set[str]:
    return {row.name for row in loader.store.rows()}


def told(report: IngestReport) -> tuple[int, int, int]:
    """Return how many rows were removed, kept and unchanged."""
    return report.removed, report.kept, report.unchanged


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100])
def test_the_files_of_a_closed_folder_are_kept_and_reported(loader: Loader, source: Path, mode: int) -> None:
    (source / "sub").chmod(mode)
    with by_permissions():
        report = ingest(loader, source)
    assert told(report) == (0, 2, 2)
    assert {skipped.reason for skipped in report.skipped} == {"permission denied"}
    assert all(skipped.path.startswith(str(source / "sub")) for skipped in report.skipped)
    assert loader.store.counts() == {"image": 4}


def test_a_closed_folder_is_foreseen_as_it_is_found(loader: Loader, source: Path) -> None:
    (source / "sub").chmod(0)
    with by_permissions():
        assert preview(loader.store, source) == ingest(loader, source)


def test_what_is_gone_beside_a_closed_folder_is_gone(loader: Loader, source: Path) -> None:
    (source / "sub").chmod(0)
    (source / "a.jpg").unlink()
    with by_permissions():
        assert told(ingest(loader, source)) == (1, 2, 1)


def test_a_mass_delete_spares_what_could_not_be_looked_at(loader: Loader, source: Path) -> None:
    (source / "sub").chmod(0)
    (source / "a.jpg").unlink()
    (source / "b.jpg").unlink()
    with by_permissions():
        report = ingest(loader, source, allow_mass_delete=True)
    assert told(report) == (2, 2, 0)
    assert names(loader) == {"sub/c.jpg", "sub/d.jpg"}


def test_where_nothing_can_be_looked_at_nothing_changes(loader: Loader, source: Path) -> None:
    source.chmod(0o100)
    with by_permissions(), pytest.raises(UserError) as raised:
        ingest(loader, source, allow_mass_delete=True)
    assert str(raised.value) == (
        f"nothing in {source} could be read: {source}: permission denied (1 skipped)"
    )
    assert loader.store.counts() == {"image": 4}


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(
    loader: Loader, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def failing(path: str) -> object:
        if str(path).endswith("sub"):
            raise OSError(116, "Stale file handle", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    report = ingest(loader, source)
    assert told(report) == (0, 2, 2)
    assert report.skipped == [Skipped(str(source / "sub"), "stale file handle")]


def test_a_linked_folder_on_a_disk_that_is_not_mounted_is_not_gone(
    loader: Loader, source: Path, tmp_path: Path
) -> None:
    for file in (source / "sub").iterdir():
        file.unlink()
    (source / "sub").rmdir()
    (source / "sub").symlink_to(tmp_path / "disk" / "sub")
    report = ingest(loader, source)
    assert told(report) == (0, 2, 2)
    assert report.skipped == [
        Skipped(str(source / "sub"), "a link to what cannot be found: is a disk not mounted?")
    ]


def test_a_file_that_became_a_link_to_nothing_is_kept(loader: Loader, source: Path, tmp_path: Path) -> None:
    (source / "a.jpg").unlink()
    (source / "a.jpg").symlink_to(source / "gone.jpg")
    report = ingest(loader, source)
    assert told(report) == (0, 1, 3)
    assert report.skipped == [Skipped(str(source / "a.jpg"), "no such file or directory")]


def test_a_file_that_broke_keeps_what_was_read_of_it(loader: Loader, source: Path) -> None:
    (source / "a.jpg").write_text("broken now")
    report = ingest(loader, source)
    assert told(report) == (0, 1, 3)
    assert report.skipped == [Skipped(str(source / "a.jpg"), "broken on purpose")]
    assert loader.store.counts() == {"image": 4}


def test_a_folder_that_was_deleted_is_gone(loader: Loader, source: Path) -> None:
    for file in (source / "sub").iterdir():
        file.unlink()
    (source / "sub").rmdir()
    assert told(ingest(loader, source)) == (2, 0, 2)


def list_rows(table: Path, rows: list[dict[str, str]], *, then: str = "") -> Path:
    table.write_text("".join(json.dumps(row) + "\n" for row in rows) + then)
    return table


def test_a_row_whose_medium_was_deleted_is_gone(loader: Loader, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg").write_text(name)
    table = list_rows(tmp_path / "rows.jsonl", [{"id": name, "image": f"{name}.jpg"} for name in ("a", "b")])
    ingest(loader, table)
    (tmp_path / "a.jpg").unlink()
    report = ingest(loader, table)
    assert told(report) == (1, 0, 1)
    assert [skipped.line for skipped in report.skipped] == [1]


def test_a_row_whose_line_was_damaged_is_kept(loader: Loader, tmp_path: Path) -> None:
    rows = [{"id": name, "text": f"text {name}"} for name in ("a", "b", "c")]
    table = list_rows(tmp_path / "rows.jsonl", rows)
    ingest(loader, table)
    list_rows(table, rows[:2], then='{"id": "c", "text": ')
    assert told(ingest(loader, table)) == (0, 1, 2)
    assert names(loader) == {"a", "b", "c"}


def test_rows_are_gone_where_every_line_that_was_left_out_says_which_row_it_was() -> None:
    left_out = [Skipped("/scenes", "blank text", 3, name="b")]
    missing = sort_out([row("a"), row("b")], left_out)
    assert ([gone.name for gone in missing.gone], missing.kept) == (["a"], 1)


def test_a_row_with_an_id_too_long_for_a_file_is_gone(tmp_path: Path) -> None:
    assert sort_out([row("x" * 200 * 4)], []).kept == 0


def test_what_stands_there_hides_nothing(tmp_path: Path) -> None:
    assert obstacle(tmp_path) is None


def test_a_place_is_vanished_only_where_that_could_be_seen(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "there").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    closed.chmod(0)
    with by_permissions():
        seen = [is_vanished(path) for path in (closed, closed / "there", closed / "never")]
    closed.chmod(0o755)
    assert seen == [False, False, False]
    assert is_vanished(closed / "never")
    assert not is_vanished(tmp_path / "link")
    assert not is_vanished(tmp_path / "link" / "below")
