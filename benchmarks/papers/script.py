"""What the scripts of this folder share: their options, and how they end."""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.papers.tables import strays, write
from benchmarks.report import machine

RESULTS = Path("benchmarks/papers/results")


@dataclass(frozen=True)
class Given:
    """What a script was asked for.

    Attributes:
        name: of the script and of its results.
        began: as `time.perf_counter` tells it, in seconds.
    """

    name: str
    data: Path
    seeds: range
    jobs: int
    quick: bool
    out: Path
    began: float

    def say(self, what: str) -> None:
        """Say on stderr what is done, and after how many seconds."""
        print(f"{time.perf_counter() - self.began:.0f} s: {what}", file=sys.stderr)


def asked(name: str, told: str | None, data: Path) -> Given:
    """Parse the command line of a script; quick is the first seed."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    out = given.out or RESULTS / f"{name}{'-quick' if given.quick else ''}.json"
    seeds = range(1 if given.quick else given.seeds)
    return Given(name, given.data, seeds, given.jobs, given.quick, out, time.perf_counter())


def conclude(given: Given, figures: Mapping[str, Any], judged: Sequence[str]) -> int:
    """Write what was found, with machine and command; a quick run is held beside the full results.

    Args:
        figures: at least `rows` and `differences`, as the tables module makes them.
        judged: the figures that a quick run may not be 3 standard deviations away in.

    Returns:
        The exit status: 1 where a quick run is too far away.
    """
    facts = {
        **machine(),
        "command": " ".join([f"python -m benchmarks.papers.{given.name}", *sys.argv[1:]]),
        "seeds": len(given.seeds),
        "seconds": round(time.perf_counter() - given.began),
        **figures,
    }
    write(given.out, facts)
    full = RESULTS / f"{given.name}.json"
    if not given.quick:
        return 0
    if not full.is_file():
        print(f"no {full} to compare with: run without --quick", file=sys.stderr)
        return 1
    return bool(strays(facts["rows"], full, judged))
