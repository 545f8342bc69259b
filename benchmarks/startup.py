"""How long `--help` of every command takes, beside a Python that does nothing.

    python -m benchmarks.startup
    python -m benchmarks.startup --repeats 31

Medians, each command and the bare Python in turn; "beyond" is how many seconds more a command takes, for which .3 s
is the most. "processor seconds" tell more than the clock's where other programs run too. To results/startup.json.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cli
from benchmarks.report import machine, markdown, write

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks" / "results" / "startup.json"
BARE = "python -c pass"
MNEME = "import cli; cli.main()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    rows = measured(parser.parse_args().repeats)
    print(markdown(rows))
    write(OUT, {**machine(), "rows": rows})


def measured(repeats: int) -> list[dict[str, object]]:
    """Return a row for the bare Python and for each command."""
    callbacks = [command.callback for command in cli.app.registered_commands if command.callback]
    programs = {BARE: ["pass"], "mneme": [MNEME, "--help"]}
    programs |= {f"mneme {callback.__name__}": [MNEME, callback.__name__, "--help"] for callback in callbacks}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, program in programs.items():
            times[name].append(_times(program))
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in times.items()
    }
    bare, _ = medians[BARE]
    return [
        {
            "command": name,
            "seconds": round(wall, 3),
            "beyond": round(wall - bare, 3),
            "ratio": round(wall / bare, 1),
            "processor seconds": round(processor, 3),
        }
        for name, (wall, processor) in medians.items()
    ]


def _times(program: list[str]) -> tuple[float, float]:
    """Run a program of Python; return seconds on the clock and on the processor."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", *program], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - began, used


if __name__ == "__main__":
    main()
