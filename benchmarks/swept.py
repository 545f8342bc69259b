"""Make a sweep and keep its figures beside its file, with machine, command and seeds.

    python -m benchmarks.swept benchmarks/papers/continual.toml
    python -m benchmarks.swept benchmarks/methods.toml
    python -m benchmarks.swept benchmarks/papers/continual.toml --quick     # and compare with what is kept

Figures go to results/NAME.json and NAME.md beside the file, over all seeds; runs to --out (a new folder), from where
an interrupted sweep goes on. Differences are paired over seeds, with 95 % intervals by Student's t.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.papers.tables import Row, difference, strays, summary, write
from benchmarks.report import machine
from studies.sweeps import runner, spec

FIGURE = "recall@10"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("spec", type=Path)
    parser.add_argument("--out", type=Path, help="where runs are, or will be")
    parser.add_argument("--quick", action="store_true", help="the first seed of the file's quick table")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        out = given.out or Path(scratch) / "sweep"
        wanted = spec.load_quick(given.spec) if given.quick else spec.load(given.spec)
        (runner.resume if (out / runner.SPEC).is_file() else runner.begin)(wanted, out)
        runner.run(wanted, out, jobs=given.jobs)
        runs = [json.loads(path.read_bytes()) for path in sorted((out / "results").iterdir())]
    rows = [row for run in runs for row in rows_of(run)]
    seeds = sorted({run["seed"] for run in runs})
    kept = given.spec.parent / "results" / f"{given.spec.stem}.json"
    facts = {
        **machine(),
        "command": f"python -m benchmarks.swept {given.spec}",
        "seeds": len(seeds),
        "seconds of this call": round(time.perf_counter() - began),
        "seconds of all runs, one after the other": round(sum(run["seconds"] for run in runs)),
        "rows": summary(rows, {}),
        "differences": list(gaps(rows)),
    }
    target = kept.with_name(f"{kept.stem}-quick.json") if given.quick else kept
    write(target, facts)
    print(target.with_suffix(".md").read_text(encoding="utf-8"))
    if given.quick and strays(summary(rows, {}), kept, [FIGURE]):
        sys.exit(1)


def rows_of(run: dict[str, object]) -> Iterator[Row]:
    """Yield what one training came to: a row for every policy, direction, and task known or not."""
    results, seconds = run["results"], run["seconds"]
    assert isinstance(results, list)
    assert isinstance(seconds, float)
    for one in results:
        known = "known" if one["task_known"] else f"unknown, {one['merge']}"
        measured = {FIGURE: "final", "forgetting": "forgetting", "plasticity": "plasticity"}
        figures = {name: one[key] for name, key in measured.items() if one[key] is not None}
        table = f"{one['query']} to {one['target']}, task {known}, head {run['head']}"
        seed = run["seed"]
        assert isinstance(seed, int)
        yield Row(table, f"{run['method']}, {one['policy']}", seed, {**figures, "seconds": seconds})


def gaps(rows: list[Row]) -> Iterator[dict[str, object]]:
    """Yield, table by table, what each method is above finetune under the same policy, and policies above reindex."""
    for table in dict.fromkeys(row.table for row in rows):
        there = dict.fromkeys(row.method for row in rows if row.table == table)
        for one in there:
            method, _, policy = one.rpartition(", ")
            other = f"finetune, {policy}" if method != "finetune" else "finetune, reindex"
            if other in there and other != one:
                yield difference(rows, FIGURE, (table, one, other))
        if "joint, reindex" in there and "joint-intra, reindex" in there:
            yield difference(rows, FIGURE, (table, "joint, reindex", "joint-intra, reindex"))


if __name__ == "__main__":
    main()
