"""What the scripts of this folder share: their options, and how they end."""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import machine
from benchmarks.tables import strays, write

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Options:
    """The command line of a script.

    Attributes:
        name: of the script and of its results.
        jobs: processes at a time.
        began: when the script did, as `time.perf_counter` tells it, in seconds.
    """

    name: str
    data: Path
    seeds: range
    jobs: int
    quick: bool
    out: Path
    began: float

    def log(self, what: str) -> None:
        """Say on stderr what is done, and after how many seconds."""
        print(f"{time.perf_counter() - self.began:.0f} s: {what}", file=sys.stderr)


def parse_options(name: str, description: str | None, data: Path) -> Options:
    """Parse the command line of a script; quick is the first seed."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    out = given.out or RESULTS / f"{name}{'-quick' if given.quick else ''}.json"
    seeds = range(1 if given.quick else given.seeds)
    return Options(name, given.data, seeds, given.jobs, given.quick, out, time.perf_counter())


def conclude(options: Options, figures: Mapping[str, Any], compared: Sequence[str]) -> int:
    """Write the figures, with machine and command; a quick run is held beside the full results.

    Args:
        figures: at least `rows` and `differences`, as `benchmarks.tables` makes them.
        compared: the names of figures in which a quick run may not be 3 standard deviations away.

    Returns:
        The exit status: 1 where a quick run is too far away.
    """
    facts = {
        **machine(),
        "command": " ".join([f"python -m benchmarks.papers.{options.name}", *sys.argv[1:]]),
        "seeds": len(options.seeds),
        "seconds": round(time.perf_counter() - options.began),
        **figures,
    }
    write(options.out, facts)
    full = RESULTS / f"{options.name}.json"
    if not options.quick:
        return 0
    if not full.is_file():
        print(f"no {full} to compare with: run without --quick", file=sys.stderr)
        return 1
    return bool(strays(facts["rows"], full, compared))
