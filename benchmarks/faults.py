"""Every system call that writes fails once: is it one line, are answers whole, does the next run complete?

    python -m benchmarks.faults
    python -m benchmarks.faults --commands index --errors ENOSPC --every 5

Each command is run once in peace, which counts its calls that change what lies in the folder of its workspace and
outputs (open for writing, write, truncate, flush, rename, link, unlink, make and remove a folder); then once for each
of them and each error, which that call returns. A seccomp filter (faults.c, compiled here) catches the calls of any
library. Wrong is: more or less than one line, a status that is neither 0 nor 1, answers that are neither
those of before nor those of after, a next run that fails or leaves drafts, other answers after it than after a run in
peace. To results/faults.json.
"""

import argparse
import ctypes
import errno
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from benchmarks.report import machine, markdown, write
from engine.ranking.query import Input
from engine.storage.files import DRAFT
from engine.storage.store import Store
from engine.storage.workspace import open_at
from indexer.serving.search import open_searcher

OUT = Path(__file__).parent / "results" / "faults.json"
ERRORS = ("ENOSPC", "EIO", "EACCES", "EMFILE")
CALLS = {
    "x86_64": {
        **{"open": (2, 1, -1), "openat": (257, 2, -1), "creat": (85, 1, -1)},
        **{"write": (1, 0, -1), "pwrite64": (18, 0, -1), "writev": (20, 0, -1), "pwritev": (296, 0, -1)},
        **{"truncate": (76, 1, -1), "ftruncate": (77, 0, -1), "fallocate": (285, 0, -1)},
        **{"fsync": (74, 0, -1), "fdatasync": (75, 0, -1), "chmod": (90, 1, -1), "fchmod": (91, 0, -1)},
        **{"rename": (82, 1, 2), "renameat": (264, 2, 4), "renameat2": (316, 2, 4)},
        **{"link": (86, 1, 2), "linkat": (265, 2, 4), "unlink": (87, 1, -1), "unlinkat": (263, 2, -1)},
        **{"mkdir": (83, 1, -1), "mkdirat": (258, 2, -1), "rmdir": (84, 1, -1)},
        **{"copy_file_range": (326, 0, -1), "sendfile": (40, 0, -1)},
    },
    "aarch64": {
        **{"openat": (56, 2, -1), "write": (64, 0, -1), "pwrite64": (68, 0, -1), "writev": (66, 0, -1)},
        **{
            "pwritev": (70, 0, -1),
            "truncate": (45, 1, -1),
            "ftruncate": (46, 0, -1),
            "fallocate": (47, 0, -1),
        },
        **{"fsync": (82, 0, -1), "fdatasync": (83, 0, -1), "fchmod": (52, 0, -1), "fchmodat": (53, 2, -1)},
        **{"renameat": (38, 2, 4), "renameat2": (276, 2, 4), "linkat": (37, 2, 4), "unlinkat": (35, 2, -1)},
        **{"mkdirat": (34, 2, -1), "copy_file_range": (285, 0, -1), "sendfile": (71, 0, -1)},
    },
}
"""By processor: the number of each call, which of its arguments are paths (from 1; 0: the first is a descriptor)."""

QUERIES = [Input("text", b"a cloud over the sea")], [Input("text", b"sun")]
ROWS = 24

CALM = 0, 0
"""Which call fails with which error: none."""


@dataclass(frozen=True)
class Step:
    """One command of a story; `edited`: from now on its source is another."""

    name: str
    arguments: tuple[str, ...]
    edited: bool = False


STORY = (
    Step("index", ("index", "{media}/sky.npz")),
    Step("train", ("train", "-t", "sky", "--method", "replay", "--epochs", "2")),
    Step("index again", ("index", "{media}/sky.npz", "{media}/sea.npz"), edited=True),
    Step("train again", ("train", "-t", "sea", "--method", "replay+ewc", "--epochs", "2"), edited=True),
    Step("reindex", ("reindex", "--policy", "reindex"), edited=True),
    Step("rollback", ("rollback",), edited=True),
    Step("export", ("export", "{out}"), edited=True),
    Step("remove features", ("remove", "-t", "sky", "--features"), edited=True),
    Step("remove", ("remove", "-t", "sea"), edited=True),
)


@dataclass(frozen=True)
class Told:
    """What a run told: its exit status, stderr, how many calls were counted, which one failed."""

    status: int | None
    err: str
    calls: int
    failed: str


@dataclass(frozen=True)
class State:
    """What can be seen of a workspace; answers: item and score of each hit; exported: rows."""

    lessons: int
    policy: str
    can_roll_back: bool
    rows: int
    items: int
    sealed: tuple[str, ...]
    exported: int
    answers: tuple[tuple[tuple[str, float], ...], ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--commands", nargs="*", default=[step.name for step in STORY])
    parser.add_argument("--errors", nargs="*", default=ERRORS)
    parser.add_argument("--every", type=int, default=1, help="only each n-th call")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(Path(folder), given.commands, given.errors, given.every)
    names = ("command", "calls", "runs", "refused", "completed", "wrong")
    print(markdown([{name: row[name] for name in names} for row in rows]))
    write(OUT, {**machine(), "every": given.every, "rows": rows})


def measured(
    folder: Path, commands: Sequence[str], errors: Sequence[str], every: int, offset: int = 0
) -> list[dict[str, object]]:
    """Let calls of commands fail, one a run; return a row of each command, with what was wrong."""
    library, story = compiled(folder), Story(folder)
    rows: list[dict[str, object]] = []
    last = max(number for number, step in enumerate(STORY) if step.name in commands)
    for number, step in enumerate(STORY[: last + 1]):
        before, after = story.stage(number), story.stage(number + 1)
        calm = story.run(step, before, after, library, CALM)
        assert calm.status == 0, calm.err
        if step.name not in commands:
            continue
        states = apart(seen, before, story.out(before)), apart(seen, after, story.out(after))
        count: Counter[str] = Counter()
        faults = []
        for n in range(1 + offset, calm.calls + 1, every):
            for name in errors:
                told, wrong = story.suffered(step, before, states, library, (n, getattr(errno, name)))
                count["refused" if told.status else "completed"] += 1
                faults += [f"{name} of call {n}, {told.failed}: {fault}" for fault in wrong]
                for fault in faults[len(faults) - len(wrong) :]:
                    print(f"{step.name}: {fault}", file=sys.stderr, flush=True)
        runs: dict[str, object] = {"runs": sum(count.values())}
        runs |= {name: count[name] for name in ("refused", "completed")}
        rows.append(
            {"command": step.name, "calls": calm.calls, **runs, "wrong": len(faults), "faults": faults}
        )
    return rows


def why_not() -> str | None:
    """Return why calls cannot be made to fail here; None where they can."""
    if sys.platform != "linux" or platform.machine() not in CALLS:
        return "seccomp filters are Linux's, and registers are known of x86-64 and arm64"
    return None if shutil.which("cc") else "no C compiler"


def compiled(folder: Path) -> Path:
    """Compile what lets calls fail."""
    if reason := why_not():
        raise SystemExit(reason)
    library = folder / "faults.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


@dataclass(frozen=True)
class Story:
    """The folder in which the commands are run, each in a copy of what those before it made."""

    folder: Path

    def stage(self, number: int) -> Path:
        return self.folder / f"stage{number}"

    def out(self, stage: Path) -> Path:
        return stage / "out"

    def run(self, step: Step, before: Path, to: Path, library: Path, fault: tuple[int, int]) -> Told:
        """Run a command in a copy of a stage; its n-th call fails."""
        media = self.folder / "media"
        draw(media, edited=step.edited)
        shutil.rmtree(to, ignore_errors=True)
        if before.exists():
            shutil.copytree(before, to)
        else:
            to.mkdir()
        return self._again(step, to, library, fault)

    def _again(self, step: Step, at: Path, library: Path, fault: tuple[int, int] = CALM) -> Told:
        places = {"media": str(self.folder / "media"), "out": str(self.out(at))}
        arguments = [argument.format(**places) for argument in step.arguments]
        heard = apart(suffer, library, at, fault, [*arguments, "-w", str(at)], self.folder / "err")
        return heard if isinstance(heard, Told) else Told(None, str(heard), 0, "")

    def suffered(
        self, step: Step, before: Path, states: tuple[object, object], library: Path, fault: tuple[int, int]
    ) -> tuple[Told, list[str]]:
        """Run a command of which a call fails, look, and run it again; return what it told and what was wrong."""
        at, wrong = self.folder / "suffering", []
        told = self.run(step, before, at, library, fault)
        lines = told.err.splitlines()
        if told.status not in (0, 1) or "Traceback" in told.err:
            wrong.append(f"status {told.status}, {lines[-1:]}")
        elif told.status == 1 and not (len(lines) == 1 and lines[0].startswith("error: ")):
            wrong.append(f"status 1, {lines}")
        now = apart(seen, at, self.out(at))
        if not any(is_as(now, state) for state in states):
            wrong.append(f"between: {told_apart(now, states[1])}")
        if now != states[1] or step.name.startswith("index"):
            again = self._again(step, at, library, CALM)
            if again.status != 0:
                wrong.append(f"again: status {again.status}, {again.err.splitlines()[-1:]}")
        now = apart(seen, at, self.out(at))
        if now != states[1]:
            wrong.append(f"at last: {told_apart(now, states[1])}")
        drafts = [path.name for path in at.rglob("*") if DRAFT.fullmatch(path.name)]
        if drafts and told.status != 0:
            wrong.append(f"drafts: {drafts}")
        return told, wrong


def is_as(now: object, state: object) -> bool:
    """Say whether answers are those of a state; rows that have landed are not served yet."""
    if isinstance(now, State) and isinstance(state, State):
        return (now.answers, now.policy) == (state.answers, state.policy)
    return now == state or (state == "nothing" and isinstance(now, State) and not now.answers)


def told_apart(now: object, state: object) -> str:
    """Return in what a state differs from the one that is wanted; of answers, how many there are."""
    if not (isinstance(now, State) and isinstance(state, State)):
        return str(now)
    names = [name for name in vars(now) if name != "answers" and getattr(now, name) != getattr(state, name)]
    told = [f"{name} {getattr(now, name)}, not {getattr(state, name)}" for name in names]
    if now.answers != state.answers:
        told.append(f"other answers, {list(map(len, now.answers))} hits, not {list(map(len, state.answers))}")
    return "; ".join(told)


def draw(media: Path, *, edited: bool) -> None:
    """Write the sources; an edited one has other pictures in a third of its rows, and fewer rows."""
    media.mkdir(exist_ok=True)
    for number, task in enumerate(("sky", "sea")):
        rng = np.random.default_rng(number)
        image = rng.normal(size=(ROWS, 8)).astype(np.float32)
        kept = ROWS
        if edited and task == "sky":
            image[: ROWS // 3] += 1
            kept -= 3
        np.savez(
            media / f"{task}.npz",
            image=image[:kept],
            text=[f"a cloud {n} over the {task}" for n in range(kept)],
            id=[f"{task}{n}" for n in range(kept)],
            task=[task] * kept,
            split=[("train", "train", "val", "test")[n % 4] for n in range(kept)],
        )


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "cli",
        "indexer.serving.search",
        "indexer.serving.remove",
        "training.lesson",
        "indexer.serving.index",
        "pyarrow.parquet",
    ]
)


def apart(function: Callable[..., object], *arguments: object) -> object:
    """Return what a function returns in a process of its own; how that ended, where it returns nothing."""
    heard, told = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_answering, args=(told, partial(function, *arguments)))
    process.start()
    told.close()
    try:
        return heard.recv()
    except EOFError:
        process.join()
        return f"ended by {process.exitcode}"
    finally:
        process.join()


def _answering(told: Connection, function: Callable[[], object]) -> None:
    told.send(function())


def suffer(library: Path, below: Path, fault: tuple[int, int], arguments: Sequence[str], err: Path) -> Told:
    """Run `mneme`, whose n-th call that writes below a folder fails."""
    import cli

    calls = ctypes.CDLL(str(library))
    calls.failed.restype = ctypes.c_char_p
    for number, first, second in CALLS[platform.machine()].values():
        calls.choose(number, first, second)
    handle = os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ["mneme", *arguments]
    assert calls.arm(os.fsencode(below), *fault) == 0
    status: int | None = None
    try:
        cli.main()
    except SystemExit as left:
        status = int(left.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stderr.flush()
    called = calls.failed().decode()
    names = {str(number): name for name, (number, *_) in CALLS[platform.machine()].items()}
    call, _, path = called.partition(" ")
    failed = f"{names.get(call, call)} {Path(path).relative_to(below) if path else ''}"
    return Told(status, err.read_text(), calls.counted(), failed)


def seen(at: Path, out: Path) -> State | str:
    """Return what can be seen of a workspace, or the error that says why nothing can."""
    from engine.errors import UserError

    root = at / ".mneme"
    if not (root / "workspace.json").exists():
        return "nothing"
    try:
        manifest = open_at(root).manifest
        with Store(root / "store") as store:
            rows, items = len(list(store.rows())), sum(store.counts().values())
        answers: list[tuple[tuple[str, float], ...]] = []
        if manifest.served.shards:
            with open_searcher(root) as searcher:
                for asked in QUERIES:
                    for target in ("image", "text"):
                        result = searcher.search(asked, target, 2 * ROWS, searcher.all_tasks())
                        answers.append(tuple((hit.id, hit.score) for hit in result.hits))
    except UserError as error:
        return f"error: {error}"
    served = manifest.served
    return State(
        len(manifest.history.lessons),
        served.policy,
        manifest.previous is not None,
        rows,
        items,
        tuple(manifest.sealed),
        _exported(out),
        tuple(answers),
    )


def _exported(out: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(file).num_rows for file in out.glob("*.parquet"))


if __name__ == "__main__":
    main()
