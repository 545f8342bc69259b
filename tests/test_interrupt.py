import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands import Run, colours

ROOT = Path(__file__).parent.parent
INTERRUPTED = "interrupted\n"

MNEME = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever started the tests may ignore
{when}
import mneme_command
mneme_command.main()
"""
AT_IMPORT = """
class Interrupting:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting)
"""
AT_WORK = """
from engine.decoding.pool import Decoders
decode, met = Decoders.decode, []
def interrupting(pool, job, data):
    met.append(job)
    if len(met) == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return decode(pool, job, data)
Decoders.decode = interrupting
"""


def mneme(when: str, *arguments: object) -> tuple[int, str, str]:
    """Run the command, interrupted; return its exit status, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", MNEME.format(when=when), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["cli", "typer", "engine.types", "torch"])
def test_an_interrupt_of_an_import_is_one_line(trained: Path, name: str) -> None:
    assert mneme(AT_IMPORT.format(name=name), "query", "a cat", "-w", trained) == (130, "", INTERRUPTED)


def test_an_interrupt_at_work_is_one_line_and_the_next_run_completes(run: Run, tmp_path: Path) -> None:
    source = colours(tmp_path / "pictures", "red", "green", "blue", "white")
    index = ["index", source, "--backbone", "builtin", "-w", tmp_path]
    assert mneme(AT_WORK, *index) == (130, "", INTERRUPTED)
    assert run(*index, "--json").json["items"] == {"image": 4, "text": 4}


def test_an_interrupt_that_is_ignored_is_ignored() -> None:
    ignored = "signal.signal(signal.SIGINT, signal.SIG_IGN)" + AT_IMPORT.format(name="typer")
    status, out, err = mneme(ignored, "--version")
    assert (status, bool(out), err) == (0, True, "")


def test_a_second_interrupt_waits_for_nothing() -> None:
    hanging = """
import cli
def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
cli.main = main
"""
    assert mneme(hanging) == (130, "", INTERRUPTED)
