"""Metadata files: a row an instance, in JSON lines, CSV or TSV."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import media
from engine.errors import Unreadable, UserError
from engine.ids import MAX_TEXT_BYTES, clean_text, item_id
from engine.sources.base import (
    Collection,
    Row,
    checked_id,
    checked_split,
    checked_task,
    inside,
    listed,
    string,
)
from engine.types import Modality, Skipped

MEDIA_FIELDS: tuple[Modality, ...] = ("image", "audio")
KNOWN_FIELDS = frozenset({*MEDIA_FIELDS, "file_name", "id", "labels", "split", "task", "text", "texts"})
MAX_LINE = 64 << 20


def open_metadata(source: Path, table: Path) -> Collection:
    """Open a metadata file; source is the folder it stands in or the file itself."""
    parse = _json_lines if table.suffix == ".jsonl" else _csv_lines
    with table.open("rb") as file:
        total = sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
    return Collection(source, total, lambda: _rows(table, parse(table)))


def _json_lines(table: Path) -> Iterator[tuple[int, object]]:
    """Yield (line number, the object or the reason why there is none)."""
    with table.open("rb") as file:
        for number, raw in enumerate(iter(lambda: file.readline(MAX_LINE), b""), start=1):
            if len(raw) == MAX_LINE:
                raise UserError(f"{table} line {number} is longer than {MAX_LINE >> 20} MiB")
            line = raw.removeprefix(b"\xef\xbb\xbf").strip()
            if line:
                yield number, _json(line)


def _json(line: bytes) -> object:
    def refuse(constant: str) -> object:
        raise Unreadable(f"{constant} is not JSON")

    try:
        return json.loads(line.decode(), parse_constant=refuse)
    except Unreadable as error:
        return error
    except UnicodeDecodeError:
        return Unreadable("not UTF-8")
    except RecursionError:
        return Unreadable("nested too deeply")
    except ValueError as error:
        return Unreadable(f"not JSON: {error}")


def _csv_lines(table: Path) -> Iterator[tuple[int, object]]:
    csv.field_size_limit(MAX_TEXT_BYTES)
    delimiter = "\t" if table.suffix == ".tsv" else ","
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            for fields in reader:
                row: dict[str, Any] = {k: v for k, v in fields.items() if k is not None and v}
                if "labels" in row:
                    row["labels"] = [label.strip() for label in row["labels"].split(";")]
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {table}: {error}") from None


def _rows(table: Path, lines: Iterator[tuple[int, object]]) -> Iterator[Row | Skipped]:
    seen: dict[str, int] = {}
    for number, fields in lines:
        try:
            if isinstance(fields, Unreadable):
                raise fields
            if not isinstance(fields, dict):
                raise Unreadable("not a JSON object")
            row = _row(table.parent, number, fields)
            count = seen[row.name] = seen.get(row.name, 0) + 1
            if count > 1 and row.id is not None:
                raise Unreadable(f"id {row.id!r} stands in an earlier row too")
        except Unreadable as error:
            yield Skipped(str(table), str(error), number)
        else:
            # Flickr8k style: a row a caption, all with the same picture
            yield row if count == 1 else replace(row, name=f"{row.name}#{count}")


def _row(folder: Path, number: int, fields: Mapping[str, Any]) -> Row:
    paths = _media(folder, fields)
    texts = [clean_text(string(text, "text")) for text in _values(fields, ["text", "texts"])]
    if not paths and not texts:
        raise Unreadable("names no medium and no text")
    given_id = checked_id(fields["id"]) if "id" in fields else None
    name = given_id or " ".join(str(path) for path in paths.values()) or item_id("text", texts[0].encode())
    return Row(
        name,
        line=number,
        id=given_id,
        task=checked_task(fields["task"]) if fields.get("task") is not None else None,
        split=checked_split(fields["split"]) if fields.get("split") is not None else None,
        labels=tuple(string(label, "label") for label in _values(fields, ["labels"])),
        media=paths,
        texts=tuple(dict.fromkeys(texts)),
        other={name: value for name, value in fields.items() if name not in KNOWN_FIELDS},
    )


def _media(folder: Path, fields: Mapping[str, Any]) -> dict[Modality, Path]:
    if "video" in fields:
        raise Unreadable("videos cannot be read")
    paths = {m: _path(folder, fields[m], m) for m in MEDIA_FIELDS if m in fields}
    if "file_name" in fields:
        path = _path(folder, fields["file_name"], "file_name")
        modality = media.modality_of(path)
        if modality is None:
            raise Unreadable(f"{path.suffix or path.name} is no medium that can be read")
        paths[modality] = path
    return paths


def _path(folder: Path, value: object, name: str) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise Unreadable(f"{name} is not a path")
    if "://" in value:
        raise Unreadable(f"{name} is an address; only files are read")
    if Path(value).is_absolute():
        raise Unreadable(f"{name} is an absolute path; give it relative to the source")
    return inside(folder, folder / value)


def _values(fields: Mapping[str, Any], names: Sequence[str]) -> list[object]:
    """Return the values of these fields as one list."""
    return [value for name in names if fields.get(name) is not None for value in listed(fields[name])]
