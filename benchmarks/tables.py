"""Figures of several seeds as tables: means, deviations, differences, the paper's figures; and the page of them.

    python -m benchmarks.tables

Writes every page (results/NAME.md) again, of the figures in results/NAME.json and of what was written about them by
hand, which stands in results/NAME.reading.md where there is something to say.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from scipy.stats import t as student

from benchmarks import report
from benchmarks.report import markdown
from engine.storage import files

FOLDERS = (Path(__file__).parent / "results", Path(__file__).parent / "papers/results")
FLOOR = 0.005
"""The least standard deviation that a row is compared by."""

Facts: TypeAlias = Mapping[str, Any]
"""What a results file holds: `rows`, and what else is worth knowing.

Rows of several seeds are as `summary` returns them, with `differences` beside; others are tables as they stand.
"""


@dataclass(frozen=True)
class Measurement:
    """What one method came to with one seed; `figures` holds shares from 0 to 1."""

    table: str
    method: str
    seed: int
    figures: Mapping[str, float]


def summary(
    measurements: Iterable[Measurement], paper: Mapping[tuple[str, str], Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Return the mean and standard deviation over seeds of each method's figures, and the paper's beside them."""
    grouped: dict[tuple[str, str], list[Measurement]] = {}
    for measurement in measurements:
        grouped.setdefault((measurement.table, measurement.method), []).append(measurement)
    return [
        {
            "table": table,
            "method": method,
            "figures": {
                name: _figure([m.figures[name] for m in group], paper.get((table, method), {}).get(name))
                for name in group[0].figures
            },
        }
        for (table, method), group in grouped.items()
    ]


def differences(measurements: Sequence[Measurement], figure: str) -> list[dict[str, Any]]:
    """Return each neighbouring pair in the order of the means, table by table, over the seeds of both."""
    gaps = []
    for table in dict.fromkeys(measurement.table for measurement in measurements):
        values: dict[str, list[float]] = {}
        for measurement in measurements:
            if measurement.table == table and figure in measurement.figures:
                values.setdefault(measurement.method, []).append(measurement.figures[figure])
        order = sorted(values, key=lambda method: -statistics.mean(values[method]))
        gaps += [difference(measurements, figure, (table, *pair)) for pair in pairwise(order)]
    return gaps


def difference(
    measurements: Sequence[Measurement], figure: str, pair: tuple[str, str, str]
) -> dict[str, Any]:
    """Return by how much one method is above another in a table, over the seeds of both.

    Args:
        pair: the table, the first method, the second.
    """
    table, first, second = pair
    values: dict[str, dict[int, float]] = {first: {}, second: {}}
    for measurement in measurements:
        if measurement.table == table and measurement.method in values:
            values[measurement.method][measurement.seed] = measurement.figures[figure]
    seeds = sorted(values[first].keys() & values[second].keys())
    gaps = [values[first][seed] - values[second][seed] for seed in seeds]
    return {"table": table, "first": first, "second": second, **_interval(gaps)}


def strays(rows: Sequence[Mapping[str, Any]], full: Path, figures: Sequence[str]) -> list[str]:
    """Print how far each row is from the full results, and return the rows beyond 3 standard deviations."""
    known = {(row["table"], row["method"]): row["figures"] for row in json.loads(full.read_text())["rows"]}
    beyond = []
    for row in rows:
        for name in (name for name in figures if name in row["figures"]):
            expected, mean = known[row["table"], row["method"]][name], row["figures"][name]["mean"]
            away = (mean - expected["mean"]) / max(expected["sd"] or 0.0, FLOOR)
            line = f"{row['table']}, {row['method']}, {name}: {mean:.3f}, {away:+.1f} sd from {expected['mean']:.3f}"
            print(line)
            beyond += [line] if not abs(away) <= 3 else []
    return beyond


def write(out: Path, facts: Facts) -> Path:
    """Write the facts as JSON and as the page beside it, which is returned."""
    report.write(out, facts)
    return write_page(out)


def write_page(out: Path) -> Path:
    """Write the page of a results file anew."""
    files.replace(out.with_suffix(".md"), page(out).encode())
    return out.with_suffix(".md")


def page(out: Path) -> str:
    """Return a results file as Markdown, below what was written about it by hand."""
    reading = out.with_suffix(".reading.md")
    head = reading.read_text(encoding="utf-8") if reading.is_file() else f"# {out.stem}\n"
    return f"{head}\n## Figures\n\n{tables(json.loads(out.read_bytes()))}"


def tables(facts: Facts) -> str:
    """Return facts as Markdown: what is worth knowing, then table by table the figures and differences."""
    header = {name: value for name, value in facts.items() if name not in ("rows", "differences")}
    parts = ["\n".join(f"- {name}: {value}" for name, value in header.items())]
    if "differences" not in facts:
        return "\n\n".join([*parts, markdown(facts["rows"])]) + "\n"
    for table in dict.fromkeys(row["table"] for row in facts["rows"]):
        rows = [row for row in facts["rows"] if row["table"] == table]
        names = dict.fromkeys(name for row in rows for name in row["figures"])
        cells = [
            {"method": row["method"], **{name: _cell(row["figures"].get(name)) for name in names}}
            for row in rows
        ]
        parts.append(f"### {table}\n\n{markdown(cells)}")
        gaps = [gap for gap in facts["differences"] if gap["table"] == table]
        parts.append("\n".join(_line(gap) for gap in gaps))
    return "\n\n".join(part for part in parts if part) + "\n"


def results_with_pages() -> list[Path]:
    """Return every committed results file that has a page."""
    every = [out for folder in FOLDERS for out in sorted(folder.glob("*.json"))]
    return [out for out in every if out.with_suffix(".md").is_file()]


def _figure(values: Sequence[float], paper: float | None) -> dict[str, float | None]:
    sd = round(statistics.stdev(values), 4) if len(values) > 1 else None
    return {"mean": round(statistics.mean(values), 4), "sd": sd, "paper": paper}


def _interval(gaps: Sequence[float]) -> dict[str, float | None]:
    """Return the mean and the half width of its 95 % interval, by Student's t."""
    half = None
    if len(gaps) > 1:
        half = round(
            float(student.ppf(0.975, len(gaps) - 1)) * statistics.stdev(gaps) / math.sqrt(len(gaps)), 4
        )
    return {"difference": round(statistics.mean(gaps), 4), "half": half}


def _cell(figure: Mapping[str, float | None] | None) -> str:
    if figure is None:
        return ""
    spread = "" if figure["sd"] is None else f" ± {figure['sd']:.3f}"
    paper = "" if figure["paper"] is None else f" ({figure['paper']:.3f})"
    return f"{figure['mean']:.3f}{spread}{paper}"


def _line(gap: Mapping[str, Any]) -> str:
    interval = f" [{gap['low']:+.3f}, {gap['high']:+.3f}]" if "low" in gap else ""
    half = f" ± {gap['half']:.3f}" if gap.get("half") is not None else ""
    return f"- {gap['first']} over {gap['second']}: {gap['difference']:+.3f}{half}{interval}"


if __name__ == "__main__":
    for results in results_with_pages():
        print(write_page(results))
