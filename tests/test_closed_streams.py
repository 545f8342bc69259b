"""An output that takes nothing is one line on stderr and exit status 1."""

import subprocess
import sys
from pathlib import Path

import pytest

CLI = Path(__file__).parent.parent / "cli.py"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    ("output", "message"),
    [
        (">/dev/full", "cannot access the output: no space left on device: free some room and run it again"),
        (">&-", "the output is closed: nothing could be printed"),
    ],
)
def test_an_output_that_takes_nothing_is_one_line(output: str, message: str) -> None:
    command = f'"{sys.executable}" "{CLI}" methods {output}'
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (1, f"error: {message}\n")
