"""Make a sweep and keep its figures beside its file, with machine, command and seeds.

    python -m benchmarks.swept benchmarks/papers/continual.toml
    python -m benchmarks.swept benchmarks/methods.toml
    python -m benchmarks.swept benchmarks/papers/continual.toml --quick     # and compare with what is kept

Figures go to results/NAME.json and NAME.md beside the file, over all seeds; runs to --out (a new folder), from where
an interrupted sweep goes on. Differences are paired over seeds, with 95 % intervals by Student's t.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import machine
from benchmarks.tables import Measurement, difference, strays, summary, write
from studies.sweeps import runner, toml_file

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
        spec = toml_file.load_quick(given.spec) if given.quick else toml_file.load(given.spec)
        runner.begin_or_resume(spec, out)
        runner.run(spec, out, jobs=given.jobs)
        records = runner.read_records(out)
    measured = [measurement for record in records for measurement in measurements(record)]
    full = given.spec.parent / "results" / f"{given.spec.stem}.json"
    facts = {
        **machine(),
        "command": f"python -m benchmarks.swept {given.spec}",
        "seeds": len({record["seed"] for record in records}),
        "seconds of this call": round(time.perf_counter() - began),
        "seconds of all runs, one after the other": round(sum(record["seconds"] for record in records)),
        "rows": summary(measured, {}),
        "differences": list(gaps(measured)),
    }
    page = write(full.with_stem(f"{full.stem}-quick") if given.quick else full, facts)
    print(page.read_text(encoding="utf-8"))
    if given.quick and strays(summary(measured, {}), full, [FIGURE]):
        sys.exit(1)


def measurements(record: Mapping[str, Any]) -> Iterator[Measurement]:
    """Yield what one training came to: one for every policy, direction, and task known or not."""
    for result in record["results"]:
        task = "known" if result["task_known"] else f"unknown, {result['merge']}"
        fields = {FIGURE: "final", "forgetting": "forgetting", "plasticity": "plasticity"}
        figures = {name: result[field] for name, field in fields.items() if result[field] is not None}
        table = f"{result['query']} to {result['target']}, task {task}, head {record['head']}"
        method = f"{record['method']}, {result['policy']}"
        yield Measurement(table, method, record["seed"], {**figures, "seconds": record["seconds"]})


def gaps(measured: Sequence[Measurement]) -> Iterator[dict[str, object]]:
    """Yield, table by table, what each method is above finetune under the same policy, and policies above reindex."""
    for table in dict.fromkeys(measurement.table for measurement in measured):
        names = dict.fromkeys(measurement.method for measurement in measured if measurement.table == table)
        for name in names:
            method, _, policy = name.rpartition(", ")
            base = f"finetune, {policy}" if method != "finetune" else "finetune, reindex"
            if base in names and base != name:
                yield difference(measured, FIGURE, (table, name, base))
        if "joint, reindex" in names and "joint-intra, reindex" in names:
            yield difference(measured, FIGURE, (table, "joint, reindex", "joint-intra, reindex"))


if __name__ == "__main__":
    main()
