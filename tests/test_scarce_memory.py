"""Memory that runs out is one line on stderr and exit status 1; other errors of the same kinds are raised."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cli
from engine import memory

ROOT = Path(__file__).parent.parent
TOLD = "error: no memory is left: end other programs or raise the limit (ulimit -v)\n"


def raising(error: Exception) -> Callable[[], Callable[..., None]]:
    def run(**given: object) -> None:
        raise error

    return lambda: run


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_memory_that_runs_out_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "command", raising(error))
    monkeypatch.setattr(sys, "argv", ["mneme", "methods"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert (left.value.code, capsys.readouterr().err) == (1, TOLD)


def test_threads_that_cannot_be_started_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "command", raising(RuntimeError("can't start new thread")))
    with pytest.raises(SystemExit) as left:
        cli.main()
    told = "error: no thread can be started: end other programs or raise the limits (ulimit -u, ulimit -v)\n"
    assert (left.value.code, capsys.readouterr().err) == (1, told)


def test_an_error_of_another_cause_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "command", raising(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        cli.main()


def limited(work: str) -> tuple[int, str, str]:
    """Run a function's body as the command in an address space of 64 GiB; return exit status, stdout and stderr."""
    code = f"import cli, mneme_command, os, signal, sys\ndef answer():\n    {work}\ncli.answer = answer\n"
    code += "mneme_command.main()"
    shell = f'ulimit -v {64 << 20} && exec "$0" -c "$1"'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable, code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux alone")
@pytest.mark.parametrize(
    "work",
    [
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "os.abort()",
        "os.write(2, b'OpenBLAS error: Memory allocation still failed'); os._exit(1)",
        "cli.memory.HARDLY_ANY = 64 << 30; raise SystemError('error return without exception set')",
    ],
)
def test_a_library_that_ends_the_process_for_want_of_address_space_is_one_line(work: str) -> None:
    assert limited(work) == (1, "", TOLD)


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux alone")
@pytest.mark.parametrize(
    ("work", "left"),
    [
        ("print('done')", (0, "done\n", "")),
        ("print('why', file=sys.stderr); raise SystemExit(1)", (1, "", "why\n")),
        (
            "mneme_command.leave(signal.SIGINT, None)",
            (130, "", "interrupted\n"),
        ),
        ("os.kill(os.getppid(), signal.SIGTERM); signal.pause()", (128 + signal.SIGTERM, "", "")),
    ],
)
def test_what_ends_otherwise_in_a_limited_address_space_ends_as_ever(
    work: str, left: tuple[int, str, str]
) -> None:
    assert limited(work) == left


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux alone")
def test_an_error_with_address_space_left_is_told_as_it_is() -> None:
    status, _, err = limited("raise SystemError('a bug')")
    assert (status, err.splitlines()[-1]) == (1, "SystemError: a bug")


def test_more_memory_than_there_is_is_refused_before_a_library_waits_for_it() -> None:
    with pytest.raises(MemoryError):
        memory.require(1 << 60)
    memory.require(memory.OF_LAPACK)
