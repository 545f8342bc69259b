"""What a user may not read or write is one line, whatever command meets it, and loses nothing."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import worlds
from bound import by_permissions
from commands import Completed, Run, colours


@contextmanager
def closed(path: Path, mode: int = 0) -> Iterator[None]:
    """Take permissions of a file or folder away for a while."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with by_permissions():
            yield
    finally:
        path.chmod(before)


@pytest.fixture
def pictures(run: Run, tmp_path: Path) -> Path:
    """Return an indexed folder of pictures, in a folder of its own."""
    (tmp_path / "above").mkdir()
    folder = colours(tmp_path / "above/pictures", "red", "green")
    run("index", folder, "--backbone", "builtin")
    return folder


def is_refusal(result: Completed, path: Path) -> bool:
    """Say whether a run ended with the one line that says which path it could not access."""
    told = f"error: cannot access {path}: permission denied\n"
    return (result.status, result.out, result.err) == (1, "", told)


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--allow-mass-delete"]])
def test_a_source_that_cannot_be_entered_is_one_line(run: Run, pictures: Path, more: list[str]) -> None:
    with closed(pictures):
        result = run("index", pictures, *more)
    assert is_refusal(result, pictures / "metadata.jsonl")


def test_a_source_in_a_folder_that_cannot_be_entered_is_one_line(run: Run, pictures: Path) -> None:
    with closed(pictures.parent):
        result = run("index", pictures, "--allow-mass-delete")
    assert is_refusal(result, pictures)
    assert run("index", pictures).out.startswith("0 added, 0 updated, 0 removed, 2 unchanged")


def test_metadata_that_cannot_be_read_is_one_line(run: Run, pictures: Path) -> None:
    table = pictures / "metadata.jsonl"
    table.write_text('{"file_name": "red.png", "text": "red"}\n')
    with closed(table):
        result = run("index", pictures)
    assert is_refusal(result, table)


def test_of_a_closed_file_the_row_is_kept(run: Run, pictures: Path) -> None:
    with closed(pictures / "red.txt"):
        result = run("index", pictures)
    assert result.err == f"skipped {pictures / 'red.png'}: red.txt: permission denied\n"
    assert result.out.startswith("0 added, 0 updated, 0 removed, 1 unchanged, 1 kept, 1 skipped")


@pytest.mark.parametrize("place", ["shards", "router"])
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o500])
def test_a_workspace_that_cannot_be_written_is_one_line(world: Path, run: Run, place: str, mode: int) -> None:
    more = worlds.save(world / "more.npz", worlds.rows("sky", 5, start=50))
    with closed(world / ".mneme" / place, mode):
        results = [run("index", more, "-w", world), run("reindex", "--policy", "matched", "-w", world)]
    for result in results:
        assert result.status == 0 or result.err.startswith(f"error: cannot access {world / '.mneme' / place}")
        assert len(result.err.splitlines()) <= 1
    assert run("index", more, "-w", world).status == 0


def test_a_workspace_that_may_only_be_read_answers_as_ever(world: Path, run: Run) -> None:
    commands = (
        ("query", "a sun"),
        ("query", "a sun", "--policy", "reindex"),
        ("evaluate", "-k", "5"),
        ("status",),
    )
    before = [run(*command, "-w", world) for command in commands]
    with ExitStack() as bound:
        for path in sorted((world / ".mneme").rglob("*"), reverse=True):
            bound.enter_context(closed(path, 0o500 if path.is_dir() else 0o400))
        bound.enter_context(closed(world / ".mneme", 0o500))
        assert [run(*command, "-w", world) for command in commands] == before
        assert run("index", world / "sky.npz", "-w", world).err.startswith("error: cannot ")


def test_a_workspace_that_cannot_be_entered_is_one_line(world: Path, run: Run) -> None:
    with closed(world / ".mneme"):
        results = [run("status", "-w", world), run("query", "a sun", "-w", world)]
    assert all(is_refusal(result, world / ".mneme/workspace.json") for result in results)


@pytest.mark.parametrize("place", ["heads", "store"])
def test_heads_or_a_store_that_cannot_be_entered_are_one_line(world: Path, run: Run, place: str) -> None:
    with closed(world / ".mneme" / place):
        results = [run("query", "a sun", "-w", world), run("reindex", "--policy", "reindex", "-w", world)]
    for result in results:
        assert (result.status, result.out, len(result.err.splitlines())) == (1, "", 1)
        assert f"{world / '.mneme' / place}" in result.err
        assert "permission denied" in result.err.lower()
