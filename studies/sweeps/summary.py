"""Tables of a sweep: means and standard deviations over seeds, in Markdown, CSV and LaTeX."""

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Result: TypeAlias = Mapping[str, Any]
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
"""What a figure is called, and the field of a result it is read from."""
HEADINGS = {"recall": "R", "forgetting": "forgetting", "bwt": "BWT", "plasticity": "plasticity"}
"""The figures that a table shows; the others are for spreadsheets."""
LABELS = ("method", "loss", "head", "policy", "task", "direction")
ESCAPES = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    }
)


@dataclass(frozen=True)
class Figure:
    """A measure over the seeds that have it; no deviation of fewer than two."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """What one training under one policy comes to in one direction; no merge: the task is known.

    Attributes:
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
    figures: Mapping[str, Figure]

    @property
    def labels(self) -> tuple[str, ...]:
        """The first cells of the row, in the order of LABELS."""
        task = f"unknown, {self.merge}" if self.merge else "known"
        return self.method, self.loss, self.head, self.policy, task, f"{self.query} to {self.target}"


def rows(results: Sequence[Result]) -> list[Row]:
    """Return a row for each training, policy, merge and direction that has figures."""
    found: dict[Key, dict[str, list[float]]] = {}
    seeds: dict[Key, dict[int, None]] = {}
    for result in results:
        for one in result["results"]:
            asked = one["policy"], one["merge"], one["query"], one["target"]
            key = result["method"], result["loss"], result["head"], *asked
            seeds.setdefault(key, {})[result["seed"]] = None
            measured = found.setdefault(key, {})
            for name, measure in MEASURES.items():
                if one[measure] is not None:
                    measured.setdefault(f"{name}@{one['k']}", []).append(one[measure])
    return [
        Row(*key, tuple(seeds[key]), {name: _figure(values) for name, values in measured.items()})
        for key, measured in found.items()
        if measured
    ]


def to_csv(rows: Sequence[Row]) -> str:
    """Return a line for each figure."""
    text = io.StringIO()
    lines = csv.writer(text)
    names = ("method", "loss", "head", "policy", "merge", "query", "target")
    lines.writerow([*names, "k", "metric", "mean", "sd", "n", "seeds"])
    for row in rows:
        for name, figure in row.figures.items():
            metric, _, k = name.partition("@")
            sd = "" if figure.sd is None else figure.sd
            labels = (getattr(row, held) or "known" for held in names)
            seeds = " ".join(map(str, row.seeds))
            lines.writerow([*labels, k, metric, figure.mean, sd, figure.n, seeds])
    return text.getvalue()


def to_markdown(rows: Sequence[Row]) -> str:
    """Return a table in which a label that all rows share is left out."""
    head, *body = _cells(rows, lambda text: text.replace("|", "\\|"), "±")
    marks = ["---"] * len(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, marks, *body))


def to_latex(rows: Sequence[Row]) -> str:
    """Return the same table as a plain tabular."""
    head, *body = _cells(rows, lambda text: text.translate(ESCAPES), r"$\pm$")
    labels = len(_telling(rows))
    columns = "l" * labels + "r" * (len(head) - labels)
    lines = [" & ".join(line) + r" \\" for line in (head, *body)]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"]
    return "\n".join([*lines, r"\end{tabular}", ""])


def _figure(values: Sequence[float]) -> Figure:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Figure(statistics.mean(values), sd, len(values))


def _cells(rows: Sequence[Row], plain: Callable[[str], str], plus_minus: str) -> list[list[str]]:
    """Return the header and the lines of a table."""
    telling = _telling(rows)
    every = dict.fromkeys(name for row in rows for name in row.figures)
    names = [name for measure in HEADINGS for name in every if name.startswith(f"{measure}@")]
    shown = [f"{HEADINGS[measure]}@{k}" for measure, _, k in (name.partition("@") for name in names)]
    body = [
        [plain(row.labels[place]) for place in telling]
        + [_shown(row.figures.get(name), plus_minus) for name in names]
        for row in rows
    ]
    return [[LABELS[place] for place in telling] + shown, *body]


def _telling(rows: Sequence[Row]) -> list[int]:
    """Return the places of the labels that tell rows apart, the method's at least."""
    return [
        place for place in range(len(LABELS)) if not place or len({row.labels[place] for row in rows}) > 1
    ]


def _shown(figure: Figure | None, plus_minus: str) -> str:
    if figure is None:
        return "-"
    mean = f"{figure.mean:.3f}".replace("-0.000", "0.000")
    if figure.sd is None:
        return mean
    return f"{mean} {plus_minus} {f'{figure.sd:.3f}'.removeprefix('0')}"
