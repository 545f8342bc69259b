"""The `mneme` command: parse, call one function, print."""

import io
import json
import math
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, get_args

import typer

from engine import memory
from engine.errors import Note, Setting, UserError, inaccessible
from engine.types import (
    DeviceName,
    Gallery,
    HeadForm,
    Hit,
    Keep,
    LossName,
    MergeName,
    MethodName,
    PolicyName,
    Relevance,
    Skipped,
    Split,
    TrainSettings,
)

if TYPE_CHECKING:
    from engine.backbones import Default
    from engine.decoding.limits import DecodingLimits
    from engine.ingest.setup import WorkspaceOptions
    from indexer.serving.index import IndexSummary
    from training.lesson import Outcome

app = typer.Typer(
    name="mneme",
    help="Search a media collection across modalities while its encoders keep learning.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def show_version(asked: bool) -> None:
    """Print the version that is installed, and leave."""
    if asked:
        from importlib.metadata import version

        print(f"mneme {version('mneme')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Print the help where no command is named."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def command() -> Callable[..., object]:
    """Return what parses and runs a command line."""
    group = typer.main.get_command(app)
    for flag in group.get_params(typer.Context(group, **group.context_settings)):
        flag.default = (
            False  # None would be coerced by pydantic, whose import takes as long as all else of --help
        )
    return group


def complete_task(beginning: str) -> list[str]:
    """Return the tasks of the workspace here or above that begin so, for the shell's completion."""
    from engine.ids import clean_name
    from engine.storage import workspace as workspaces

    try:
        served = workspaces.open_at(workspaces.locate(None)).manifest.served.shards
    except UserError:
        return []
    return sorted({shard.key.task for shard in served if shard.key.task.startswith(clean_name(beginning))})


def complete_method(beginning: str) -> list[str]:
    """Return the chains of methods that go on so, for the shell's completion."""
    chain, plus, last = beginning.rpartition("+")
    return [f"{chain}{plus}{name}" for name in get_args(MethodName) if name.startswith(last)]


def check_methods(chain: str) -> str:
    """Refuse a chain that names no method, as typer refuses a choice."""
    for name in chain.split("+"):
        if name not in get_args(MethodName):
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(get_args(MethodName))}")
    return chain


OPTIONS = {"form": "--head", "width": "--dim"}
"""Settings of the layers whose option has a name of its own; every other is called as in Python, with dashes."""
SCARCE = re.compile("failed to map segment|allocate memory|bad_alloc")
"""What the system's loader and libraries say where no memory is left."""
NO_THREAD = "can't start new thread"
"""What Python says where the system gives no memory to another thread, or allows none."""
INTERRUPTED = 130
"""The exit status after Ctrl-C, as of a process that a shell saw end by it."""

Sources = Annotated[list[Path], typer.Argument(help="Folders, .jsonl/.csv/.tsv or .npz/.parquet files.")]
WorkspaceDir = Annotated[
    Path | None, typer.Option("--workspace", "-w", help="The folder that holds .mneme.", show_default=False)
]
Device = Annotated[DeviceName, typer.Option(help="Where to compute.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say which workspace and device are used.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no list of skipped files.")]
Backbones = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone", help="builtin, open_clip:ARCH/TAG or open_clip:ARCH/FILE; or MODALITY=SPEC. Repeatable."
    ),
]
Dim = Annotated[int | None, typer.Option(help="The shared width of a new workspace.")]
Policy = Annotated[PolicyName | None, typer.Option(help="How old tasks are kept and asked.")]
Media = Annotated[
    Path | None, typer.Option(help="The folder of the media that a table or COCO names.", show_default=False)
]
MaxRows = Annotated[
    int | None, typer.Option(help="Refuse a table of more rows; default 20 million.", show_default=False)
]
MaxWidth = Annotated[
    int | None,
    typer.Option(help="Refuse longer vectors, or more columns; default 65,536.", show_default=False),
]
MaxBytes = Annotated[
    int | None, typer.Option(help="Refuse a table that unpacks to more; default 64 GiB.", show_default=False)
]
MaxPixels = Annotated[
    int | None,
    typer.Option(min=1, help="Skip a picture of more pixels; default 100 million.", show_default=False),
]
MaxSeconds = Annotated[
    int | None, typer.Option(min=1, help="Hear a sound up to here; default 60.", show_default=False)
]
MaxTime = Annotated[
    int | None,
    typer.Option(
        min=1, help="Skip a file that takes more seconds to decode; default 60.", show_default=False
    ),
]
MaxMemory = Annotated[
    int | None,
    typer.Option(
        min=1 << 28, help="Skip a file that takes more bytes to decode; default 4 GiB.", show_default=False
    ),
]
Reread = Annotated[bool, typer.Option(help="Read every row again, whatever its size and time say.")]
MassDelete = Annotated[bool, typer.Option(help="Drop rows even where most of a source is gone.")]


@app.command()
def index(
    source: Sources,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", "-t", autocompletion=complete_task, help="For rows that name none; or only this one."
        ),
    ] = None,
    backbone: Backbones = None,
    dim: Dim = None,
    policy: Policy = None,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option(help="Say what would be done; write nothing.")] = False,
    media: Media = None,
    max_rows: MaxRows = None,
    max_width: MaxWidth = None,
    max_bytes: MaxBytes = None,
    max_pixels: MaxPixels = None,
    max_seconds: MaxSeconds = None,
    max_time: MaxTime = None,
    max_memory: MaxMemory = None,
    reread: Reread = False,
    allow_mass_delete: MassDelete = False,
    workspace: WorkspaceDir = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Bring a collection into the index: add what is new, re-read what changed, drop what is gone."""
    from engine.heads.embedder import resolve
    from engine.storage import workspace as workspaces

    root = workspaces.place(workspace)
    limits = decoding_limits(max_pixels, max_seconds, max_time, max_memory)
    options = workspace_options(backbone, dim, (media, reread), (max_rows, max_width, max_bytes), limits)
    say_where(root, device, verbose)
    from indexer.report import text as tables
    from indexer.serving import index as indexing

    if dry_run:
        done = indexing.dry_run(root, source, options, task=task, allow_mass_delete=allow_mass_delete)
    else:
        with progress_bars(quiet=quiet) as bar:
            done = indexing.index(
                root,
                source,
                options,
                task=task,
                policy=policy,
                device=resolve(device),
                allow_mass_delete=allow_mass_delete,
                progress=bar("indexing", "rows"),
            )
    show_indexed(done, tables.foreseen if dry_run else tables.indexed, quiet=quiet, as_json=as_json)


@app.command()
def train(
    task: Annotated[
        str, typer.Option("--task", "-t", autocompletion=complete_task, help="The task to learn.")
    ],
    source: Annotated[
        list[Path] | None, typer.Argument(help="Where the task's pairs are; else those stored.")
    ] = None,
    loss: Annotated[LossName, typer.Option(help="What is minimised.")] = TrainSettings.loss,
    method: Annotated[
        str,
        typer.Option(
            callback=check_methods,
            autocompletion=complete_method,
            help="See `mneme methods`; several are joined by +.",
        ),
    ] = TrainSettings.method,
    modalities: Annotated[str, typer.Option(help="Only these, comma-separated.")] = "",
    head: Annotated[HeadForm | None, typer.Option(help="Form of a first head.", show_default=False)] = None,
    shared_top: Annotated[
        bool | None, typer.Option("--shared-top", help="One last layer for all modalities.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the pairs.")] = TrainSettings.epochs,
    lr: Annotated[float, typer.Option(help="Step size.")] = TrainSettings.lr,
    batch_size: Annotated[int, typer.Option(help="Pairs a step.")] = TrainSettings.batch_size,
    temperature: Annotated[
        float, typer.Option(help="What the loss divides cosines by.")
    ] = TrainSettings.temperature,
    weight_decay: Annotated[float, typer.Option(help="Decoupled decay.")] = TrainSettings.weight_decay,
    warmup: Annotated[
        float, typer.Option(help="The share of all steps over which the step size grows.")
    ] = TrainSettings.warmup,
    patience: Annotated[
        int, typer.Option(help="Epochs without progress before stopping; 0: never.")
    ] = TrainSettings.patience,
    protect: Annotated[
        str, typer.Option(help="The one modality whose branch ewc and mas guard.", show_default=False)
    ] = TrainSettings.protect,
    keep: Annotated[
        Keep, typer.Option(help="End with the epoch of best validation loss, or the last.")
    ] = TrainSettings.keep,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, e.g. triplet.margin=0.1.")
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Keep the head beside the history, for `evaluate` alone.")
    ] = False,
    backbone: Backbones = None,
    dim: Dim = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Of initialisation, order and dropout.")] = TrainSettings.seed,
    media: Media = None,
    max_rows: MaxRows = None,
    max_width: MaxWidth = None,
    max_bytes: MaxBytes = None,
    max_pixels: MaxPixels = None,
    max_seconds: MaxSeconds = None,
    max_time: MaxTime = None,
    max_memory: MaxMemory = None,
    reread: Reread = False,
    allow_mass_delete: MassDelete = False,
    workspace: WorkspaceDir = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Teach the newest head a task; what is served changes with the next `mneme index`."""
    from engine.heads.embedder import resolve
    from engine.storage import workspace as workspaces

    root = workspaces.place(workspace)
    limits = decoding_limits(max_pixels, max_seconds, max_time, max_memory)
    options = workspace_options(backbone, dim, (media, reread), (max_rows, max_width, max_bytes), limits)
    say_where(root, device, verbose)
    settings = TrainSettings(
        task=task,
        method=method,
        loss=loss,
        form=head,
        shared_top=shared_top,
        modalities=tuple(m.strip() for m in modalities.split(",") if m.strip()),
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        temperature=temperature,
        weight_decay=weight_decay,
        warmup=warmup,
        protect=protect,
        patience=patience,
        keep=keep,
        seed=seed,
        options=parse_options(set_ or []),
    )
    outcome = teach(
        root,
        source or [],
        options,
        settings,
        resolve(device),
        allow_mass_delete,
        reference=reference,
        quiet=quiet,
    )
    show_lesson(outcome, as_json=as_json)
    if outcome.epochs[-1].interrupted:
        raise KeyboardInterrupt


@app.command()
def query(
    what: Annotated[
        str | None, typer.Argument(help="A text, a file, or - for one query a line.", show_default=False)
    ] = None,
    image: Annotated[list[Path] | None, typer.Option(help="A picture to search with.")] = None,
    audio: Annotated[list[Path] | None, typer.Option(help="A sound to search with.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="A text; weighted: '2:beach', negated: '-1:people'.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Modality to find; default image for a text, text otherwise.")
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            "--task",
            "-t",
            autocompletion=complete_task,
            help="Search this task only; all; or auto: the likeliest one.",
        ),
    ] = "all",
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 10,
    policy: Policy = None,
    merge: Annotated[
        MergeName | None,
        typer.Option(help="How shards are merged where the task is unknown: by cosine, or by probability."),
    ] = None,
    at: Annotated[str | None, typer.Option(help="Ask as it stood after this lesson: number or task.")] = None,
    min_score: Annotated[float, typer.Option(help="Leave out hits below this cosine.")] = -1.0,
    max_pixels: MaxPixels = None,
    max_seconds: MaxSeconds = None,
    max_time: MaxTime = None,
    max_memory: MaxMemory = None,
    device: Device = "auto",
    workspace: WorkspaceDir = None,
    paths: Annotated[bool, typer.Option("--paths", help="Print the paths (or texts) alone.")] = False,
    null: Annotated[
        bool, typer.Option("-0", "--null", help="With --paths: end each by a NUL byte, for xargs -0.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write the hits as a page to this file too.", show_default=False)
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Find items by a text, a picture, a sound, or several at once."""
    if null and not paths:
        raise typer.BadParameter("-0 goes with --paths")
    from engine.heads.embedder import resolve
    from engine.ranking.query import as_words, parse_queries, title
    from engine.storage import workspace as workspaces
    from indexer.report import html as pages
    from indexer.serving.search import open_searcher

    answers: list[tuple[str, list[Hit]]] = []
    files = {"image": image or [], "audio": audio or []}
    queries = parse_queries(what, files, text or [], sys.stdin)
    root = workspaces.locate(workspace)
    say_where(root, device, verbose)
    limits = decoding_limits(max_pixels, max_seconds, max_time, max_memory)
    with open_searcher(root, device=resolve(device), policy=policy, at=at, limits=limits) as searcher:
        for number, asked in enumerate(queries):
            result = searcher.search(asked, to, k, searcher.scope(task, merge), min_score=min_score)
            answers.append((title(asked), result.hits))
            if what == "-" and not (as_json or paths):
                print(f"{number + 1}: {printable(title(asked))}")
            if result.inferred and not quiet:
                note(f"task: {result.inferred.task} (probability {result.inferred.probability:.2f})")
            if number == 0 and not quiet:
                is_words = what not in (None, "-") and asked[0].modality == "text"
                show_notes([*(as_words(what) if what and is_words else []), *searcher.notes(asked, to)])
            for hit in result.hits:
                if paths and not as_json:
                    show_path(hit, null=null)
                else:
                    show_hit(number, hit, as_json=as_json)
    if html:
        pages.write_hits(html, answers)


@app.command()
def evaluate(
    policy: Annotated[
        list[str] | None, typer.Option(help="Repeatable; default: reindex, no-reindex, matched.")
    ] = None,
    merge: Annotated[
        Literal["raw", "routed", "both"],
        typer.Option(help="How shards are merged where the task is unknown: by cosine, or by probability."),
    ] = "both",
    budget: Annotated[
        str, typer.Option(help="What the policy partial embeds again after each lesson, of all items.")
    ] = "10%",
    k: Annotated[str, typer.Option("--k", "-k", help="The K of recall@K, comma-separated.")] = "1,5,10",
    split: Annotated[Split, typer.Option(help="Whose pairs ask.")] = "test",
    gallery: Annotated[Gallery, typer.Option(help="Whose pairs are searched.")] = "test",
    relevance: Annotated[Relevance, typer.Option(help="Right is what shares a pair, or a label.")] = "pair",
    all_: Annotated[bool, typer.Option("--all", help="Print every row, not the first 20.")] = False,
    csv: Annotated[
        Path | None, typer.Option(help="Write the figures to this file too.", show_default=False)
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(help="Write TREC runs and qrels of the last lesson to this folder.", show_default=False),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with plots to this file too.", show_default=False)
    ] = None,
    device: Device = "auto",
    workspace: WorkspaceDir = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Measure recall after every lesson under each policy, and what was forgotten."""
    from engine.evaluation import metrics
    from engine.heads.embedder import resolve
    from engine.storage import workspace as workspaces
    from indexer.evaluation import evaluate as evaluation
    from indexer.evaluation import trec
    from indexer.evaluation.protocol import EvalSettings
    from indexer.policies import policies
    from indexer.report import page
    from indexer.report import text as tables

    if report:
        page.require_extra()
    setting = EvalSettings(
        policies.parse_policies(policy) if policy else EvalSettings().policies,
        get_args(MergeName) if merge == "both" else [merge],
        metrics.parse_ks(k),
        split,
        gallery,
        relevance,
        policies.parse_budget(budget),
        details=as_json,
    )
    root = workspaces.locate(workspace)
    say_where(root, device, verbose)
    with evaluation.open_evaluation(root, setting, device=resolve(device)) as opened:
        if runs:
            trec.write(opened, runs)
        results = list(opened.results())
        figures = json.dumps(evaluation.to_json(opened, results)) if as_json else None
        print(figures or with_options(tables.evaluation(results, everything=all_), [tables.ALL]))
        if report:
            page.write(report, opened, results)
        show_notes(opened.notes(results))
    if csv:
        tables.write_csv(csv, results)


@app.command()
def reindex(
    policy: Annotated[
        list[str] | None, typer.Option(help="For all directions, or for one: text-image=auto. Repeatable.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Of all items, what partial embeds again; default 10%.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what it would cost and bring; change nothing.")] = False,
    device: Device = "auto",
    workspace: WorkspaceDir = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Serve under another policy: build the shards it wants, and switch to them in one step."""
    from engine.heads.embedder import resolve
    from engine.storage import workspace as workspaces
    from indexer.report import text as tables
    from indexer.serving import preview
    from indexer.serving import reindex as reindexing

    root = workspaces.locate(workspace)
    say_where(root, device, verbose)
    request = reindexing.parse(policy or [], budget)
    if dry_run:
        expected = preview.preview(root, request, device=resolve(device))
        show_json(asdict(expected)) if as_json else print(tables.preview(expected))
        return
    done = reindexing.reindex(root, request, device=resolve(device))
    show_notes(done.notes)
    show_json(asdict(done)) if as_json else print(tables.reindexed(done))


@app.command()
def rollback(workspace: WorkspaceDir = None, as_json: AsJson = False) -> None:
    """Serve again what was served before the last reindex."""
    from engine.storage import workspace as workspaces
    from indexer.report import text as tables
    from indexer.serving import reindex as reindexing

    done = reindexing.rollback(workspaces.locate(workspace))
    show_json(asdict(done)) if as_json else print(tables.reindexed(done))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A new folder.", show_default=False)],
    workspace: WorkspaceDir = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Write the embeddings that are served, and what they stand for, as Parquet files for other tools."""
    from engine.storage import workspace as workspaces
    from indexer.report import text as tables
    from indexer.serving import export as exporting

    root = workspaces.locate(workspace)
    if verbose:
        note(f"workspace: {root}")
    done = exporting.export(root, folder)
    show_json(asdict(done)) if as_json else print(tables.exported(done))


@app.command()
def remove(
    what: Annotated[
        str | None,
        typer.Argument(
            help="An item's id or its beginning, a row's id, a file, folder or source.", show_default=False
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", "-t", autocompletion=complete_task, help="Rows of this task only.", show_default=False
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="Rows read from here; it need not exist any more.", show_default=False),
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="A task's features alone: vectors stay, and can be searched.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would go; write nothing.")] = False,
    device: Device = "auto",
    workspace: WorkspaceDir = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Remove rows from the index, and the items that no other row names; or a task's stored features alone."""
    if features and task is None:
        raise UserError("say whose features are to go: --task T")
    if features and (what or source or dry_run):
        raise UserError("--features goes with --task T alone")
    from engine.heads.embedder import resolve
    from engine.storage import workspace as workspaces
    from engine.storage.selection import Selection
    from indexer.report import text as tables
    from indexer.serving import remove as removing

    named = Selection(what or "", task, source)
    root = workspaces.locate(workspace)
    say_where(root, device, verbose)
    if features and task is not None:
        dropped = removing.remove_features(root, task, device=resolve(device))
        show_json(asdict(dropped)) if as_json else print(tables.removed(dropped))
        return
    done = (
        removing.dry_run(root, named)
        if dry_run
        else removing.remove_rows(root, named, device=resolve(device))
    )
    show_json(asdict(done)) if as_json else print(tables.rows_removed(done))
    show_notes(done.notes)


@app.command()
def status(workspace: WorkspaceDir = None, as_json: AsJson = False) -> None:
    """Say what the workspace holds: tasks, items, heads, shards."""
    from engine.storage import workspace as workspaces
    from indexer.report import text as tables
    from indexer.serving import status as statuses

    holds = statuses.status(workspaces.locate(workspace))
    print(json.dumps(statuses.to_json(holds)) if as_json else tables.status(holds))


@app.command()
def verify(
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended, and say what is lost.")
    ] = False,
    compact: Annotated[
        bool, typer.Option("--compact", help="With --repair: give back the room that the store does not use.")
    ] = False,
    device: Device = "auto",
    workspace: WorkspaceDir = None,
    as_json: AsJson = False,
) -> int:
    """Check that files, store, shards and heads are as they were written; mend them."""
    from engine.storage import workspace as workspaces
    from indexer.verification import verify as verifying

    if compact and not repair:
        raise typer.BadParameter("goes with --repair", param_hint="--compact")
    root = workspaces.locate(workspace)
    if repair:
        from engine.heads.embedder import resolve
        from indexer.verification import repair as repairing

        done = repairing.repair(root, compact=compact, device=resolve(device))
    else:
        done = verifying.verify(root, deep=deep)
    if as_json:
        show_json(verifying.to_json(done, spoken))
    else:
        for line in done.repaired:
            print(printable(line))
        for problem in done.problems:
            what = f"{problem.path}: {problem.what}; " if problem.path else ""
            print(printable(f"{what}{spoken(problem.mend)}"))
        print(f"{len(done.problems)} problems, {len(done.repaired)} repaired in {done.seconds:.1f} s")
        show_notes(done.notes)
    return 0 if done.ok else 1


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A loss or a method.")] = None, as_json: AsJson = False
) -> None:
    """List the losses and methods, their hyper-parameters, defaults and sources."""
    from training import methods as catalogue

    if as_json:
        show_json({"methods": catalogue.describe(name)})
    else:
        print(catalogue.text(name, assign="--set "))


@app.command()
def sweep(
    spec: Annotated[Path, typer.Argument(help="A TOML file: stream, axes, settings.")],
    out: Annotated[
        Path | None, typer.Option(help="Where runs and tables go; default: sweep-SPEC.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a sweep that ended early.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="As the spec's quick table says; one seed.")] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; default: one a core.", show_default=False)
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train and measure methods, losses, heads and seeds over a stream of tasks, and write the tables."""
    from engine.heads.embedder import resolve
    from studies.sweeps import runner as sweeps
    from studies.sweeps import summary, toml_file

    wanted = toml_file.load_quick(spec) if quick else toml_file.load(spec)
    folder = out or Path(f"sweep-{spec.stem}")
    (sweeps.resume if resume else sweeps.begin)(wanted, folder)
    with progress_bars(quiet=quiet) as bar:
        callbacks = sweeps.Callbacks(
            bar("reading", "rows"),
            bar("sweeping", "runs"),
            lambda some: show_skipped(some, quiet=quiet),
            note,
        )
        done = sweeps.run(
            wanted, folder, jobs=jobs or os.cpu_count() or 1, device=resolve(device), callbacks=callbacks
        )
    if as_json:
        content = {"runs": done.runs, "seconds": done.seconds, "rows": [asdict(row) for row in done.rows]}
        show_json({"out": str(folder), **content})
    elif done.rows:
        print(summary.to_markdown(done.rows), end="")
    if done.failed:
        raise UserError(f"{len(done.failed)} of {len(wanted.runs)} runs failed; --resume tries them again")


@app.command()
def demo(folder: Annotated[Path, typer.Argument(help="Where to make it.")] = Path("demo")) -> None:
    """Make a small collection, learn three tasks, search it and see what was forgotten."""
    from studies.demo import demo as demonstration

    demonstration.run(folder)


def teach(
    root: Path,
    sources: list[Path],
    options: "WorkspaceOptions",
    settings: TrainSettings,
    device: str,
    allow_mass_delete: bool,
    *,
    reference: bool,
    quiet: bool,
) -> "Outcome":
    """Train a lesson and say on stderr how it goes."""
    from training import lesson as lessons

    with progress_bars(quiet=quiet) as bar:
        show_epoch = bar("training", "epochs")
        outcome, reports = lessons.learn(
            root,
            sources,
            options,
            settings,
            reference=reference,
            device=device,
            allow_mass_delete=allow_mass_delete,
            progress=bar("reading", "rows"),
            on_epoch=lambda number, epoch: show_epoch(number + 1, settings.epochs),
        )
    show_skipped([skipped for report in reports for skipped in report.skipped], quiet=quiet)
    show_notes([told for report in reports for told in report.told], quiet=quiet)
    show_notes(outcome.notes)
    return outcome


def parse_options(assignments: list[str]) -> dict[str, int | float | str]:
    """Return the values of `NAME=VALUE` assignments by name."""
    values: dict[str, int | float | str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UserError(f"--set takes NAME=VALUE, not {assignment!r}")
        values[name] = value
    return values


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Callable[[str, str], Callable[[int, int], None]]]:
    """Yield a function from what is done ("indexing") and its unit ("rows") to one that moves a bar for it.

    Bars show rate and time left, on a terminal only; elsewhere nothing is shown.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda activity, unit: lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    words, rate = TextColumn("{task.description}"), TextColumn("{task.fields[rate]}")
    columns = (words, BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:

        def bar(activity: str, unit: str) -> Callable[[int, int], None]:
            line = shown.add_task(activity, visible=False, rate="")

            def update(done: int, total: int) -> None:
                speed = shown.tasks[line].speed
                rate = f"{speed:.0f} {unit}/s" if speed else ""
                shown.update(line, completed=done, total=total, visible=True, rate=rate)

            return update

        yield bar


def workspace_options(
    backbone: list[str] | None,
    dim: int | None,
    sources: tuple[Path | None, bool],
    most: tuple[int | None, ...],
    decoding: "DecodingLimits",
) -> "WorkspaceOptions":
    """Return what is asked of a workspace; backbones that cannot be had are refused before torch is imported.

    Args:
        sources: where their media lie, and whether to read all of them again.
        most: rows, width and bytes of a table that is read; None: as much as usual.
        decoding: what decoding a file may take.
    """
    from engine import backbones
    from engine.ingest.setup import WorkspaceOptions
    from engine.sources.tables.values import Limits, SourceOptions

    backbones.check(backbone or [])
    named = zip(("max_rows", "max_width", "max_bytes"), most, strict=True)
    limits = Limits(**{name: limit for name, limit in named if limit is not None})
    options = SourceOptions(sources[0], limits, sources[1], decoding)
    return WorkspaceOptions(backbone or (), dim, note_backbone, options)


def decoding_limits(
    max_pixels: int | None, max_seconds: int | None, max_time: int | None, max_memory: int | None
) -> "DecodingLimits":
    """Return what decoding a file may take; None: as much as usual."""
    from engine.decoding.limits import LIMITS

    given = {
        "max_pixels": max_pixels,
        "max_seconds": max_seconds,
        "max_time": max_time,
        "max_memory": max_memory,
    }
    return replace(LIMITS, **{name: limit for name, limit in given.items() if limit is not None})


def note_backbone(chosen: "Default") -> None:
    """Tell a person which backbone was chosen for a new workspace, and what that means."""
    note(f"backbone: {chosen.spec} (name another with --backbone when a workspace is made)")
    show_notes(chosen.notes)


def say_where(root: Path, device: DeviceName, verbose: bool) -> None:
    """Print with --verbose which workspace and device a command uses."""
    if verbose:
        note(f"workspace: {root}; device: {device}")


def note(line: str) -> None:
    """Print a line to stderr, beside the results."""
    print(line, file=sys.stderr)


def show_skipped(skipped: list[Skipped], *, quiet: bool) -> None:
    """Print one line for each file or row that was left out."""
    for row in () if quiet else skipped:
        reason = with_options(row.reason, row.settings)
        print(f"skipped {printable(row.place)}: {printable(reason)}", file=sys.stderr)


def show_notes(notes: Iterable[Note], *, quiet: bool = False) -> None:
    """Print what a person should know although nothing failed."""
    for told in () if quiet else notes:
        note(f"note: {printable(spoken(told))}")


def skipped_json(skipped: Skipped) -> dict[str, Any]:
    """Return what --json prints of a file or row that was left out."""
    reason = with_options(skipped.reason, skipped.settings)
    return {"path": skipped.path, "reason": reason, "line": skipped.line}


def show_indexed(
    done: "IndexSummary", words: Callable[["IndexSummary"], str], *, quiet: bool, as_json: bool
) -> None:
    """Print what became of the sources."""
    show_skipped(done.skipped, quiet=quiet)
    show_notes(done.notes, quiet=quiet)
    if as_json:
        skipped, notes = [*map(skipped_json, done.skipped)], [*map(spoken, done.notes)]
        show_json(asdict(done) | {"skipped": skipped, "notes": notes})
        return
    print(words(done))


def show_lesson(outcome: "Outcome", *, as_json: bool) -> None:
    """Print what came of a lesson."""
    lesson, settings, kept = outcome.lesson, outcome.settings, outcome.kept
    if as_json:
        measured = [
            {"loss": e.loss, "val_loss": e.val_loss, "val_recall@10": e.val_recall, "drift": e.drift}
            for e in outcome.epochs
        ]
        show_json(
            {
                "task": lesson.task,
                "lesson": lesson.number or None,
                "head": lesson.head,
                "parent": outcome.parent,
                "method": settings.method,
                "loss": settings.loss,
                "seed": settings.seed,
                "epochs": measured,
                "kept": outcome.epochs.index(kept) + 1,
                "seconds": outcome.seconds,
            }
        )
        return
    validation = "" if kept.val_recall is None else f", validation recall@10 {kept.val_recall:.3f}"
    name = f"lesson {lesson.number}" if lesson.number else "reference"
    print(
        f"{name}: {lesson.task}, head v{lesson.head:04d} from v{outcome.parent:04d}, "
        f"epoch {outcome.epochs.index(kept) + 1} of {len(outcome.epochs)}, loss {kept.loss:.3f}{validation}, "
        f"{outcome.seconds:.1f} s"
    )
    for told in outcome.waiting:
        print(f"next: {printable(spoken(told))}")


def spoken(told: Note | UserError) -> str:
    """Return a note or an error with the settings that it speaks of as options of this command line."""
    return with_options(str(told), told.settings)


def with_options(message: str, settings: Sequence[Setting]) -> str:
    """Write the settings that a message speaks of as the options of this command line."""
    for setting in settings:
        option = option_of(setting.name) + (f" {setting.value}" if setting.value else "")
        spoken = f"`mneme {setting.command} {option}`" if setting.command else option
        message = message.replace(str(setting), spoken)
    return message


def option_of(setting: str) -> str:
    """Return the option that a setting of the layers is called by here."""
    return OPTIONS.get(setting, "--" + setting.replace("_", "-"))


def show_hit(number: int, hit: Hit, *, as_json: bool) -> None:
    """Print one hit."""
    if as_json:
        show_json({"query": number, **asdict(hit)})
    else:
        what = printable(hit.path or hit.text or "")
        probability = "" if hit.log_p is None else f"\tp {math.exp(hit.log_p):#.2g}"
        print(f"{hit.rank}\t{hit.score:.3f}\t{printable(hit.task)}\t{what}{probability}")


def show_path(hit: Hit, *, null: bool) -> None:
    """Print a hit's path as its bytes are on disk, but on a terminal; or its text, on one line but before a NUL."""
    what = hit.path or hit.text or ""
    if not null and (hit.path is None or sys.stdout.isatty()):
        print(printable(what))
        return
    end = "\0" if null else "\n"
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(what + end))


def show_json(content: dict[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps({"format": 1, **content}))


def printable(text: str) -> str:
    """Return a text that cannot steer a terminal, turn its direction or break a line."""
    return "".join(
        c if _is_harmless(c) else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def _is_harmless(character: str) -> bool:
    joiners = "\u200c\u200d"  # which emoji and many scripts need
    return character in joiners or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def hint_of(error: typer.exceptions.TyperException) -> str:
    """Return what a person may have meant who gave a query of several words without quotes."""
    surplus = re.search(r"unexpected extra argument\S* \((.*)\)", error.format_message(), re.DOTALL)
    context = getattr(error, "ctx", None)
    if surplus is None or context is None or context.command.name != "query":
        return ""
    words = f"{context.params['what']} {surplus[1]}"
    return f' (a text of several words wants quotes: mneme query "{printable(words)}")'


def hold_streams() -> None:
    """Put an empty stream where there is none: a file that took its number would be printed into."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            if number != 1:
                setattr(sys, name, os.fdopen(handle, "r" if number == 0 else "w"))
    if sys.stdout is None:
        print("error: the output is closed: nothing could be printed", file=sys.stderr)
        raise SystemExit(1)


def drop_output() -> None:
    """Let nothing be written any more of what waits to be printed."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refuse_scarce(error: Exception) -> NoReturn:
    """End with one line where memory, or address space to load a library into, has run out; else raise the error."""
    if str(error) == NO_THREAD:
        told = "no thread can be started: end other programs or raise the limits (ulimit -u, ulimit -v)"
    elif isinstance(error, MemoryError) or SCARCE.search(str(error)):
        told = "no memory is left: end other programs or raise the limit (ulimit -v)"
    else:
        raise error
    print(f"error: {told}", file=sys.stderr)
    raise SystemExit(1) from None


def main() -> None:
    """Run the command line, watched where a library may be ended by the system's limit on its memory."""
    if memory.is_limited():
        memory.run_watched(answer)
    answer()


def answer() -> None:
    """Run the command line; an error that a person can mend is one line on stderr and exit status 1."""
    import warnings

    warnings.filterwarnings("ignore", module="PIL")
    hold_streams()
    streams = {sys.stdin: "surrogateescape", sys.stdout: "backslashreplace", sys.stderr: "backslashreplace"}
    for stream, errors in streams.items():
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
    try:
        status = command()(standalone_mode=False)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {printable(spoken(error))}", file=sys.stderr)
        raise SystemExit(1) from None
    except typer.exceptions.TyperException as error:
        print(f"error: {printable(error.format_message())}{hint_of(error)}", file=sys.stderr)
        raise SystemExit(getattr(error, "exit_code", 2)) from None
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:
        # the reader of our pipe has gone, as `head` does
        drop_output()
        raise SystemExit(1) from None
    except (MemoryError, ImportError, RuntimeError) as error:
        refuse_scarce(error)
    except OSError as error:
        print(f"error: {printable(str(inaccessible(error, 'the output')))}", file=sys.stderr)
        drop_output()
        raise SystemExit(1) from None
    if status == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    raise SystemExit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
