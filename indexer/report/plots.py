"""The figures of a report that need axes, drawn by matplotlib, which is imported when the first one is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.types import MergeName
from indexer.report import theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAR_APART = 20
"""How many times the least cost the greatest must be for a scale of powers of ten."""

MARKERS: dict[MergeName | None, str] = {None: "o", "raw": "s", "routed": "^"}
"""By how shards are merged; None: the task of a query is known."""


@dataclass(frozen=True)
class CostPoint:
    """What one way of serving costs after a lesson, and what it finds.

    Attributes:
        label: the policy, or the method of a reference.
        merge: None: the task is known.
    """

    label: str
    merge: MergeName | None
    seconds: float
    bytes: int
    recall: float


@dataclass(frozen=True)
class Scatter:
    """Points of the plane (N, 2), the number of each one's task (N,), and whether it is a query (N,)."""

    places: NDArray[np.float32]
    tasks: NDArray[np.intp]
    is_query: NDArray[np.bool_]


def curves(lines: Mapping[str, Sequence[float | None]], limit: float, chance: Sequence[float | None]) -> str:
    """Return mean recall after each lesson, a line for each policy, from 0 to a limit; chance is dotted."""
    from matplotlib.ticker import MaxNLocator

    with theme.drawing():
        figure, axes = _axes(3.6, 2.5, (0.35, 0.45, 0.1, 0.1))
        for n, line in enumerate(lines.values()):
            after = range(1, len(line) + 1)
            axes.plot(after, _floats(line), color=theme.stand_in(n), linewidth=2, marker="o", markersize=3.5)
        axes.plot(range(1, len(chance) + 1), _floats(chance), color=theme.MUTED, linewidth=1, linestyle=":")
        axes.set_ylim(0, limit)
        axes.set_xlabel("after lesson")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=theme.LINE, linewidth=0.6)
        return theme.svg(figure, "mean recall after each lesson: " + ", ".join(lines))


def costs(points: Sequence[CostPoint], labels: Sequence[str], spent: Sequence[float], unit: str) -> str:
    """Return recall against cost, with the best that can be had for each cost, task known and unknown.

    Args:
        labels: every point's label once, in the order of their colours.
        spent: by each point, in the unit, at least 0.
    """
    top = max(spent, default=0) or 1.0
    recalls = [point.recall for point in points]
    slack = max(0.02, 0.08 * (max(recalls, default=1) - min(recalls, default=0)))
    with theme.drawing():
        figure, axes = _axes(5.2, 3.2, (0.6, 0.45, 0.25, 0.1))
        for known in (True, False):
            pairs = [
                (cost, p.recall) for cost, p in zip(spent, points, strict=True) if (p.merge is None) is known
            ]
            steps = pareto_front(pairs)
            if steps:
                x, y = zip(*steps, (top * 2, steps[-1][1]), strict=True)
                axes.step(x, y, "-" if known else "--", where="post", color=theme.MUTED, linewidth=1)
        for cost, point in zip(spent, points, strict=True):
            colour = theme.stand_in(labels.index(point.label))
            axes.plot([cost], [point.recall], MARKERS[point.merge], color=colour, markersize=7, alpha=0.85)
        _scale(axes, spent, top)
        axes.set_ylim(min(recalls, default=0) - slack, max(recalls, default=1) + slack)
        axes.set_xlabel(unit)
        axes.set_ylabel("recall")
        axes.grid(color=theme.LINE, linewidth=0.6)
        return theme.svg(figure, f"recall against {unit}")


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (cost, gain) that no other one beats in both, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or gain > front[-1][1]:
            front.append((cost, gain))
    return front


def scatter(points: Scatter) -> str:
    """Return a map of embeddings: a colour for each task, circles for items, crosses for queries."""
    with theme.drawing():
        figure, axes = _axes(3.2, 3.2, (0.02, 0.02, 0.02, 0.02))
        for is_query, marker in ((False, "o"), (True, "x")):
            for task in np.unique(points.tasks):
                x, y = points.places[(points.tasks == task) & (points.is_query == is_query)].T
                colour = theme.stand_in(int(task))
                axes.plot(x, y, marker, color=colour, markersize=3.2, alpha=0.75, markeredgewidth=0.9)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal", "datalim")
        axes.spines[:].set_visible(True)
        return theme.svg(figure, "a map of embeddings, coloured by task")


def _scale(axes: "Axes", spent: Sequence[float], top: float) -> None:
    """Set the scale of costs: by powers of ten from the least above 0 on where they are far apart."""
    from matplotlib.ticker import MaxNLocator

    least = min((cost for cost in spent if cost > 0), default=top)
    if top > FAR_APART * least:
        axes.set_xscale("symlog", linthresh=least)
        axes.set_xlim(-0.3 * least, 2 * top)
    else:
        axes.set_xlim(-0.04 * top, 1.06 * top)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, place: f"{value:g}")


def _axes(width: float, height: float, margins: tuple[float, float, float, float]) -> tuple["Figure", "Axes"]:
    """Return an empty figure and its axes; sizes in inches, margins left, bottom, right, top.

    Margins are fixed, since a layout that measures its texts draws everything twice.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    left, bottom, right, top = margins
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    axes = figure.add_axes(box)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    return figure, axes


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Return values as matplotlib takes them; None becomes a gap in the line."""
    return np.array([np.nan if value is None else value for value in values], np.float64)
