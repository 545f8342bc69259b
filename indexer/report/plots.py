"""The figures of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from indexer.evaluation.results import Cells
from indexer.report import theme

MOST_CELLS = 12
"""Most tasks or lessons of a heat map that has names and numbers."""

APART = 20
"""How many times the least cost the greatest must be for a scale of powers of ten."""

MARKERS = {"known": "o", "by cosine": "s", "by probability": "^"}
"""How the task of a query is treated: it is known, or shards are merged."""


@dataclass(frozen=True)
class Point:
    """What one way of serving costs after a lesson, and what it finds.

    Attributes:
        label: the policy, or the method of a reference.
        how: one of MARKERS.
    """

    label: str
    how: str
    seconds: float
    bytes: int
    recall: float


@dataclass(frozen=True)
class Cloud:
    """Points of the plane (N, 2), the number of each one's task, and whether it is a query (N,)."""

    places: NDArray[np.float32]
    tasks: NDArray[np.intp]
    asks: NDArray[np.bool_]


def figure(value: float | None) -> str:
    """Return a share with three decimals, as tables have it: .392."""
    if value is None:
        return "-"
    shown = f"{round(value, 3) + 0.0:.3f}"  # the sum turns -0 into 0
    return shown.replace("0.", ".", 1) if shown.lstrip("-").startswith("0") else shown


def short(name: str, most: int = 14) -> str:
    """Return a name that fits beside an axis."""
    return name if len(name) <= most else name[: most - 1] + "…"


def heat(cells: Cells, tasks: Sequence[str], lessons: Sequence[str], top: float) -> str:
    """Return a matrix: a row for each lesson, a column for each task.

    Args:
        top: the recall of the strongest colour.
    """
    values = np.stack([_numbers(row) for row in cells])
    rows, columns = values.shape
    told = max(rows, columns) <= MOST_CELLS
    colours = np.zeros((rows, columns, 4))
    colours[..., :3] = to_rgb(theme.HEAT)
    colours[..., 3] = np.nan_to_num(values).clip(0) / (top or 1)
    with theme.drawing():
        plot, axes = _plot(3.2, 0.7 + 1.4 * min(rows / columns, 2), (0.85, 0.05, 0.35, 0.65))
        axes.pcolormesh(
            colours, edgecolors=theme.BACK if told else "none", linewidth=1.5, rasterized=not told
        )
        axes.invert_yaxis()
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        axes.set_xticks([], [])
        axes.set_yticks([], [])
        if told:
            names = [short(task, 10) for task in tasks]
            axes.set_xticks(np.arange(columns) + 0.35, names, rotation=40, ha="left", rotation_mode="anchor")
            after = [f"{n} {short(lesson, 9)}" for n, lesson in enumerate(lessons, 1)]
            axes.set_yticks(np.arange(rows) + 0.5, after)
            for (row, column), value in np.ndenumerate(values):
                if not np.isnan(value):
                    said = f"{value:.2f}".removeprefix("0")
                    axes.text(column + 0.5, row + 0.5, said, ha="center", va="center", fontsize=8)
        return theme.svg(plot, "recall after each lesson (rows) on each task (columns)")


def curves(lines: Mapping[str, Sequence[float | None]], limit: float, chance: Sequence[float | None]) -> str:
    """Return mean recall after each lesson, a line for each policy, from 0 to a limit; chance is dotted."""
    with theme.drawing():
        plot, axes = _plot(3.6, 2.5, (0.35, 0.45, 0.1, 0.1))
        for n, values in enumerate(lines.values()):
            after = range(1, len(values) + 1)
            axes.plot(after, _numbers(values), color=theme.of(n), linewidth=2, marker="o", markersize=3.5)
        axes.plot(range(1, len(chance) + 1), _numbers(chance), color=theme.MUTED, linewidth=1, linestyle=":")
        axes.set_ylim(0, limit)
        axes.set_xlabel("after lesson")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=theme.LINE, linewidth=0.6)
        return theme.svg(plot, "mean recall after each lesson: " + ", ".join(lines))


def price(points: Sequence[Point], labels: Sequence[str], cost: Sequence[float], unit: str) -> str:
    """Return recall against cost, with the best that can be had for each cost, task known and unknown.

    Args:
        labels: every point's label once, in the order of their colours.
        cost: of each point, at least 0.
    """
    top = max(cost, default=0) or 1.0
    gains = [point.recall for point in points]
    slack = max(0.02, 0.08 * (max(gains, default=1) - min(gains, default=0)))
    with theme.drawing():
        plot, axes = _plot(5.2, 3.2, (0.6, 0.45, 0.25, 0.1))
        for known in (True, False):
            held = [(c, p.recall) for c, p in zip(cost, points, strict=True) if (p.how == "known") is known]
            steps = [*front(held)]
            if steps:
                x, y = zip(*steps, (top * 2, steps[-1][1]), strict=True)
                style = "-" if known else "--"
                axes.step(x, y, where="post", color=theme.MUTED, linewidth=1, linestyle=style)
        for c, point in zip(cost, points, strict=True):
            colour = theme.of(labels.index(point.label))
            axes.plot([c], [point.recall], MARKERS[point.how], color=colour, markersize=7, alpha=0.85)
        _scale(axes, [c for c in cost if c > 0], top)
        axes.set_ylim(min(gains, default=0) - slack, max(gains, default=1) + slack)
        axes.set_xlabel(unit)
        axes.set_ylabel("recall")
        axes.grid(color=theme.LINE, linewidth=0.6)
        return theme.svg(plot, f"recall against {unit}")


def _scale(axes: Axes, paid: Sequence[float], top: float) -> None:
    """Set the scale of costs: by powers of ten from the least on where they are far apart."""
    least = min(paid, default=top)
    if top > APART * least:
        axes.set_xscale("symlog", linthresh=least)
        axes.set_xlim(-0.3 * least, 2 * top)
    else:
        axes.set_xlim(-0.04 * top, 1.06 * top)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, place: f"{value:g}")


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (cost, gain) that no other one beats in both, by rising cost."""
    best: list[tuple[float, float]] = []
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or gain > best[-1][1]:
            best.append((cost, gain))
    return best


def cloud(found: Cloud) -> str:
    """Return a map of embeddings: a colour for each task, circles that are asked, crosses that ask."""
    with theme.drawing():
        plot, axes = _plot(3.2, 3.2, (0.02, 0.02, 0.02, 0.02))
        for asks, marker in ((False, "o"), (True, "x")):
            for task in np.unique(found.tasks):
                x, y = found.places[(found.tasks == task) & (found.asks == asks)].T
                axes.plot(
                    x, y, marker, color=theme.of(int(task)), markersize=3.2, alpha=0.75, markeredgewidth=0.9
                )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal", "datalim")
        axes.spines[:].set_visible(True)
        return theme.svg(plot, "a map of embeddings, coloured by task")


def _plot(width: float, height: float, margins: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    """Return an empty figure and its axes; sizes in inches, margins left, bottom, right, top.

    Margins are fixed, since a layout that measures its texts draws everything twice.
    """
    plot = Figure(figsize=(width, height))
    left, bottom, right, top = margins
    place = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    axes = plot.add_axes(place)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    return plot, axes


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)
