import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.paths import COMMANDS, ROOT, Trace, leading_on
from commands import Run
from worlds import rows, save

MOST = {"query": (16, 23), "index": (21, 55), "evaluate": (20, 39)}
"""How many files may be on the way of a command, and how many it may touch in all."""


@contextmanager
def tracing(tree: Path) -> Iterator[Trace]:
    trace = Trace(tree)
    sys.setprofile(trace)
    try:
        yield trace
    finally:
        sys.setprofile(None)


def imported(file: Path, code: str) -> ModuleType:
    file.parent.mkdir(exist_ok=True)
    file.write_text(code)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_file_whose_function_runs_is_touched(tmp_path: Path) -> None:
    with tracing(tmp_path) as trace:
        imported(tmp_path / "engine/called.py", "def f(): pass").f()
    assert trace.hops == {"engine/called.py": ("", "f")}


def test_a_file_that_is_only_imported_is_not_touched(tmp_path: Path) -> None:
    code = "def f(): return 1\nclass C:\n    x = f()\ny = [f() for _ in range(2)]"
    with tracing(tmp_path) as trace:
        imported(tmp_path / "engine/constants.py", code)
    assert (trace.imported, trace.hops) == ({"engine/constants.py"}, {})


def test_files_of_others_do_not_count(tmp_path: Path) -> None:
    with tracing(tmp_path) as trace:
        imported(tmp_path / "tests/helper.py", "def f(): pass").f()
    assert (trace.imported, trace.hops) == (set(), {})


def test_a_hop_names_who_called_from_another_file(tmp_path: Path) -> None:
    below = imported(tmp_path / "engine/below.py", "def f(): return g()\ndef g(): pass")
    above = imported(tmp_path / "cli.py", "def h(f): k(f)\ndef k(f): f()")
    with tracing(tmp_path) as trace:
        above.h(below.f)
    assert trace.hops == {"cli.py": ("", "h"), "engine/below.py": ("cli.py k", "f")}
    assert leading_on(trace.hops) == {"cli.py"}


@pytest.mark.parametrize("command", MOST)
def test_a_command_passes_through_few_files(world: Path, run: Run, command: str) -> None:
    more = save(world / "more.npz", rows("life", 10, start=30))
    arguments = [str(more) if argument == "more.npz" else argument for argument in COMMANDS[command]]
    with tracing(ROOT) as trace:
        assert run(*arguments, "-w", world).status == 0
    on_the_way, touched = MOST[command]
    assert len(leading_on(trace.hops)) <= on_the_way, sorted(leading_on(trace.hops))
    assert len(trace.hops) <= touched, sorted(trace.hops)
