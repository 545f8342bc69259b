"""What every benchmark leaves behind: machine, versions and commit, its figures as JSON, a table in Markdown."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine.storage import files

PACKAGES = ("torch", "numpy", "faiss-cpu", "faiss-gpu", "open_clip_torch", "scikit-learn", "scikit-image")


def machine() -> dict[str, object]:
    """Return where and with what a figure was measured."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows of equal keys as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *[[str(value) for value in row.values()] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(out: Path, facts: Mapping[str, object]) -> None:
    """Write facts as JSON in one step."""
    out.parent.mkdir(parents=True, exist_ok=True)
    files.replace(out, to_json(facts))


def to_json(facts: Mapping[str, object]) -> bytes:
    """Return facts as JSON that reads as a table: each row of a list on one line, and each fact beside them."""
    return (_laid_out(facts, "\n") + "\n").encode()


def _laid_out(value: object, margin: str) -> str:
    inner = f"{margin} "
    if isinstance(value, Mapping) and (margin == "\n" or _has_rows(value)):
        lines = [f"{json.dumps(name)}: {_laid_out(fact, inner)}" for name, fact in value.items()]
        return f"{{{inner}{f',{inner}'.join(lines)}{margin}}}"
    if _is_rows(value):
        assert isinstance(value, Sequence)
        return f"[{inner}{f',{inner}'.join(map(json.dumps, value))}{margin}]"
    return json.dumps(value)


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(row, Mapping | list) for row in value)


def _has_rows(value: object) -> bool:
    return _is_rows(value) or (isinstance(value, Mapping) and any(map(_has_rows, value.values())))


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as facts:
            return next(line.partition(":")[2].strip() for line in facts if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
