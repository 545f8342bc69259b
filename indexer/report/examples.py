"""The section of a report that shows what was forgotten: queries, their right items, what stands first instead."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from engine.storage.store import Store
from engine.types import ItemId, PolicyName
from indexer.report import blocks, html
from indexer.report.regressions import Regression, regressions
from indexer.report.sections import Report

SHOWN = 10
SIDE = 160
LETTERS = 240
TITLE = "Most forgotten"


def worst(report: Report) -> list[Regression]:
    """Return what fell furthest in each direction as it is served, or, where nothing did, under another policy."""
    share = max(1, SHOWN // len(report.directions))
    for policy in _policies(report):
        each = [regressions(direction, policy, report.k)[:share] for direction in report.directions]
        fallen = [regression for part in each for regression in part]
        if fallen:
            return fallen[:SHOWN]
    return []


def section(report: Report) -> str:
    """Return the section; a line where nothing was forgotten."""
    fallen = worst(report)
    if not fallen:
        return blocks.section(
            TITLE, f"No query has lost a right item that it once found among its first {report.k}.", []
        )
    policy = fallen[0].policy
    served = ", which is served" if policy == report.evaluation.workspace.manifest.served.policy else ""
    note = (
        f"Found among the first {report.k} when their task was taught, and fallen furthest since, under "
        f"{policy}{served}; the task known."
    )
    cards = "".join(_card(report.evaluation.store, regression) for regression in fallen)
    return blocks.section(TITLE, note, [("", cards)])


def _policies(report: Report) -> list[PolicyName]:
    """Return the evaluated ones of the policies that are looked at: the one that is served first."""
    served: PolicyName = report.evaluation.workspace.manifest.served.policy
    candidates: Sequence[PolicyName] = (served, "no-reindex", "reindex")
    return [policy for policy in dict.fromkeys(candidates) if policy in report.evaluation.settings.policies]


def _card(store: Store, regression: Regression) -> str:
    task = html.words(regression.task, 60)
    direction = escape(f"{regression.query} to {regression.target}")
    captioned = (
        ("asked", regression.asked),
        ("right", regression.right),
        ("first when taught", regression.top_before),
        ("first now", regression.top_after),
    )
    figures = "".join(
        f"<figure><figcaption>{caption}</figcaption>{_item(store, id)}</figure>" for caption, id in captioned
    )
    fall = f"<b>{task}</b>, {direction}: from rank {regression.before} to {regression.after}"
    return f'<div class="fall"><p>{fall}</p>{figures}</div>\n'


def _item(store: Store, id: ItemId) -> str:
    """Return an item as a picture, its text, or the name of its file."""
    record = store.item(id)
    if record is None:
        return html.words(id, 32)
    item, *_ = record
    path = item.paths[0] if item.paths else ""
    picture = html.picture(Path(path), SIDE) if item.modality == "image" and path else ""
    return picture or html.words(item.text or path or id, LETTERS)
