"""Memory that runs out is one line on stderr and exit status 1; other errors of the same kinds are raised."""

import sys
from collections.abc import Callable

import pytest

import cli


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
    told = "error: no memory is left: end other programs or raise the limit (ulimit -v)\n"
    assert (left.value.code, capsys.readouterr().err) == (1, told)


def test_an_error_of_another_cause_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "command", raising(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        cli.main()
