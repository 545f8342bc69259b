"""Sources: a folder, a metadata file or a features file, read into rows one at a time."""

import os
from pathlib import Path

from engine.errors import UserError
from engine.sources.base import Collection


def open_source(source: Path) -> Collection:
    """Open a source, whatever its kind."""
    from engine.sources import feature_file, folder, metadata

    source = Path(os.path.abspath(source))  # noqa: PTH100 - resolve() would follow links
    if not source.exists():
        raise UserError(f"no such file or folder: {source}")
    if source.is_dir():
        for name in ("metadata.jsonl", "metadata.csv"):
            if (source / name).is_file():
                return metadata.open_metadata(source, source / name)
        return folder.open_folder(source)
    if source.suffix in (".jsonl", ".csv", ".tsv"):
        return metadata.open_metadata(source, source)
    if source.suffix in (".npz", ".parquet"):
        return feature_file.open_arrays(source)
    raise UserError(f"{source} is no source: give a folder, or a .jsonl, .csv, .tsv, .npz or .parquet file")
