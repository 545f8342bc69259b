"""Figures as text for people and as CSV for spreadsheets."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.errors import Setting
from engine.ids import counted
from engine.storage import output
from indexer.evaluation.results import Result
from indexer.serving import export, remove
from indexer.serving.index import IndexSummary
from indexer.serving.preview import ReindexPreview
from indexer.serving.reindex import ReindexSummary
from indexer.serving.status import Status

MOST_LINES = 20
"""Lines that people are shown of an evaluation unless they ask for everything."""

ALL = Setting("all")
"""What shows the rest of them."""

COLUMNS = ("policy", "query", "target", "task", "k", "recall", "chance", "forgetting", "bwt")


def evaluation(results: Sequence[Result], *, everything: bool = True) -> str:
    """Return a table with a line for each matrix: what stands after the last lesson, and what was lost.

    Args:
        everything: every K; else the largest alone, and no more than MOST_LINES lines.
    """
    most = max((result.k for result in results), default=0)
    shown = [result for result in results if everything or result.k == most]
    if not everything and len(shown) > MOST_LINES - 2:
        shown = shown[: MOST_LINES - 2]
    rest = len(results) - len(shown)
    more = f"\n{counted(rest, 'row')} more: {ALL}" if rest else ""
    return aligned([COLUMNS, *(_cells(result) for result in shown)]) + more


def write_csv(path: Path, results: Sequence[Result]) -> None:
    """Write the same table as CSV.

    Raises:
        UserError: the file cannot be written.
    """
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *(_cells(result) for result in results)])
    output.write(path, text.getvalue().encode())


def indexed(summary: IndexSummary) -> str:
    """Return what `mneme index` prints for people."""
    built = f"{counted(summary.shards_built, 'shard')} built in {summary.seconds:.1f} s"
    return f"{_changes(summary)}; {built}\nitems: {_counts(summary.items)}"


def foreseen(summary: IndexSummary) -> str:
    """Return what `mneme index --dry-run` prints for people."""
    items = _counts(summary.items) or "none"
    return f"would be: {_changes(summary)}; nothing is written\nitems now: {items}"


def _changes(summary: IndexSummary) -> str:
    """Return what became of rows; those that moved or were kept are told where there are any."""
    rare = {"moved": summary.moved, "kept": summary.kept}
    moved, kept = (f"{count} {what}, " if count else "" for what, count in rare.items())
    rows = f"{summary.added} added, {summary.updated} updated, {moved}{summary.removed} removed"
    others = f"{summary.unchanged} unchanged, {kept}{len(summary.skipped)} skipped"
    return f"{rows}, {others}"


def reindexed(summary: ReindexSummary) -> str:
    """Return what `mneme reindex` and `mneme rollback` print for people."""
    own = "".join(f", {direction} {policy}" for direction, policy in sorted(summary.policies.items()))
    built = f"{counted(summary.shards, 'shard')}, {summary.shards_built} built, {summary.seconds:.1f} s"
    return f"policy {summary.policy}{own}: {built}"


def exported(summary: export.ExportSummary) -> str:
    """Return what `mneme export` prints for people."""
    size = f"{counted(summary.rows, 'row')}, {summary.bytes / 1e6:.1f} MB"
    return f"{counted(len(summary.files), 'file')}, {size}, {summary.seconds:.1f} s"


def preview(expected: ReindexPreview) -> str:
    """Return what `mneme reindex --dry-run` prints for people."""
    size = f"{expected.bytes / 1e6:.1f} MB"
    cost = f"{counted(expected.items, 'item')} to embed, {size}, about {expected.seconds:.1f} s"
    choices = [("task", "own head", "chosen", "log-likelihood gained", "standard error", "pairs")]
    for choice in expected.choices:
        gained = (f"{choice.gain:.3f}", f"{choice.error:.3f}", str(choice.queries))
        choices.append((choice.task, f"v{choice.own:04d}", f"v{choice.version:04d}", *gained))
    recalls = [("query", "target", "task", "known", "queries", "R@10 now", "then")]
    for recall in expected.recall:
        known = "known" if recall.task_known else "unknown"
        figures = (str(recall.queries), f"{recall.now:.3f}", f"{recall.then:.3f}")
        recalls.append((recall.query, recall.target, recall.task, known, *figures))
    overlaps = [("query", "target", "task", "queries", "top ten kept", "rank-biased overlap")]
    for overlap in expected.overlap:
        kept = (str(overlap.queries), f"{overlap.overlap:.2f}", f"{overlap.rbo:.2f}")
        overlaps.append((overlap.query, overlap.target, overlap.task, *kept))
    tables = [aligned(rows) for rows in (choices, recalls, overlaps) if len(rows) > 1]
    return "\n\n".join([cost, *tables])


def removed(summary: remove.RemovalSummary) -> str:
    """Return what `mneme remove` prints for people."""
    kept = f", {summary.kept} kept for other tasks" if summary.kept else ""
    return (
        f"features of {counted(summary.items, 'item')} of {summary.task} removed "
        f"({summary.bytes / 1e6:.1f} MB){kept} in {summary.seconds:.1f} s"
    )


def rows_removed(summary: remove.RowRemoval) -> str:
    """Return what `mneme remove` prints for people."""
    would = "would be " if summary.dry_run else ""
    tasks = ", ".join(f"{task} (all)" if task in summary.emptied else task for task in summary.tasks)
    return (
        f"{counted(summary.rows, 'row')} of {tasks} and {counted(summary.items, 'item')} "
        f"with {summary.bytes / 1e6:.1f} MB of features {would}removed in {summary.seconds:.1f} s"
    )


def status(holds: Status) -> str:
    """Return what `mneme status` prints for people."""
    backbone = ", ".join(f"{modality} by {spec}" for modality, spec in sorted(holds.backbone.items()))
    rows = [("task", "head", "items")]
    for task in holds.tasks:
        head = "-" if task.head is None else f"v{task.head:04d}"
        rows.append((task.task, head, _counts(task.items)))
    lessons = " > ".join(lesson.task for lesson in holds.lessons) or "none"
    facts = [
        f"items:    {_counts(holds.items) or 'none'}",
        f"backbone: {backbone}",
        f"policy:   {holds.policy}",
        f"lessons:  {lessons}",
        f"shards:   {len(holds.shards)}",
        f"on disk:  {holds.bytes / 1e6:.1f} MB",
    ]
    return "\n".join([*facts, "", aligned(rows)])


def _counts(items: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {modality}" for modality, count in sorted(items.items()))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns of one width."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _cells(result: Result) -> tuple[str, ...]:
    trained = "" if result.seconds is None else f" (trained {result.seconds:.0f} s)"
    return (
        result.policy + trained,
        result.query,
        result.target,
        "known" if result.task_known else f"unknown, {result.merge}",
        str(result.k),
        _decimals(result.final),
        _decimals(result.mean_chance),
        _decimals(result.forgetting),
        _decimals(result.bwt),
    )


def _decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
