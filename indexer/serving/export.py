"""What is served as Parquet files and a manifest that says how each direction searches them, for other tools."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import UserError, Vanished, inaccessible
from engine.storage import files, names
from engine.storage.manifest import Served
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import Modality, ShardKey
from indexer.serving.snapshot import reading, renewed
from indexer.shards import files as shards
from indexer.shards.shard import Shard

FORMAT = 1
BLOCK = 8192
"""Rows of a row group, and so how many are held as Python objects at a time."""


@dataclass(frozen=True)
class File:
    """One Parquet file: a shard; bytes on disk."""

    file: str
    task: str
    modality: Modality
    head: int
    space: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class ExportSummary:
    """What `mneme export --json` prints; seconds are wall time."""

    files: Sequence[File]
    rows: int
    bytes: int
    seconds: float


def export(root: Path, folder: Path) -> ExportSummary:
    """Write every shard that is served, and the manifest, to a folder that does not exist or is empty.

    Either all of it is there afterwards, or nothing.
    """
    began = time.perf_counter()
    with reading(root) as (workspace, store), _new(folder) as draft:
        try:
            served = _shards(workspace)
        except Vanished:  # an `index` switched and a later one cleaned up since the manifest was read
            workspace = renewed(root, store)
            served = _shards(workspace)
        width = workspace.manifest.width
        fields = _fields(store)
        written = [_write(shard, store, draft / name(shard.key), width, fields) for shard in served]
        manifest = files.to_json(_manifest(workspace, written))
        (draft / "manifest.json").write_bytes(manifest)
    size = sum(file.bytes for file in written) + len(manifest)
    return ExportSummary(written, sum(file.rows for file in written), size, time.perf_counter() - began)


def name(key: ShardKey) -> str:
    """Return the file of a shard: TASK.MODALITY.vHEAD.parquet, with the space and the part where it has them."""
    task, modality = names.file_name(key.task), names.file_name(key.modality)
    space = f".in-v{key.space:04d}" if key.space != key.head else ""
    part = f".{key.part}" if key.part else ""
    return f"{task}.{modality}.v{key.head:04d}{space}{part}.parquet"


def _shards(workspace: Workspace) -> list[Shard]:
    backbones, served = workspace.manifest.backbones, workspace.manifest.served.shards
    if not served:
        raise UserError("nothing is indexed yet: run `mneme index SOURCE`")
    return [
        shards.read(workspace.shard(shard.path), shard.key, backbones[shard.key.modality].id)
        for shard in served
    ]


@contextmanager
def _new(folder: Path) -> Iterator[Path]:
    """Yield a draft of a new folder, having dropped those of exports to it that were killed."""
    folder = folder.resolve()
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} exists and is not empty: give a new folder")
        files.drop_drafts_of(folder)
        with files.new_folder(folder) as draft:
            yield draft
    except OSError as error:
        raise inaccessible(error, folder, to="write to") from None


def _write(shard: Shard, store: Store, path: Path, width: int, fields: Sequence[str]) -> File:
    """Write one shard, a row group at a time."""
    import pyarrow.parquet as pq

    schema, rows = _schema(width, fields), 0
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["task", "modality"]) as writer:
        for start in range(0, len(shard.ids), BLOCK):
            batch = _batch(shard, slice(start, start + BLOCK), store, schema, fields)
            writer.write_batch(batch)
            rows += batch.num_rows
    key = shard.key
    return File(path.name, key.task, key.modality, key.head, key.space, rows, path.stat().st_size)


def _schema(width: int, fields: Sequence[str]) -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            ("modality", pa.string()),
            ("task", pa.string()),
            ("tasks", pa.list_(pa.string())),
            ("path", pa.string()),
            ("paths", pa.list_(pa.string())),
            ("text", pa.string()),
            ("head", pa.int32()),
            ("rows", pa.list_(pa.string())),
            *((_printable(column), pa.string()) for column in fields),
            ("embedding", pa.list_(pa.float32(), width)),
        ]
    )


def _batch(shard: Shard, block: slice, store: Store, schema: Any, fields: Sequence[str]) -> Any:
    """Return a block of a shard's rows, less the items that no row of what is served names."""
    import pyarrow as pa

    described = [store.item(id.decode(), shard.key.task) for id in shard.ids[block].tolist()]
    rows = [row for row, item in enumerate(described) if item and item[1]]
    items = [item for item in described if item and item[1]]
    vectors, key = shard.vectors[block][rows], shard.key
    columns = [
        [shard.ids[block][row].decode() for row in rows],
        [key.modality] * len(rows),
        [key.task] * len(rows),
        [list(tasks) for _, tasks in items],
        [_printable(item.paths[0]) if item.paths else None for item, _ in items],
        [list(map(_printable, item.paths)) for item, _ in items],
        [item.text for item, _ in items],
        [key.head] * len(rows),
        [list(map(json.dumps, item.rows)) for item, _ in items],
        *([_text(item.row.get(column.removeprefix("row."))) for item, _ in items] for column in fields),
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=False)]
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    return pa.record_batch([*arrays, embedding], schema=schema)


def _fields(store: Store) -> list[str]:
    """Return the columns for what rows say of themselves: `row.id`, `row.source`, and each field of any row."""
    names = sorted({name for row in store.rows() for name in row.other} - {"id", "source"})
    return [f"row.{name}" for name in ("id", "source", *names)]


def _printable(text: str) -> str:
    """Return a string that UTF-8 can hold."""
    return text.encode(errors="backslashreplace").decode()


def _text(value: object) -> str | None:
    """Return a field as a string: what is none, as JSON."""
    if value is None:
        return None
    return _printable(value) if isinstance(value, str) else json.dumps(value)


def _manifest(workspace: Workspace, written: Sequence[File]) -> dict[str, Any]:
    """Return which files there are, and how each direction searches them."""
    manifest = workspace.manifest
    return {
        "format": FORMAT,
        "width": manifest.width,
        "lessons": [vars(lesson) for lesson in manifest.history.lessons[: manifest.served.lessons]],
        "backbones": {modality: encoder.id for modality, encoder in manifest.backbones.items()},
        "files": [asdict(file) for file in written],
        "directions": _directions(manifest.served, written),
    }


def _directions(served: Served, written: Sequence[File]) -> list[dict[str, Any]]:
    return [
        {
            "query": direction.query,
            "target": direction.target,
            "policy": direction.policy,
            "asked": [
                {"file": written[lookup.shard].file, "query_head": lookup.queries, "tau": lookup.tau}
                for lookup in direction.lookups
            ],
        }
        for direction in served.directions
    ]
