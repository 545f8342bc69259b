import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.history import Lesson
from indexer.policies.auto import Choice
from indexer.report import text
from indexer.serving.export import ExportSummary, File
from indexer.serving.index import IndexSummary
from indexer.serving.preview import RankingOverlap, RecallChange, ReindexPreview
from indexer.serving.reindex import ReindexSummary
from indexer.serving.remove import RemovalSummary
from indexer.serving.status import ShardStatus, Status, TaskStatus
from judged import RESULT, known, unknown

PREVIEW = ReindexPreview(
    "auto", {}, items=90, bytes=1_250_000, seconds=2.34, recall=[], overlap=[], choices=[]
)


def cells(table: str) -> list[list[str]]:
    """Return the cells of a table whose columns are at least two spaces apart."""
    return [re.split(r" {2,}", line) for line in table.splitlines()]


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_with_their_text() -> None:
    assert text.aligned([("a", "b"), ("long", ""), ("c", "d")]) == "a     b\nlong\nc     d"


def test_an_evaluation_has_a_line_for_each_result() -> None:
    table = text.evaluation([known("matched", 0.5, None), unknown("reindex", 0.25, "routed")])

    assert cells(table) == [
        ["policy", "query", "target", "task", "k", "recall", "chance", "forgetting", "bwt"],
        ["matched", "text", "image", "known", "10", "0.500", "0.150", "-", "-0.100"],
        ["reindex", "text", "image", "unknown, routed", "10", "0.250", "0.150", "0.000", "-0.100"],
    ]


def test_a_reference_says_how_long_it_was_trained() -> None:
    assert "joint (trained 12 s)" in text.evaluation([replace(RESULT, policy="joint", seconds=12.4)])


def test_what_was_not_measured_is_a_dash() -> None:
    nothing = replace(RESULT, final=None, forgetting=None, bwt=None, chance=[None])

    assert cells(text.evaluation([nothing]))[1][5:] == ["-", "-", "-", "-"]


def test_a_csv_has_the_cells_of_the_table(tmp_path: Path) -> None:
    results = [unknown("matched", 0.5), known("reindex", 0.25, 0.1)]

    text.write_csv(tmp_path / "out.csv", results)

    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.reader(file)) == cells(text.evaluation(results))


def test_a_csv_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^cannot write .*out\.csv: no such file or directory$"):
        text.write_csv(tmp_path / "gone" / "out.csv", [])


def test_a_reindex_says_what_is_served_and_what_was_built() -> None:
    summary = ReindexSummary("matched", {"text-image": "auto", "image-text": "partial"}, 2, 6, 1.26)

    assert text.reindexed(summary) == (
        "policy matched, image-text partial, text-image auto: 6 shards, 2 built, 1.3 s"
    )


def test_an_index_counts_in_words_that_fit() -> None:
    rows = {"added": 2, "updated": 0, "moved": 0, "removed": 1, "unchanged": 3, "kept": 1}
    summary = IndexSummary(
        ["sky"],
        **rows,
        left={},
        skipped=[],
        items={"text": 4, "image": 1},
        shards_built=1,
        seconds=0.04,
        notes=[],
    )
    assert text.indexed(summary) == (
        "2 added, 0 updated, 1 removed, 3 unchanged, 1 kept, 0 skipped; 1 shard built in 0.0 s\n"
        "items: 1 image, 4 text"
    )


def test_a_dry_run_of_an_index_tells_of_no_shards() -> None:
    rows = {"added": 2, "updated": 0, "moved": 1, "removed": 0, "unchanged": 3, "kept": 0}
    summary = IndexSummary(
        ["sky"], **rows, left={}, skipped=[], items={}, shards_built=0, seconds=0.2, notes=[]
    )
    assert text.foreseen(summary) == (
        "would be: 2 added, 0 updated, 1 moved, 0 removed, 3 unchanged, 0 skipped; nothing is written\n"
        "items now: none"
    )


def test_an_export_says_how_much_was_written() -> None:
    summary = ExportSummary([File("a.parquet", "sky", "image", 1, 1, 15, 750_000)] * 2, 30, 1_500_000, 0.26)

    assert text.exported(summary) == "2 files, 30 rows, 1.5 MB, 0.3 s"


def test_a_removal_says_what_went_and_what_was_kept_for_others() -> None:
    summary = RemovalSummary("sky", 30, 2, 2_500_000, 0.16)

    assert text.removed(summary) == (
        "features of 30 items of sky removed (2.5 MB), 2 kept for other tasks in 0.2 s"
    )
    assert text.removed(replace(summary, kept=0)) == "features of 30 items of sky removed (2.5 MB) in 0.2 s"


def test_a_preview_without_tables_is_one_line() -> None:
    assert text.preview(PREVIEW) == "90 items to embed, 1.2 MB, about 2.3 s"


def test_a_preview_shows_choices_then_recall_then_overlap() -> None:
    preview = replace(
        PREVIEW,
        choices=[Choice("sky", 3, 1, 0.1234, 0.0567, 12)],
        recall=[
            RecallChange("text", "image", "sky", True, 6, 0.5, 0.625),
            RecallChange("text", "image", "sky", False, 6, 0.4, 0.3),
        ],
        overlap=[RankingOverlap("image", "text", "sky", 6, 0.512, 0.487)],
    )

    _, choices, recall, overlap = text.preview(preview).split("\n\n")

    assert cells(choices) == [
        ["task", "own head", "chosen", "log-likelihood gained", "standard error", "pairs"],
        ["sky", "v0001", "v0003", "0.123", "0.057", "12"],
    ]
    assert cells(recall) == [
        ["query", "target", "task", "known", "queries", "R@10 now", "then"],
        ["text", "image", "sky", "known", "6", "0.500", "0.625"],
        ["text", "image", "sky", "unknown", "6", "0.400", "0.300"],
    ]
    assert cells(overlap) == [
        ["query", "target", "task", "queries", "top ten kept", "rank-biased overlap"],
        ["image", "text", "sky", "6", "0.51", "0.49"],
    ]


STATUS = Status(
    tasks=[
        TaskStatus("sky", 2, {"text": 30, "image": 29}, features=True),
        TaskStatus("life", None, {"image": 4}, features=True),
    ],
    items={"text": 30, "image": 33},
    heads=[],
    lessons=[Lesson(1, "sky", 1), Lesson(2, "sky", 2)],
    shards=[ShardStatus("sky", "image", 2, 29, 29_000)] * 3,
    policy="matched",
    backbone={"text": "builtin", "image": "builtin"},
    bytes=1_230_000,
)


def test_the_status_says_what_is_there_then_each_task() -> None:
    assert text.status(STATUS).splitlines() == [
        "items:    33 image, 30 text",
        "backbone: image by builtin, text by builtin",
        "policy:   matched",
        "lessons:  sky > sky",
        "shards:   3",
        "on disk:  1.2 MB",
        "",
        "task  head   items",
        "sky   v0002  29 image, 30 text",
        "life  -      4 image",
    ]


def test_the_status_of_an_empty_workspace_says_none() -> None:
    empty = replace(STATUS, tasks=[], items={}, lessons=[])
    assert text.status(empty).splitlines()[:4:3] == ["items:    none", "lessons:  none"]
