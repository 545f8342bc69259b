"""Sources: a folder, a table of any form, or a data set in one of the usual forms, read into rows one at a time."""

import os
from pathlib import Path

from engine.errors import UserError
from engine.media import spelled
from engine.sources.base import Collection, metadata_of, unread_beside
from engine.sources.tables.values import AS_USUAL, SourceOptions


def absolute(source: Path) -> Path:
    """Return the path that the rows of a source are stored under."""
    path = Path(os.path.abspath(source))  # noqa: PTH100 - resolve() would follow links
    return path if str(path).isascii() else spelled(path)


def open_source(source: Path, options: SourceOptions = AS_USUAL) -> Collection:
    """Open a source, whatever its kind."""
    from engine.sources import captions, folder, splits, table, vectors_folder
    from engine.sources.tables import npz

    media, limits = options.media, options.limits
    source = absolute(source)
    if not source.exists():
        raise UserError(f"no such file or folder: {source}")
    if source.is_dir():
        if paths := metadata_of(source):
            opened = table.open_table(source, paths[0], folder=media or source, limits=limits)
            opened.notes.extend(unread_beside(*paths))
            return opened
        return (
            splits.open_splits(source, limits)
            or vectors_folder.open_vectors(source, limits)
            or folder.open_folder(source)
        )
    suffix = source.suffix.lower()
    if suffix in table.OPEN:
        return table.open_table(source, source, folder=media, limits=limits)
    if suffix == ".json":
        return captions.open_coco(source, media, limits)
    if suffix == ".txt" and captions.holds_tokens(source):
        return captions.open_flickr(source, media, limits)
    if suffix == ".txt":
        return table.open_table(source, source, folder=media, limits=limits)
    if suffix == ".npy":
        raise npz.lone_array(source)
    raise UserError(
        f"{source} is no source: give a folder, a .jsonl, .csv, .tsv, .npz or .parquet file, "
        "or the captions of COCO (.json) or Flickr (.txt)"
    )
