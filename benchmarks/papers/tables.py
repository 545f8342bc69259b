"""The rows of several seeds as one table: means, deviations, differences, the paper's figures; and their files."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from benchmarks.report import markdown
from engine.storage import files

HEADING = "## Figures"
FLOOR = 0.005
"""The least standard deviation that a row is compared by."""


@dataclass(frozen=True)
class Row:
    """What one method came to with one seed; `figures` holds shares from 0 to 1."""

    table: str
    method: str
    seed: int
    figures: Mapping[str, float]


def summary(
    rows: Iterable[Row], paper: Mapping[tuple[str, str], Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Return the mean and standard deviation over seeds of each method's figures, and the paper's beside them."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row.table, row.method), []).append(row)
    return [
        {
            "table": table,
            "method": method,
            "figures": {
                name: _figure([row.figures[name] for row in found], paper.get((table, method), {}).get(name))
                for name in found[0].figures
            },
        }
        for (table, method), found in grouped.items()
    ]


def differences(rows: Sequence[Row], figure: str) -> list[dict[str, Any]]:
    """Return each neighbouring pair in the order of the means, table by table, over the seeds of both."""
    found = []
    for table in dict.fromkeys(row.table for row in rows):
        values: dict[str, list[float]] = {}
        for row in rows:
            if row.table == table and figure in row.figures:
                values.setdefault(row.method, []).append(row.figures[figure])
        order = sorted(values, key=lambda method: -statistics.mean(values[method]))
        found += [difference(rows, figure, (table, *two)) for two in pairwise(order)]
    return found


def difference(rows: Sequence[Row], figure: str, pair: tuple[str, str, str]) -> dict[str, Any]:
    """Return by how much one method is above another in a table (table, first, second), over the seeds of both."""
    table, first, second = pair
    values: dict[str, dict[int, float]] = {first: {}, second: {}}
    for row in rows:
        if row.table == table and row.method in values:
            values[row.method][row.seed] = row.figures[figure]
    shared = sorted(values[first].keys() & values[second].keys())
    gaps = [values[first][seed] - values[second][seed] for seed in shared]
    return {"table": table, "first": first, "second": second, **_interval(gaps)}


def write(out: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts as JSON, and beside it as Markdown below what was written there by hand."""
    page = out.with_suffix(".md")
    said = page.read_text(encoding="utf-8").partition(HEADING)[0] if page.is_file() else f"# {out.stem}\n\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    files.replace(out, files.to_json(facts))
    files.replace(page, (said + HEADING + "\n\n" + _page(facts)).encode())


def strays(found: Sequence[Mapping[str, Any]], full: Path, figures: Sequence[str]) -> list[str]:
    """Print how far each row is from the full results, and return the rows beyond 3 standard deviations."""
    known = {(row["table"], row["method"]): row["figures"] for row in json.loads(full.read_text())["rows"]}
    beyond = []
    for row in found:
        for name in (name for name in figures if name in row["figures"]):
            expected, mean = known[row["table"], row["method"]][name], row["figures"][name]["mean"]
            away = (mean - expected["mean"]) / max(expected["sd"] or 0.0, FLOOR)
            line = f"{row['table']}, {row['method']}, {name}: {mean:.3f}, {away:+.1f} sd from {expected['mean']:.3f}"
            print(line)
            beyond += [line] if not abs(away) <= 3 else []
    return beyond


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


def _page(facts: Mapping[str, Any]) -> str:
    told = {name: value for name, value in facts.items() if name not in ("rows", "differences")}
    parts = ["\n".join(f"- {name}: {value}" for name, value in told.items())]
    for table in dict.fromkeys(row["table"] for row in facts["rows"]):
        rows = [row for row in facts["rows"] if row["table"] == table]
        cells = [
            {"method": row["method"], **{n: _cell(f) for n, f in row["figures"].items()}} for row in rows
        ]
        parts.append(f"### {table}\n\n{markdown(cells)}")
        gaps = [gap for gap in facts["differences"] if gap["table"] == table]
        parts.append("\n".join(_line(gap) for gap in gaps))
    return "\n\n".join(part for part in parts if part) + "\n"


def _cell(figure: Mapping[str, float | None]) -> str:
    spread = "" if figure["sd"] is None else f" ± {figure['sd']:.3f}"
    paper = "" if figure["paper"] is None else f" ({figure['paper']:.3f})"
    return f"{figure['mean']:.3f}{spread}{paper}"


def _line(gap: Mapping[str, Any]) -> str:
    interval = f" [{gap['low']:+.3f}, {gap['high']:+.3f}]" if "low" in gap else ""
    half = f" ± {gap['half']:.3f}" if gap.get("half") is not None else ""
    return f"- {gap['first']} over {gap['second']}: {gap['difference']:+.3f}{half}{interval}"
