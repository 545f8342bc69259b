from pathlib import Path

import pytest

from benchmarks import faults


@pytest.mark.skipif(faults.why_not() is not None, reason=faults.why_not() or "")
def test_a_call_that_fails_once_is_one_line_and_the_next_run_completes(tmp_path: Path) -> None:
    (row,) = faults.measured(tmp_path, ["index"], ["ENOSPC"], every=40, offset=22)
    assert row["faults"] == []
    assert row["refused"] == row["runs"] != 0
