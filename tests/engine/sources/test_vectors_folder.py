from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import UserError
from engine.sources import open_source
from engine.sources.base import Row

IMAGES = np.arange(24, dtype=np.float16).reshape(12, 2)


def lay(folder: Path, *, rows: int = 12) -> Path:
    """Write twelve embeddings of pictures and texts in parts 0, 1 and 10, with what stands beside them."""
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir()
    for part, start, end in ((10, 8, 12), (0, 0, 4), (1, 4, 8)):
        np.save(folder / f"img_emb/img_emb_{part}.npy", IMAGES[start:end])
        np.save(folder / f"text_emb/text_emb_{part}.npy", IMAGES[start:end] + 1)
        columns = {
            "image_path": [f"/data/{n}.jpg" for n in range(start, end)],
            "caption": [f"row {n}" for n in range(start, end)],
        }
        pq.write_table(pa.table(columns).slice(0, rows), folder / f"metadata/metadata_{part}.parquet")
    return folder


def read(folder: Path) -> list[Row]:
    return [row for row in open_source(folder).rows() if isinstance(row, Row)]


def test_parts_are_read_in_the_order_of_their_numbers_beside_their_metadata(tmp_path: Path) -> None:
    rows = read(lay(tmp_path))
    assert [row.texts for row in rows] == [(f"row {n}",) for n in range(12)]
    assert np.array_equal(np.stack([row.features["image"] for row in rows]), IMAGES)
    assert [row.origins["image"] for row in rows] == [Path(f"/data/{n}.jpg") for n in range(12)]


def test_the_widths_are_known_at_once(tmp_path: Path) -> None:
    collection = open_source(lay(tmp_path))
    assert (collection.count(), collection.widths) == (12, {"image": 2, "text": 2})


def test_without_metadata_the_embeddings_are_rows(tmp_path: Path) -> None:
    (tmp_path / "img_emb").mkdir()
    np.save(tmp_path / "img_emb/img_emb_0.npy", IMAGES)
    assert len(read(tmp_path)) == 12


def test_parts_of_other_lengths_are_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows are not aligned: image 12, text 12, metadata 6$"):
        open_source(lay(tmp_path, rows=2))


@pytest.mark.parametrize("array", [np.zeros(3), np.array(["a"]), np.array([[object()]], object)])
def test_an_array_of_something_else_is_a_user_error(tmp_path: Path, array: object) -> None:
    (tmp_path / "img_emb").mkdir()
    np.save(tmp_path / "img_emb/img_emb_0.npy", np.asarray(array), allow_pickle=True)
    with pytest.raises(UserError, match=r"img_emb_0\.npy"):
        open_source(tmp_path)


def test_rows_of_nan_alone_are_counted(tmp_path: Path) -> None:
    for name in ("img_emb", "text_emb"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "0.npy", IMAGES)
    np.save(tmp_path / "img_emb/0.npy", np.full((12, 2), np.nan))
    collection = open_source(tmp_path)
    assert len(list(collection.rows())) == 12
    assert collection.notes == ["12 rows hold NaN alone as image and are read without, like row 1"]
