"""What a hit tells of where it is: its paths as they are on disk, every copy, every row that names it."""

import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import cli
import mneme
from commands import Run, colours, is_one_line
from engine.types import Hit

ODD = ["red.png", "a b.png", "new\nline.png", "turned\u202e.png", "esc\x1b[31m.png", os.fsdecode(b"\xff.png")]


class Stream(io.TextIOWrapper):
    """A stream of bytes that may say it is a terminal."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal


def printed(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], *, terminal: bool = False) -> bytes:
    """Return the bytes that `mneme` prints."""
    stream = Stream(io.BytesIO(), encoding="utf-8")
    stream.terminal = terminal
    monkeypatch.setattr(sys, "argv", ["mneme", *arguments])
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit) as left:
        cli.main()
    stream.flush()
    assert left.value.code == 0
    return stream.buffer.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def odd(run: Run, tmp_path: Path) -> Path:
    """Return a folder of pictures of odd names, which is indexed."""
    folder = colours(tmp_path / "odd", "red", *(f"#{n}0{n}0{n}0" for n in range(1, len(ODD))))
    for n, name in enumerate(ODD[1:], 1):
        (folder / f"#{n}0{n}0{n}0.txt").unlink()
        (folder / f"#{n}0{n}0{n}0.png").rename(folder / name)
    assert run("index", folder, "--backbone", "builtin").status == 0
    return folder


def test_paths_that_end_with_nul_are_those_on_disk(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = printed(monkeypatch, ["query", "a red picture", "--paths", "-0"])
    assert out.endswith(b"\0")
    assert sorted(out.split(b"\0")[:-1]) == sorted(os.fsencode(odd / name) for name in ODD)


def test_xargs_finds_every_file(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = printed(monkeypatch, ["query", "a red picture", "--paths", "--null"])
    sizes = subprocess.run(["xargs", "-0", "cat"], input=out, capture_output=True, check=True).stdout
    assert len(sizes) == sum((odd / name).stat().st_size for name in ODD)


def test_paths_that_are_piped_are_those_on_disk_and_those_on_a_terminal_cannot_steer_it(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = ["query", "a red picture", "--paths"]
    piped = printed(monkeypatch, question)
    lines = b"".join(os.fsencode(odd / name) + b"\n" for name in ODD).split(b"\n")
    assert sorted(piped.split(b"\n")) == sorted(lines)
    shown = printed(monkeypatch, question, terminal=True).decode().splitlines()
    assert len(shown) == len(ODD)
    assert all(line.isprintable() for line in shown)


def test_a_text_is_printed_whole_before_a_nul_and_on_one_line_without(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words.jsonl").write_text(json.dumps({"text": "two\nlines"}))
    run("index", "words.jsonl", "--backbone", "builtin")
    question = ["query", "lines", "--to", "text", "--paths"]
    assert printed(monkeypatch, [*question, "-0"]) == b"two\nlines\0"
    assert printed(monkeypatch, question) == b"two\\nlines\n"


def test_nul_without_paths_is_wrong_usage(run: Run, trained: Path) -> None:
    result = run("query", "a dog", "-0", "-w", trained)
    assert is_one_line(result, 2, "Invalid value: -0 goes with --paths")


# every copy, every row


@pytest.fixture
def copies(run: Run, tmp_path: Path) -> Path:
    """Return a folder of tables of two tasks whose rows name one picture under four paths; one of them is gone."""
    red = colours(tmp_path / "red", "red") / "red.png"
    for name in ("a", "b", "c", "d"):
        shutil.copy(red, tmp_path / f"{name}.png")
    rows = [("a", "sea"), ("b", "sea"), ("c", "hills"), ("d", "hills")]
    lines = [
        {"id": name, "task": task, "file_name": f"{name}.png", "text": f"text {name}", "by": name.upper()}
        for name, task in rows
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    told = run("index", "rows.jsonl", "--backbone", "builtin", "--json").json
    assert "3 files are copies of others: one item, all paths kept" in told["notes"]
    (tmp_path / "a.png").unlink()
    return tmp_path


def test_json_tells_every_path_and_row_those_of_the_task_that_is_searched_first(
    copies: Path, run: Run
) -> None:
    for task, paths, rows in (("sea", "bcda", "bacd"), ("hills", "cdba", "cdba")):
        (hit,) = run("query", "--image", "b.png", "--to", "image", "--task", task, "--json").lines
        assert hit["paths"] == [str(copies / f"{name}.png") for name in paths]
        assert [(row["id"], row["by"]) for row in hit["rows"]] == [(name, name.upper()) for name in rows]
        assert {row["task"] for row in hit["rows"][:2]} == {task}
        assert hit["row"] == {name: value for name, value in hit["rows"][0].items() if name != "task"}


def test_a_hit_in_python_tells_them_too(copies: Path) -> None:
    (hit,) = mneme.open(copies).search(copies / "b.png", to="image", task="sea")
    assert [row["id"] for row in hit.rows] == ["b", "a", "c", "d"]
    assert len(hit.paths) == 4


def test_an_export_tells_them_too(copies: Path, run: Run) -> None:
    run("export", "out")
    table = pq.read_table(copies / "out" / "hills.image.v0000.parquet").to_pydict()
    assert table["paths"] == [[str(copies / f"{name}.png") for name in "cdba"]]
    assert [json.loads(row)["id"] for row in table["rows"][0]] == ["c", "d", "b", "a"]


def test_a_page_names_every_copy(copies: Path, run: Run) -> None:
    run("query", "--image", "b.png", "--to", "image", "--html", "hits.html")
    page = (copies / "hits.html").read_text()
    assert all(f"{name}.png" in page for name in "abcd")


@pytest.mark.parametrize(("p", "printed"), [(0.02, "p 0.020"), (0.0241, "p 0.024"), (1.0, "p 1.0")])
def test_a_probability_is_printed_with_two_digits(
    p: float, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hit = Hit(1, 0.5, "0" * 32, "text", "sky", ("sky",), None, "a", 0, log_p=math.log(p))
    cli.show_hit(1, hit, as_json=False)
    assert capsys.readouterr().out == f"1\t0.500\tsky\ta\t{printed}\n"
