"""Damage to every kind of file of a workspace: is it noticed, and does the advice mend it?

    python -m benchmarks.damage
    python -m benchmarks.damage --flips 4 --seed 1
    python -m benchmarks.damage --seconds 300

A workspace of three tasks, with a head that remembers (ewc), is copied, and one thing in the copy is damaged: a bit
flipped in each part of a file (a file is cut into as many parts as flips are asked for), the file cut in half or
emptied or deleted, a key of its JSON renamed. Then every command that reads runs in another process, and what it
says is compared with what it said of the whole workspace. Of each damage the worst counts: `crash` (a signal),
`traceback`, `silent` (another answer, exit 0), `noticed` (one line, exit 1), `harmless` (answers as ever). Then
`verify --repair` follows, where needed `index` of the sources, and all answers are compared again: `mended`, or not.
`verify --deep` must notice what any command noticed. Damages come in an order drawn by the seed, until the seconds
are over; how many were done of how many is told.
To results/damage.json.
"""

import argparse
import io
import json
import math
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

import cli
from benchmarks.report import machine, markdown, write

ROOT = Path(__file__).parent.parent
FORK = multiprocessing.get_context("fork")
OUT = Path(__file__).parent / "results" / "damage.json"
QUERIES = ("a sun and a moon", "a dog and a cat", "a house and a bridge")
COMMANDS = (
    *(("query", text, "--json", "-k", "30") for text in QUERIES),
    ("query", QUERIES[0], "--json", "--policy", "reindex"),
    ("query", QUERIES[1], "--json", "--at", "1"),
    ("evaluate", "--json", "--policy", "reindex", "--policy", "matched"),
    ("status", "--json"),
)
VERIFY = ("verify", "--deep", "--json")
WISHED = {"noticed", "harmless", "mended"}
WORST = ("crash", "traceback", "silent", "noticed", "harmless")


@dataclass(frozen=True)
class Damage:
    """What is done to one file, by a name for people."""

    file: Path
    name: str
    apply: Callable[[Path], object]


@dataclass(frozen=True)
class Outcome:
    """What one command left."""

    status: int
    out: str
    err: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--flips", type=int, default=6, help="of each file; of the store 64 times as many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files whose name holds this")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="after which no further damage is done"
    )
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows, worst, done, planned = measured(Path(folder), given)
    print(markdown(rows))
    for line in worst:
        print(line)
    if not given.only:
        told = {"flips": given.flips, "seed": given.seed, "damages": done, "planned": planned}
        write(OUT, {**machine(), **told, "rows": rows, "not as wished": worst})


def measured(folder: Path, given: argparse.Namespace) -> tuple[list[dict[str, object]], list[str], int, int]:
    """Damage a workspace; return counts by kind of file, what was not as wished, and damages done and planned."""
    whole = folder / "whole"
    maker = FORK.Process(target=made, args=(whole,))  # torch's threads do not survive a fork
    maker.start()
    maker.join()
    expected = run(COMMANDS, whole)
    assert all(outcome.status == 0 for outcome in expected), expected
    counts: dict[str, Counter[str]] = {}
    worst: list[str] = []
    rng, began, done = random.Random(given.seed), time.monotonic(), 0
    planned = list(damages(whole / ".mneme", given.flips, rng, given.only))
    rng.shuffle(planned)
    for damage in planned:
        if time.monotonic() - began > given.seconds:
            break
        done += 1
        copy = Path(shutil.copytree(whole, folder / "copy", symlinks=True))
        damage.apply(copy / ".mneme" / damage.file)
        kinds, where = tried(copy, whole, expected)
        count = counts.setdefault(kind_of(damage.file), Counter())
        count.update(kinds)
        told = [f"{damage.file}, {damage.name}: {what}{where}" for what in kinds if what not in WISHED]
        worst += told
        print(*told, sep="\n", end="\n" if told else "", file=sys.stderr)
        shutil.rmtree(copy)
    names = (*WORST, "mended", "not mended", "unseen by verify")
    return (
        [{"file": kind, **{name: count[name] for name in names}} for kind, count in counts.items()],
        worst,
        done,
        len(planned),
    )


def tried(copy: Path, whole: Path, expected: list[Outcome]) -> tuple[list[str], str]:
    """Return what came of a damage: the worst of all commands, whether verify saw and mended it; and where."""
    *seen, verified = run([*COMMANDS, VERIFY], copy)
    worst = judged(seen, expected)
    told = classified(verified, verified)
    kinds, where = [worst], differing(seen, expected)
    if told in ("crash", "traceback"):
        kinds.append(f"{told} of verify")
    if worst == "noticed" and verified.status == 0:
        kinds.append("unseen by verify")
    if verified.status == 0 and worst == "harmless":
        return kinds, where
    _, *again = run([("verify", "--repair"), *COMMANDS], copy)
    if judged(again, expected) != "harmless":  # as verify says of what it cannot mend
        if "data.mdb" in verified.out:
            shutil.rmtree(copy / ".mneme/store", ignore_errors=True)
        sources = sorted(str(path) for path in whole.glob("*.npz"))
        _, *again = run([("index", *sources), *COMMANDS], copy)
    return [*kinds, "mended" if judged(again, expected) == "harmless" else "not mended"], where


def judged(seen: Sequence[Outcome], expected: Sequence[Outcome]) -> str:
    """Return the worst of what commands came to."""
    kinds = [classified(outcome, wanted) for outcome, wanted in zip(seen, expected, strict=True)]
    return min(kinds, key=WORST.index)


def differing(seen: Sequence[Outcome], expected: Sequence[Outcome]) -> str:
    """Return the first command that says something else without an error, and the first lines that differ."""
    for command, outcome, wanted in zip(COMMANDS, seen, expected, strict=True):
        if classified(outcome, wanted) == "silent":
            pairs = zip(comparable(outcome.out), comparable(wanted.out), strict=False)
            lines = next(
                (f"{line} for {wanted_line}" for line, wanted_line in pairs if line != wanted_line),
                "fewer lines",
            )
            return f" in {' '.join(command)}: {lines}"
        if classified(outcome, wanted) == "traceback":
            return f" in {' '.join(command)}: {outcome.err[-300:]}"
    return ""


def classified(outcome: Outcome, wanted: Outcome) -> str:
    """Return what an outcome is beside the one of the whole workspace."""
    if outcome.status < 0 or outcome.status >= 128:
        return "crash"
    if "Traceback" in outcome.err:
        return "traceback"
    if outcome.status:
        return "noticed" if outcome.err.count("\n") == 1 or not outcome.err else "traceback"
    same = comparable(outcome.out) == comparable(wanted.out)
    return "harmless" if same else "silent"


def comparable(out: str) -> list[object]:
    """Return JSON lines less what differs by run: seconds, bytes on disk, and of numbers what float64 rounds."""
    lines = []
    for line in out.splitlines():
        content = json.loads(line, parse_float=lambda number: round(float(number), 9))
        for name in ("seconds", "bytes"):
            content.pop(name, None)
        lines.append(content)
    return lines


def damages(root: Path, flips: int, rng: random.Random, only: str) -> Iterator[Damage]:
    """Yield every damage to every file of a workspace."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and "lock" not in path.name]
    for path in files:
        file, size = path.relative_to(root), path.stat().st_size
        if only not in str(file):
            continue
        parts = min(size, flips * (64 if file.name == "data.mdb" else 1))
        for part in range(parts):
            place, bit = rng.randrange(part * size // parts, (part + 1) * size // parts), rng.randrange(8)
            yield Damage(file, f"bit {bit} of byte {place}", partial(flip, place=place, bit=bit))
        yield Damage(file, "cut in half", lambda path: os.truncate(path, path.stat().st_size // 2))
        yield Damage(file, "emptied", lambda path: os.truncate(path, 0))
        yield Damage(file, "deleted", Path.unlink)
        for key in json.loads(path.read_bytes()) if file.suffix == ".json" else ():
            yield Damage(file, f"key {key} renamed", partial(rename, key=key))


def flip(path: Path, place: int, bit: int) -> None:
    """Turn one bit of a file over."""
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))


def rename(path: Path, key: str) -> None:
    """Call the first key of this name otherwise."""
    path.write_text(path.read_text().replace(f'"{key}"', f'"x{key}"', 1))


def kind_of(file: Path) -> str:
    """Return what kind of file it is: its name, for a store, a shard, a head."""
    return file.name


def made(whole: Path) -> None:
    """Make a workspace of three tasks, with a head that remembers."""
    import worlds

    whole.mkdir()
    for task in worlds.TASKS[:2]:
        source = worlds.save(whole / f"{task}.npz", worlds.rows(task))
        worlds.learn(whole, task, source, method="ewc" if task == "life" else "finetune")
        worlds.index(whole, source, policy="no-reindex")
    worlds.index(whole, worlds.save(whole / "places.npz", worlds.rows("places")))


def run(commands: Sequence[tuple[str, ...]], folder: Path) -> list[Outcome]:
    """Run commands on the workspace of a folder, one after the other, in a process forked from this one.

    Where one ends the process, those after it run in another.
    """
    with tempfile.TemporaryDirectory() as scratch:
        outcomes: list[Outcome] = []
        while len(outcomes) < len(commands):
            process = FORK.Process(target=child, args=(commands[len(outcomes) :], folder, Path(scratch)))
            process.start()
            process.join()
            done = [Outcome(*json.loads(file.read_bytes())) for file in sorted(Path(scratch).glob("*"))]
            for file in Path(scratch).glob("*"):
                file.unlink()
            outcomes += done
            if process.exitcode:
                outcomes.append(Outcome(process.exitcode, "", ""))
        return outcomes


def child(commands: Sequence[tuple[str, ...]], folder: Path, scratch: Path) -> None:
    """Run commands and write down what each left."""
    sys.stderr = io.StringIO()
    for number, command in enumerate(commands):
        out, err, status = io.TextIOWrapper(io.BytesIO()), io.StringIO(), 0
        sys.argv = ["mneme", *command, "-w", str(folder)]
        with redirect_stdout(out), redirect_stderr(err):
            try:
                cli.main()
            except SystemExit as left:
                status = int(left.code or 0)
            except BaseException:
                traceback.print_exc()
        out.seek(0)
        (scratch / f"{number:03d}").write_text(json.dumps([status, out.read(), err.getvalue()]))


if __name__ == "__main__":
    main()
