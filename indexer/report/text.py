"""Figures as text for people and as CSV for spreadsheets."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.storage import files
from indexer.evaluation.results import Result
from indexer.serving import export, remove
from indexer.serving.preview import Forecast
from indexer.serving.reindex import ReindexSummary

COLUMNS = ("policy", "query", "target", "task", "k", "recall", "chance", "forgetting", "bwt")


def evaluation(results: Sequence[Result]) -> str:
    """Return a table with a line for each matrix: what stands after the last lesson, and what was lost."""
    return aligned([COLUMNS, *(_cells(result) for result in results)])


def write_csv(path: Path, results: Sequence[Result]) -> None:
    """Write the same table as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *(_cells(result) for result in results)])
    try:
        files.replace(path, text.getvalue().encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None


def reindexed(report: ReindexSummary) -> str:
    """Return what `mneme reindex` and `mneme rollback` print for people."""
    own = "".join(f", {way} {policy}" for way, policy in sorted(report.policies.items()))
    return f"policy {report.policy}{own}: {report.shards} shards, {report.shards_built} built, {report.seconds:.1f} s"


def exported(report: export.ExportSummary) -> str:
    """Return what `mneme export` prints for people."""
    return (
        f"{len(report.files)} files, {report.rows} rows, {report.bytes / 1e6:.1f} MB, {report.seconds:.1f} s"
    )


def forecast(expected: Forecast) -> str:
    """Return what `mneme reindex --dry-run` prints for people."""
    cost = f"{expected.items} items to embed, {expected.bytes / 1e6:.1f} MB, about {expected.seconds:.1f} s"
    recall = [("query", "target", "task", "known", "queries", "R@10 now", "then")]
    for one in expected.recall:
        known = "known" if one.task_known else "unknown"
        cells = (
            one.query,
            one.target,
            one.task,
            known,
            str(one.queries),
            f"{one.now:.3f}",
            f"{one.then:.3f}",
        )
        recall.append(cells)
    alike = [("query", "target", "task", "queries", "top ten kept", "rank-biased overlap")]
    for two in expected.overlap:
        kept = (str(two.queries), f"{two.overlap:.2f}", f"{two.rbo:.2f}")
        alike.append((two.query, two.target, two.task, *kept))
    chosen = [("task", "own head", "chosen", "log-likelihood gained", "standard error", "pairs")]
    for choice in expected.choices:
        gained = (f"{choice.gain:.3f}", f"{choice.error:.3f}", str(choice.queries))
        chosen.append((choice.task, f"v{choice.own:04d}", f"v{choice.version:04d}", *gained))
    tables = [aligned(rows) for rows in (chosen, recall, alike) if len(rows) > 1]
    return "\n\n".join([cost, *tables])


def removed(done: remove.RemovalSummary) -> str:
    """Return what `mneme remove` prints for people."""
    kept = f", {done.kept} kept for other tasks" if done.kept else ""
    return (
        f"features of {done.items} items of {done.task} removed ({done.bytes / 1e6:.1f} MB){kept} "
        f"in {done.seconds:.1f} s"
    )


def status(content: dict[str, Any]) -> str:
    """Return what `mneme status` prints for people."""
    items = ", ".join(f"{count} {modality}" for modality, count in sorted(content["items"].items()))
    backbone = ", ".join(f"{modality} by {spec}" for modality, spec in sorted(content["backbone"].items()))
    rows = [("task", "head", "items")]
    for task in content["tasks"]:
        held = ", ".join(f"{count} {modality}" for modality, count in sorted(task["items"].items()))
        rows.append((task["task"], "-" if task["head"] is None else f"v{task['head']:04d}", held))
    lessons = " > ".join(lesson["task"] for lesson in content["lessons"]) or "none"
    facts = [
        f"items:    {items or 'none'}",
        f"backbone: {backbone}",
        f"policy:   {content['policy']}",
        f"lessons:  {lessons}",
        f"shards:   {len(content['shards'])}",
        f"on disk:  {content['bytes'] / 1e6:.1f} MB",
    ]
    return "\n".join([*facts, "", aligned(rows)])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns of one width."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _cells(result: Result) -> tuple[str, ...]:
    known = [value for value in result.chance if value is not None]
    trained = "" if result.seconds is None else f" (trained {result.seconds:.0f} s)"
    return (
        result.policy + trained,
        result.query,
        result.target,
        "known" if result.task_known else f"unknown, {result.merge}",
        str(result.k),
        _figure(result.final),
        _figure(sum(known) / len(known) if known else None),
        _figure(result.forgetting),
        _figure(result.bwt),
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
