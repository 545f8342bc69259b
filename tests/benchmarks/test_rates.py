import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import rates
from engine.sources import open_source
from engine.sources.base import Row


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Ten photos with a caption each."""
    folder = tmp_path / "pack"
    (folder / "images").mkdir(parents=True)
    rows = [{"image": f"images/{n}.png", "texts": [f"number {n}"], "task": "t"} for n in range(10)]
    for n in range(10):
        Image.new("RGB", (32, 32), (20 * n, 0, 0)).save(folder / f"images/{n}.png")
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_an_excerpt_takes_rows_evenly_with_their_photos(pack: Path, tmp_path: Path) -> None:
    rows = [row for row in open_source(rates._excerpt(pack, 4, tmp_path)).rows() if isinstance(row, Row)]
    assert [row.texts for row in rows] == [("number 0",), ("number 2",), ("number 5",), ("number 7",)]
    reds = [Image.open(row.media["image"]).getpixel((0, 0)) for row in rows]
    assert reds == [(0, 0, 0), (40, 0, 0), (100, 0, 0), (140, 0, 0)]


def test_a_backbone_is_measured_by_what_it_decodes_encodes_and_indexes(pack: Path, tmp_path: Path) -> None:
    row = rates._measure("builtin", pack, tmp_path / "w")
    assert (row["backbone"], row["items"]) == ("builtin", 20)
    assert all(float(str(row[name])) > 0 for name in row if name.endswith("items/s"))
