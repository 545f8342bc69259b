"""Pieces of a report's page."""

from collections.abc import Sequence
from html import escape

from engine.types import MergeName
from indexer.evaluation.results import Result
from indexer.evaluation.runs import Trial
from indexer.report.narrative import Finding, chance
from indexer.report.plots import figure

HOW: dict[MergeName | None, str] = {None: "known", "raw": "by cosine", "routed": "by probability"}
SAID = {"known": "task known", "by cosine": "unknown, by cosine", "by probability": "unknown, by probability"}


def section(title: str, note: str, kind: str, blocks: Sequence[tuple[str, str]]) -> str:
    """Return a section: a title, a line of text, and titled blocks of HTML.

    Args:
        kind: wide sets blocks side by side where there is room; empty: one below the other.
    """
    several = len(blocks) > 1
    held = "".join(
        f"<div>{f'<h3>{name}</h3>' if several and name else ''}{block}</div>\n" for name, block in blocks
    )
    style = f' class="row {kind}"' if kind else ""
    return f'<h2>{title}</h2>\n<p class="note">{note}</p>\n<div{style}>{held}</div>\n'


def folded(blocks: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return one block: the first, and the others behind a line to click on."""
    rest = "".join(f"<details><summary>{name}</summary>{block}</details>" for name, block in blocks[1:])
    return [(name, f"<h3>{name}</h3>{block}{rest}" if rest else block) for name, block in blocks[:1]]


def key(names: Sequence[tuple[str, str]], marks: Sequence[str] = ()) -> str:
    """Return what stands for what: names, as HTML, with the variables of their colours, and what marks mean."""
    held = "".join(f'<li><i style="background:var(--{colour})"></i>{name}</li>' for name, colour in names)
    return f'<ul class="key">{held}{"".join(f"<li>{mark}</li>" for mark in marks)}</ul>'


def policies(results: Sequence[Result]) -> str:
    """Return one direction's table: a row for each policy, recall and forgetting for each way to be asked."""
    merges = list(dict.fromkeys(result.merge for result in results))
    heads = "".join(f'<th colspan="2">{SAID[HOW[merge]]}</th>' for merge in merges)
    rows = [
        f"<tr><th></th>{heads}</tr>",
        f"<tr><th></th>{'<th>recall</th><th>lost</th>' * len(merges)}</tr>",
    ]
    best = {merge: _best([r for r in results if r.merge == merge]) for merge in merges}
    for policy in dict.fromkeys(result.policy for result in results):
        held = [result for result in results if result.policy == policy]
        cells = "".join(
            f"<td{_marked(r.final is not None and r.final == best[r.merge][0])}>{figure(r.final)}</td>"
            f"<td{_marked(r.forgetting is not None and r.forgetting == best[r.merge][1])}>{figure(r.forgetting)}</td>"
            for r in held
        )
        rows.append(f"<tr><td>{policy}</td>{cells}</tr>")
    first = {merge: next(r for r in results if r.merge == merge) for merge in merges}
    guessed = "".join(f"<td>{figure(chance(first[merge]))}</td><td></td>" for merge in merges)
    rows.append(f"<tr><td>chance</td>{guessed}</tr>")
    return _scrolled(rows)


def causes(found: Sequence[Finding]) -> str:
    """Return the table of what has become of old tasks in one direction."""
    if not found:
        return ""
    query, target = escape(found[0].query), escape(found[0].target)
    heads = (
        "",
        f"drift, {query}",
        f"drift, {target}",
        "cosine of pairs, new",
        "now",
        f"others in top ten, {found[0].merge}",
    )
    rows = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for one in found:
        drift = (one.drift[one.query], one.drift[one.target])
        values = (*drift, one.alignment_when_new, one.alignment, one.overlap)
        rows.append(
            f"<tr><td>{one.policy}</td>{''.join(f'<td>{round(value, 2) + 0.0:.2f}</td>' for value in values)}</tr>"
        )
    return _scrolled(rows)


def named(way: Trial) -> str:
    """Return a direction's name as HTML."""
    said = f"{way.query} to {way.target}"
    return escape(said[0].upper() + said[1:])


def many(count: int, name: str) -> str:
    """Return a count and its noun."""
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def _best(results: Sequence[Result]) -> tuple[float, float]:
    """Return the highest recall and the lowest forgetting."""
    recall = max((result.final for result in results if result.final is not None), default=0.0)
    return recall, min((r.forgetting for r in results if r.forgetting is not None), default=0.0)


def _marked(is_best: bool) -> str:
    return ' class="best"' if is_best else ""


def _scrolled(rows: Sequence[str]) -> str:
    return f'<div class="scroll"><table>{"".join(rows)}</table></div>'
