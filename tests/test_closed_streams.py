"""An output that takes nothing is one line on stderr and exit status 1; an input that is closed holds nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

CLI = Path(__file__).parent.parent / "cli.py"


def shell(command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    ("output", "message"),
    [
        (">/dev/full", "cannot access the output: no space left on device: free some room and run it again"),
        (">&-", "the output is closed: nothing could be printed"),
    ],
)
def test_an_output_that_takes_nothing_is_one_line(output: str, message: str) -> None:
    ran = shell(f'"{sys.executable}" "{CLI}" methods {output}')
    assert (ran.returncode, ran.stderr) == (1, f"error: {message}\n")


def test_where_stdin_is_closed_a_dash_reads_no_query(trained: Path) -> None:
    ran = shell(f'"{sys.executable}" "{CLI}" query - -w "{trained}" <&-')
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
