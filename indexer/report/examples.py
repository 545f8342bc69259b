"""The section of a report that shows what was forgotten: queries, their right items, what stands first instead."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from engine.storage.store import Store
from engine.types import ItemId, PolicyName
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.runs import Trial
from indexer.report import html
from indexer.report.regressions import Fall, falls
from indexer.report.sections import section

SHOWN = 10
SIDE = 160
LETTERS = 240
TITLE = "Most forgotten"


def examples(evaluation: Evaluation, directions: Sequence[Trial], k: int) -> list[Fall]:
    """Return what fell furthest in each direction as it is served, or, where nothing did, under another policy."""
    share = max(1, SHOWN // len(directions))
    for policy in _policies(evaluation):
        found = [fall for way in directions for fall in falls(way, policy, k)[:share]]
        if found:
            return found[:SHOWN]
    return []


def show(evaluation: Evaluation, directions: Sequence[Trial], k: int) -> str:
    """Return the section; a line where nothing was forgotten."""
    found = examples(evaluation, directions, k)
    if not found:
        return section(
            TITLE, f"No query has lost a right item that it once found among its first {k}.", "", []
        )
    served = ", which is served" if found[0].policy == evaluation.workspace.manifest.served.policy else ""
    note = (
        f"Found among the first {k} when their task was taught, and fallen furthest since, under {found[0].policy}"
        f"{served}; the task known."
    )
    cards = "".join(_card(evaluation.store, fall) for fall in found)
    return section(TITLE, note, "", [("", cards)])


def _policies(evaluation: Evaluation) -> list[PolicyName]:
    """Return the policies that are looked at: the one that is served first."""
    first: list[PolicyName] = [evaluation.workspace.manifest.served.policy, "no-reindex", "reindex"]
    return list(dict.fromkeys(policy for policy in first if policy in evaluation.settings.policies))


def _card(store: Store, fall: Fall) -> str:
    said = f"<b>{html.words(fall.task, 60)}</b>, {escape(fall.query)} to {escape(fall.target)}"
    shown = (
        ("asked", fall.asked),
        ("right", fall.right),
        ("first when taught", fall.top_before),
        ("first now", fall.top_after),
    )
    figures = "".join(
        f"<figure><figcaption>{caption}</figcaption>{_item(store, id)}</figure>" for caption, id in shown
    )
    return f'<div class="fall"><p>{said}: from rank {fall.before} to {fall.after}</p>{figures}</div>\n'


def _item(store: Store, id: ItemId) -> str:
    """Return an item as a picture, its text, or the name of its file."""
    found = store.item(id)
    if found is None:
        return html.words(id, 32)
    item = found[0]
    path = item.paths[0] if item.paths else ""
    drawn = html.picture(Path(path), SIDE) if item.modality == "image" and path else ""
    return drawn or html.words(item.text or path or id, LETTERS)
