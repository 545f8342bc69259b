"""Features of two encoders do not mix: a source that brings other ones under ids that were there is refused."""

from itertools import islice
from pathlib import Path

from engine.errors import Setting, UserError
from engine.ids import item_id
from engine.ingest.matching import Matcher
from engine.sources.base import Row
from engine.storage.rows import ids_of
from engine.types import ItemId

LOOKED_AT = 512
"""Rows at the beginning of a source that are compared with what is stored."""

FEWEST = 10
"""So many must have changed before it is taken for another encoder."""


def refuse_another(matcher: Matcher) -> None:
    """Raise where most rows of a features file that are stored hold other features than they did.

    Rows are known again by the ids they give: in the same source and task, or in any other.
    """
    if not matcher.collection.widths:
        return
    elsewhere = _by_id(matcher)
    rows = (row for row in matcher.collection.rows() if isinstance(row, Row) and row.features and row.id)
    known = changed = 0
    for row in islice(rows, LOOKED_AT):
        stored = matcher.stored(matcher.task_of(row), row.name)
        before = elsewhere.get(row.id or "", set()) if stored is None else set(ids_of(stored))
        if before:
            now = {item_id(modality, array.tobytes()) for modality, array in row.features.items()}
            known += 1
            changed += not now & before
    if changed > max(FEWEST, known - changed):
        raise _refusal(matcher.collection.source, changed, known)


def _by_id(matcher: Matcher) -> dict[str, set[ItemId]]:
    """Return the items of the features that other sources brought, by the ids that their rows gave."""
    modalities, source = set(matcher.collection.widths), str(matcher.collection.source)
    by_id: dict[str, set[ItemId]] = {}
    for row in matcher.store.rows():
        if row.id and row.source != source:
            by_id.setdefault(row.id, set()).update(*(row.items.get(modality, ()) for modality in modalities))
    return by_id


def _refusal(source: Path, changed: int, known: int) -> UserError:
    workspace, reread = Setting("workspace", "DIR"), Setting("reread")
    return UserError(
        f"{source}: {changed} of {known} rows that are stored have other features now, and those of two encoders do "
        f"not mix: index it elsewhere with {workspace}, or if the encoder is the same read it again with {reread}",
        [workspace, reread],
    )
