"""Heads on disk: tensors, what strategies remember, the log, and beside them what they are."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from engine.errors import Damaged, UserError
from engine.heads.head import Head
from engine.storage import files
from engine.types import HeadForm, Modality, TrainSettings

FORMAT = 1
RECORD, TENSORS, MEMORY, LOG = "head.json", "head.safetensors", "memory.safetensors", "log.jsonl"
COPIES = {RECORD: "head.copy.json", TENSORS: "head.copy.safetensors"}
"""Nothing else tells what was learned, so these two are kept twice."""


@dataclass(frozen=True)
class Record:
    """What stands beside a head's tensors in `head.json`.

    Attributes:
        parent: the version it was trained on from; 0: the untrained head, or an initialisation of its own.
        widths: the width D of each modality's features; width is E.
        backbones: the id of the backbone that made the features of each modality.
    """

    version: int
    parent: int
    widths: Mapping[Modality, int]
    width: int
    form: HeadForm
    shared_top: bool
    settings: TrainSettings
    backbones: Mapping[Modality, str]


def write(folder: Path, head: Head, record: Record, state: Mapping[str, Tensor], log: bytes) -> str:
    """Write a head version in one step: its tensors, its record, its strategies' state, its log.

    Returns:
        The checksum of the tensors.
    """
    contents = {TENSORS: _bytes(head.state_dict()), MEMORY: _bytes(state), LOG: log}
    sums = {name: files.checksum(content) for name, content in contents.items()}
    facts = files.to_sealed_json({"format": FORMAT, **asdict(record), "checksums": sums})
    contents |= {RECORD: facts, COPIES[RECORD]: facts, COPIES[TENSORS]: contents[TENSORS]}
    with files.new_folder(folder) as draft:
        for name, content in contents.items():
            (draft / name).write_bytes(content)
    return sums[TENSORS]


def _bytes(tensors: Mapping[str, Tensor]) -> bytes:
    content: bytes = safetensors.torch.save({n: t.detach().cpu().contiguous() for n, t in tensors.items()})
    return content


def read(folder: Path, digest: str = "") -> tuple[Head, Record]:
    """Read a head version; a changed or newer file is an error.

    Args:
        digest: the checksum of the tensors as the manifest has it; empty: not known.
    """
    record, sums = read_facts(folder)
    if digest and sums[TENSORS] != digest:
        raise Damaged(folder / RECORD, "it is another head than the manifest says")
    tensors = _tensors(folder / TENSORS, sums)
    head = Head(record.form, record.width, shared_top=record.shared_top, seed=None)
    for modality, features in record.widths.items():
        head.add_branch(modality, features)
    for key, tensor in tensors.items():
        if key.startswith("losses.") and key.endswith(".0.weight"):
            head.add_scorer(key.split(".")[1], tensor.shape[1])
    try:
        head.load_state_dict(tensors)
    except RuntimeError:
        raise Damaged(folder / RECORD, f"it does not describe {TENSORS}") from None
    head.seed = record.settings.seed
    return head.eval(), record


def read_record(folder: Path) -> Record:
    """Read what a head version is, without its tensors."""
    return read_facts(folder)[0]


def read_facts(folder: Path, name: str = RECORD) -> tuple[Record, Mapping[str, str]]:
    """Read what a head version is, and the checksums of the files beside, by their names."""
    record, sums = _facts(folder / name)
    if folder.name != f"v{record.version:04d}":
        raise Damaged(folder / name, f"it is of head v{record.version:04d}")
    return record, sums


def versions(folder: Path) -> set[int]:
    """Return which head versions a folder says that it holds, whatever its name: its record, and the copy of that."""
    said = set[int]()
    for name in (RECORD, COPIES[RECORD]):
        with suppress(UserError):
            said.add(_facts(folder / name)[0].version)
    return said


def _facts(path: Path) -> tuple[Record, Mapping[str, str]]:
    try:
        facts = files.read_json(path)
    except FileNotFoundError:
        raise Damaged(path, "it is missing") from None
    format = facts.pop("format", None)
    if isinstance(format, int) and format > FORMAT:
        raise UserError(f"{path} has a newer format; this mneme reads up to {FORMAT}: upgrade mneme")
    sums: Any = facts.pop("checksums", None)
    if format != FORMAT or not isinstance(sums, dict) or not {TENSORS, MEMORY} <= sums.keys():
        raise Damaged(path, "it lacks a format or checksums")
    return files.typed(path, Record, facts), sums


def read_state(folder: Path) -> dict[str, Tensor]:
    """Read what the strategies of a head version remember."""
    return _tensors(folder / MEMORY, read_facts(folder)[1])


def _tensors(path: Path, sums: Mapping[str, str]) -> dict[str, Tensor]:
    return safetensors.torch.load(files.checked(path, sums[path.name]))
