"""The whole way on a collection it draws itself: index, learn three tasks in turn, search, see what was forgotten."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UserError
from engine.ingest.setup import WorkspaceOptions
from engine.ranking.query import Input, file_input
from engine.storage.workspace import FOLDER
from engine.types import AllTasks, Hit, MergeName, TrainSettings
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.report import page, text
from indexer.serving import index as indexing
from indexer.serving.search import Searcher, open_searcher
from studies.demo import pictures
from studies.demo.sheet import QueryStrip, SheetHit, contact_sheet
from training import lesson as lessons

PICTURES = "pictures"
REPORT = "report.html"
MERGES: Mapping[MergeName, str] = {"raw": "by cosine", "routed": "by probability"}
HITS = 6


@dataclass(frozen=True)
class Example:
    """A test picture of the collection and a sentence that was written about it."""

    task: str
    picture: Path
    sentence: str
    sentences: Sequence[str]


def run(folder: Path, *, per_task: int = 200) -> Path:
    """Make the collection and do the whole job in a folder; return the contact sheet.

    Args:
        per_task: pictures drawn of each of the three domains.
    """
    page.require_extra()
    began = time.perf_counter()
    source, root = _fresh(folder)
    _say(f"drawing {3 * per_task} pictures of {', '.join(pictures.DOMAINS)} into {source}")
    pictures.render(source, per_task=per_task)
    for task in pictures.DOMAINS:
        _learn(root, source, task)
    example = _example(source, next(iter(pictures.DOMAINS)))
    with open_searcher(root) as searcher:
        strips = _strips(searcher, example)
    _forgetting(root, folder / REPORT)
    sheet = folder / "hits.png"
    contact_sheet(strips, sheet)
    _say(f"\n{folder / REPORT}: what was forgotten, as a page")
    _say(f"{sheet}: the hits as a picture; {time.perf_counter() - began:.0f} s in all")
    _say(f'now yours: cd {folder} && mneme query "a red tram in the rain"')
    return sheet


def _fresh(folder: Path) -> tuple[Path, Path]:
    """Return where pictures and workspace go; an earlier demo makes room, anything else is left alone."""
    source, root = folder / PICTURES, folder / FOLDER
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give another folder")
    if folder.exists() and any(folder.iterdir()) and not (source / "metadata.jsonl").is_file():
        raise UserError(f"{folder} is not empty and not an earlier demo: give another folder")
    for old in (source, root):
        shutil.rmtree(old, ignore_errors=True)
    return source, root


def _learn(root: Path, source: Path, task: str) -> None:
    options = WorkspaceOptions(["builtin"])
    _say(f"\n$ mneme train {PICTURES} --task {task}")
    outcome, _ = lessons.learn(root, [source], options, TrainSettings(task=task))
    recall = outcome.kept.val_recall
    measured = "" if recall is None else f", validation recall@10 {recall:.2f}"
    _say(f"lesson {outcome.lesson.number}: {len(outcome.epochs)} epochs in {outcome.seconds:.1f} s{measured}")
    _say(f"$ mneme index {PICTURES} --task {task}")
    summary = indexing.index(root, [source], options, task=task)
    _say(f"{summary.unchanged} unchanged, {summary.shards_built} shards built in {summary.seconds:.1f} s")


def _example(source: Path, task: str) -> Example:
    """Return the first test picture of a task."""
    with (source / "metadata.jsonl").open(encoding="utf-8") as rows:
        row = next(r for r in map(json.loads, rows) if (r["task"], r["split"]) == (task, "test"))
    return Example(task, source / row["image"], row["texts"][0], row["texts"])


def _strips(searcher: Searcher, example: Example) -> list[QueryStrip]:
    """Query by a sentence and by its picture, with shards merged by cosine and by probability."""
    by_text = [Input("text", example.sentence.encode())]
    by_image = [file_input("image", example.picture)]
    name = example.picture.relative_to(example.picture.parents[3])
    strips = []
    for merge, merged in MERGES.items():
        hits = _query(searcher, by_text, f'"{example.sentence}"', merge)
        title = f"{example.sentence} ({merged})"
        strips.append(QueryStrip(title, None, [_sheet_hit(hit, example) for hit in hits]))
    for merge, merged in MERGES.items():
        hits = _query(searcher, by_image, str(name), merge)
        strips.append(QueryStrip(merged, example.picture, [_sheet_hit(hit, example) for hit in hits]))
    return strips


def _query(searcher: Searcher, inputs: Sequence[Input], words: str, merge: MergeName) -> Sequence[Hit]:
    """Search, and show the command and its first hits."""
    _say(f"\n$ mneme query {words} --merge {merge}")
    hits = searcher.search(inputs, None, HITS, AllTasks(merge)).hits
    for hit in hits[:3]:
        _say(f"{hit.rank}\t{hit.score:.3f}\t{hit.task}\t{hit.path or hit.text}")
    return hits


def _sheet_hit(hit: Hit, example: Example) -> SheetHit:
    right = hit.path == str(example.picture.absolute()) or hit.text in example.sentences
    return SheetHit(Path(hit.path) if hit.path else None, hit.text or hit.task, right, hit.score)


def _forgetting(root: Path, report: Path) -> None:
    _say(f"\n$ mneme evaluate --k 10 --report {report}")
    with open_evaluation(root, EvalSettings(merges=tuple(MERGES), ks=(10,), details=False)) as evaluation:
        results = list(evaluation.results())
        _say(text.evaluation(results))
        page.write(report, evaluation, results)


def _say(line: str) -> None:
    print(line, flush=True)
