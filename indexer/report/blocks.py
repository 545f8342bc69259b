"""What the sections of a report are made of: titles, notes, legends, tables, and matrices as heat maps."""

from collections.abc import Sequence
from html import escape

from engine.types import MergeName, Modality
from indexer.evaluation.composed_queries import parts
from indexer.evaluation.results import Cells, Result
from indexer.report import html, theme
from indexer.report.narrative import MeanCause, share

TASK_KNOWLEDGE: dict[MergeName | None, str] = {
    None: "task known",
    "raw": "unknown, by cosine",
    "routed": "unknown, by probability",
}
"""What a result says about the task of a query, by its merge."""

MOST_NAMED = 12
"""Most tasks or lessons of a heat map that has names and numbers."""


def section(title: str, note: str, blocks: Sequence[tuple[str, str]], *, style: str = "") -> str:
    """Return a section: a title, a line of text, and blocks of HTML, titled where there are several.

    Args:
        style: the CSS class of what holds the blocks; `row wide` sets them side by side where there is room.
    """
    several = len(blocks) > 1
    body = "".join(
        f"<div>{f'<h3>{name}</h3>' if several and name else ''}{block}</div>\n" for name, block in blocks
    )
    attribute = f' class="{style}"' if style else ""
    return f'<h2>{title}</h2>\n<p class="note">{note}</p>\n<div{attribute}>{body}</div>\n'


def folded(blocks: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return one block: the first, and the others behind a line to click on."""
    rest = "".join(f"<details><summary>{name}</summary>{block}</details>" for name, block in blocks[1:])
    return [(name, f"<h3>{name}</h3>{block}{rest}" if rest else block) for name, block in blocks[:1]]


def row(figures: Sequence[tuple[str, str]]) -> str:
    """Return captioned figures of HTML side by side, as many as there is room for."""
    cells = "".join(f"<div><h4>{caption}</h4>{figure}</div>" for caption, figure in figures)
    return f'<div class="row">{cells}</div>'


def legend(names: Sequence[str], marks: Sequence[str] = ()) -> str:
    """Return what the colours stand for, by the names (HTML) in their order, and what marks mean."""
    colours = "".join(
        f'<li><i style="background:{theme.variable(n)}"></i>{name}</li>' for n, name in enumerate(names)
    )
    return f'<ul class="legend">{colours}{"".join(f"<li>{mark}</li>" for mark in marks)}</ul>'


def direction_title(query: Modality, target: Modality) -> str:
    """Return a direction's name as HTML: Text to image."""
    name = f"{'+'.join(parts(query))} to {target}"
    return escape(name[0].upper() + name[1:])


def plural(count: int, noun: str) -> str:
    """Return a count and its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def policy_table(results: Sequence[Result]) -> str:
    """Return one direction's table: a row for each policy, recall and forgetting by merge, the best marked."""
    by_merge: dict[MergeName | None, list[Result]] = {}
    for result in results:
        by_merge.setdefault(result.merge, []).append(result)
    titles = "".join(f'<th colspan="2">{TASK_KNOWLEDGE[merge]}</th>' for merge in by_merge)
    rows = [
        f"<tr><th></th>{titles}</tr>",
        f"<tr><th></th>{'<th>recall</th><th>lost</th>' * len(by_merge)}</tr>",
    ]
    best = {merge: _best(group) for merge, group in by_merge.items()}
    for policy in dict.fromkeys(result.policy for result in results):
        cells = "".join(
            _marked(value, top)
            for r in results
            if r.policy == policy
            for value, top in zip((r.final, r.forgetting), best[r.merge], strict=True)
        )
        rows.append(f"<tr><td>{policy}</td>{cells}</tr>")
    random = "".join(f"<td>{share(group[0].mean_chance)}</td><td></td>" for group in by_merge.values())
    rows.append(f"<tr><td>chance</td>{random}</tr>")
    return _scrolled(rows)


def cause_table(means: Sequence[MeanCause]) -> str:
    """Return the table of what has become of old tasks in one direction; nothing where there are none."""
    if not means:
        return ""
    query, target, merge = means[0].query, means[0].target, means[0].merge
    titles = (
        "",
        f"drift, {query}",
        f"drift, {target}",
        "cosine of pairs, new",
        "now",
        f"others in top ten, {merge}",
    )
    rows = ["<tr>" + "".join(f"<th>{escape(title)}</th>" for title in titles) + "</tr>"]
    for mean in means:
        values = (
            mean.drift[query],
            mean.drift[target],
            mean.alignment_when_new,
            mean.alignment,
            mean.overlap,
        )
        cells = "".join(f"<td>{round(value, 2) + 0.0:.2f}</td>" for value in values)
        rows.append(f"<tr><td>{mean.policy}</td>{cells}</tr>")
    return _scrolled(rows)


def heat_map(matrix: Cells, tasks: Sequence[str], lessons: Sequence[str], top: float) -> str:
    """Return a matrix coloured by recall: a row for each lesson, a column for each task.

    Above MOST_NAMED lessons or tasks it has colours alone.

    Args:
        top: the recall of the strongest colour.
    """
    if max(len(tasks), len(lessons)) > MOST_NAMED:
        rows = [f"<tr>{''.join(_cell(value, top, '') for value in row)}</tr>" for row in matrix]
        return f'<table class="heat fine">{"".join(rows)}</table>'
    names = "".join(f"<th><span>{html.words(task, 40)}</span></th>" for task in tasks)
    rows = [f"<tr><th></th>{names}</tr>"]
    for number, (lesson, row) in enumerate(zip(lessons, matrix, strict=True), 1):
        cells = "".join(_cell(value, top, f"{value or 0:.2f}".removeprefix("0")) for value in row)
        rows.append(f"<tr><th>{number} {html.words(lesson, 40)}</th>{cells}</tr>")
    return f'<table class="heat">{"".join(rows)}</table>'


def _cell(value: float | None, top: float, text: str) -> str:
    return "<td></td>" if value is None else f'<td style="--share: {value / (top or 1):.0%}">{text}</td>'


def _marked(value: float | None, best: float) -> str:
    # by what is shown: a mean of falls and gains may miss 0 by a rounding error
    mark = ' class="best"' if value is not None and share(value) == share(best) else ""
    return f"<td{mark}>{share(value)}</td>"


def _best(results: Sequence[Result]) -> tuple[float, float]:
    """Return the highest recall and the lowest forgetting."""
    recall = max((result.final for result in results if result.final is not None), default=0.0)
    return recall, min((r.forgetting for r in results if r.forgetting is not None), default=0.0)


def _scrolled(rows: Sequence[str]) -> str:
    return f'<div class="scroll"><table>{"".join(rows)}</table></div>'
