"""Tables of a sweep: means and standard deviations over seeds, in Markdown, CSV and LaTeX."""

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from engine.storage import files

FORMAT = 1
Record: TypeAlias = Mapping[str, Any]
"""One finished run as it stands in its file: its names, its seed, its matrices."""

Key: TypeAlias = tuple[str, str, str, str, str | None, str, str]
"""Method, loss, head, policy, merge, query, target."""

MEASURES = {
    "recall": "final",
    "forgetting": "forgetting",
    "bwt": "bwt",
    "plasticity": "plasticity",
    "chance": "mean_chance",
}
"""By the name of a figure of merit: the field of a matrix's record that it is read from."""
HEADINGS = {"recall": "R", "forgetting": "forgetting", "bwt": "BWT", "plasticity": "plasticity"}
"""The measures that a table shows, by name; the others are for spreadsheets."""
LABELS = ("method", "loss", "head", "policy", "task", "direction")
ESCAPES = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    }
)


@dataclass(frozen=True)
class Estimate:
    """The mean of a measure over the n seeds that have it, and its standard deviation, None of fewer than two."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class SummaryRow:
    """What one training under one policy comes to in one direction, over its seeds.

    Attributes:
        merge: how the tasks' hits were merged; None: the task was known.
        figures: by measure and K, as in `recall@10`.
    """

    method: str
    loss: str
    head: str
    policy: str
    merge: str | None
    query: str
    target: str
    seeds: tuple[int, ...]
    figures: Mapping[str, Estimate]

    @property
    def labels(self) -> tuple[str, ...]:
        """The first cells of the row, in the order of LABELS."""
        task = f"unknown, {self.merge}" if self.merge else "known"
        return self.method, self.loss, self.head, self.policy, task, f"{self.query} to {self.target}"


def rows(records: Sequence[Record]) -> list[SummaryRow]:
    """Return a row for each training, policy, merge and direction that has figures."""
    values: dict[Key, dict[str, list[float]]] = {}
    seeds: dict[Key, dict[int, None]] = {}
    for record in records:
        names = record["method"], record["loss"], record["head"]
        for matrix in record["results"]:
            key = *names, matrix["policy"], matrix["merge"], matrix["query"], matrix["target"]
            seeds.setdefault(key, {})[record["seed"]] = None
            by_figure = values.setdefault(key, {})
            for measure, field in MEASURES.items():
                if matrix[field] is not None:
                    by_figure.setdefault(f"{measure}@{matrix['k']}", []).append(matrix[field])
    return [
        SummaryRow(*key, tuple(seeds[key]), {name: _estimate(some) for name, some in by_figure.items()})
        for key, by_figure in values.items()
        if by_figure
    ]


def write(folder: Path, rows: Sequence[SummaryRow], runs: int) -> None:
    """Write the tables of so many runs to a folder: results.json, and table.csv, .md and .tex."""
    content = {"format": FORMAT, "runs": runs, "rows": [asdict(row) for row in rows]}
    files.replace(folder / "results.json", files.to_json(content))
    files.replace(folder / "table.csv", to_csv(rows).encode())
    files.replace(folder / "table.md", to_markdown(rows).encode())
    files.replace(folder / "table.tex", to_latex(rows).encode())


def to_csv(rows: Sequence[SummaryRow]) -> str:
    """Return a line for each figure."""
    text = io.StringIO()
    lines = csv.writer(text)
    names = ("method", "loss", "head", "policy", "merge", "query", "target")
    lines.writerow([*names, "k", "metric", "mean", "sd", "n", "seeds"])
    for row in rows:
        for name, figure in row.figures.items():
            metric, _, k = name.partition("@")
            sd = "" if figure.sd is None else figure.sd
            labels = (getattr(row, label) or "known" for label in names)
            seeds = " ".join(map(str, row.seeds))
            lines.writerow([*labels, k, metric, figure.mean, sd, figure.n, seeds])
    return text.getvalue()


def to_markdown(rows: Sequence[SummaryRow]) -> str:
    """Return a table in which a label that all rows share is left out."""
    head, *body = _cells(rows, lambda text: text.replace("|", "\\|"), "±")
    marks = ["---"] * len(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, marks, *body))


def to_latex(rows: Sequence[SummaryRow]) -> str:
    """Return the same table as a plain tabular."""
    head, *body = _cells(rows, lambda text: text.translate(ESCAPES), r"$\pm$")
    labels = len(_varying_labels(rows))
    columns = "l" * labels + "r" * (len(head) - labels)
    lines = [" & ".join(line) + r" \\" for line in (head, *body)]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"]
    return "\n".join([*lines, r"\end{tabular}", ""])


def _estimate(values: Sequence[float]) -> Estimate:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(statistics.mean(values), sd, len(values))


def _cells(rows: Sequence[SummaryRow], plain: Callable[[str], str], plus_minus: str) -> list[list[str]]:
    """Return the header and the lines of a table."""
    varying = _varying_labels(rows)
    every = dict.fromkeys(name for row in rows for name in row.figures)
    names = [name for measure in HEADINGS for name in every if name.startswith(f"{measure}@")]
    headings = [f"{HEADINGS[measure]}@{k}" for measure, _, k in (name.partition("@") for name in names)]
    body = [
        [plain(row.labels[place]) for place in varying]
        + [_cell(row.figures.get(name), plus_minus) for name in names]
        for row in rows
    ]
    return [[LABELS[place] for place in varying] + headings, *body]


def _varying_labels(rows: Sequence[SummaryRow]) -> list[int]:
    """Return the places of the labels in which rows differ, the method's at least."""
    return [
        place for place in range(len(LABELS)) if not place or len({row.labels[place] for row in rows}) > 1
    ]


def _cell(figure: Estimate | None, plus_minus: str) -> str:
    if figure is None:
        return "-"
    mean = f"{figure.mean:.3f}".replace("-0.000", "0.000")
    if figure.sd is None:
        return mean
    return f"{mean} {plus_minus} {f'{figure.sd:.3f}'.removeprefix('0')}"
