"""Which of our files a command passes through: those with a function that runs, counted by tracing it.

    python -m benchmarks.paths
    python -m benchmarks.paths query --hops
    python -m benchmarks.paths --tree ../another-checkout

Each command runs in a process of its own, on its own copy of the small workspace of tests/worlds.py (three tasks of
30 pairs, a lesson each). A file is `touched` if one of its functions runs after its import, `imported` if only the
module's own lines do (imports, constants, classes). It is `on the way` if it led to another file that had not been
reached yet: who follows a command reads through those, and ends in the others. `--hops` tells which function called
the first one of each file. To results/paths.json, unless commands or a tree are named.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks" / "results" / "paths.json"
LAYERS = ("engine", "indexer", "training", "studies", "web")
COMMANDS: Mapping[str, list[str]] = {
    "query": ["query", "a sun and a moon"],
    "index": ["index", "more.npz"],
    "train": ["train", "--task", "sky"],
    "evaluate": ["evaluate"],
    "reindex": ["reindex", "--policy", "reindex"],
}
FUNCTION = 1  # CO_OPTIMIZED: set for functions, clear for modules and class bodies


@dataclass
class Trace:
    """What ran of the files below a folder.

    Attributes:
        imported: files of which anything ran.
        hops: for each file touched, from where its first function was called and which it was.
    """

    tree: Path
    imported: set[str] = field(default_factory=set)
    hops: dict[str, tuple[str, str]] = field(default_factory=dict)
    seen: set[CodeType] = field(default_factory=set)

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Note a call, as `sys.setprofile` reports it."""
        code = frame.f_code
        if event != "call" or code in self.seen:
            return
        file = self.ours(code)
        if file is None:
            self.seen.add(code)
        elif not code.co_flags & FUNCTION:
            self.imported.add(file)
        elif not self.is_importing(frame):
            self.seen.add(code)
            self.hops.setdefault(file, (self.caller(frame, file), name_of(code)))

    def ours(self, code: CodeType) -> str | None:
        """Return the path of a code's file within the tree; None for what belongs to another package."""
        path = Path(code.co_filename)
        if not path.is_relative_to(self.tree):
            return None
        file = path.relative_to(self.tree)
        return str(file) if file.parts[0] in LAYERS or str(file) in ("cli.py", "mneme.py") else None

    def is_importing(self, frame: FrameType | None) -> bool:
        """Tell whether a frame runs because one of our modules is being imported."""
        while frame is not None:
            if frame.f_code.co_name == "<module>" and self.ours(frame.f_code):
                return True
            frame = frame.f_back
        return False

    def caller(self, frame: FrameType, file: str) -> str:
        """Return the nearest function of another file of ours that led to a frame, as `file function`."""
        above = frame.f_back
        while above is not None:
            other = self.ours(above.f_code)
            if other and other != file:
                return f"{other} {name_of(above.f_code)}"
            above = above.f_back
        return ""


def name_of(code: CodeType) -> str:
    """Return the name of a function, with its class (without it on Python 3.10), or of that which it stands in."""
    name: str = getattr(code, "co_qualname", code.co_name)
    return name.partition(".<locals>")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("commands", nargs="*", choices=[*COMMANDS, []], metavar="COMMAND")
    parser.add_argument("--tree", type=Path, default=ROOT, help="another checkout")
    parser.add_argument("--hops", action="store_true")
    given = parser.parse_args()
    from benchmarks.report import machine, markdown, write

    traced = trace(given.tree.resolve(), given.commands or list(COMMANDS))
    counts = [
        {
            "command": name,
            "on the way": len(leading_on(seen["hops"])),
            "touched": len(seen["hops"]),
            "imported": len(seen["imported"]),
        }
        for name, seen in traced.items()
    ]
    if not given.commands and given.tree == ROOT:
        rows = [{**row, "hops": seen["hops"]} for row, seen in zip(counts, traced.values(), strict=True)]
        write(OUT, {**machine(), "rows": rows})
    print(markdown(counts))
    for name, seen in traced.items():
        print(f"\n{name}")
        for file, (caller, function) in seen["hops"].items():
            print(f"  {file} {function}" + (f"  <- {caller}" if given.hops and caller else ""))
        print("  only imported:", *sorted(set(seen["imported"]) - set(seen["hops"])))


def leading_on(hops: Mapping[str, tuple[str, str]]) -> set[str]:
    """Return the files from which another was first reached: who follows a command reads through these."""
    return {caller.partition(" ")[0] for caller, _ in hops.values() if caller}


def trace(tree: Path, commands: list[str]) -> dict[str, Any]:
    """Run commands in a tree; return for each the files imported, and how the way entered each file."""
    traced = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("world", *commands):
            code = f"import runpy; runpy.run_path({__file__!r})['child']({name!r}, {scratch!r})"
            environment = {**os.environ, "PYTHONPATH": f"{tree}:{tree / 'tests'}", "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", code],
                cwd=tree,
                env=environment,
                stdout=subprocess.PIPE,
                check=True,
            )
            if name in COMMANDS:
                traced[name] = json.loads(done.stdout.splitlines()[-1])
    return traced


def child(name: str, scratch: str) -> None:
    """Make the small workspace, or trace one command on a copy of it; print what was seen as the last line."""
    import worlds

    base = Path(scratch)
    if name == "world":
        worlds.save(worlds.trained(base) / "more.npz", worlds.rows("life", 10, start=30))
        return
    (base / name).mkdir()
    world = worlds.copied(base / "trained", base / name)
    for module in [module for module in sys.modules if module.partition(".")[0] in (*LAYERS, "worlds")]:
        del sys.modules[module]
    os.chdir(world)
    sys.argv = ["mneme", *COMMANDS[name]]
    seen = Trace(Path(os.environ["PYTHONPATH"].partition(":")[0]))
    threading.setprofile(seen)
    sys.setprofile(seen)
    status: object = None
    try:
        import cli

        cli.main()
    except SystemExit as stop:
        status = stop.code
    finally:
        sys.setprofile(None)
    if status:
        raise SystemExit(f"{name}: exit status {status}")
    print("\n" + json.dumps({"imported": sorted(seen.imported), "hops": seen.hops}))


if __name__ == "__main__":
    main()
