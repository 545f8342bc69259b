from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.backbones.precomputed import FeatureFile
from engine.errors import UserError
from engine.ingest.encoding import Loader
from engine.ingest.ingest import ingest, preview
from engine.sources.tables.values import SourceOptions
from engine.storage.store import Store

ROWS = 24


@pytest.fixture
def loader(store: Store) -> Loader:
    return Loader(store, lambda modality: FeatureFile(modality, 4))


def features(path: Path, seed: int, *, rows: int = ROWS, ids: bool = True) -> Path:
    """Write a features file; another seed is another encoder."""
    images = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    columns: dict[str, Any] = {"id": np.array([f"p{n}" for n in range(rows)])} if ids else {}
    np.savez(path, image=images, **columns)
    return path


def test_most_ids_with_other_features_are_another_encoder_and_nothing_is_stored(
    loader: Loader, tmp_path: Path
) -> None:
    source = features(tmp_path / "a.npz", 0)
    ingest(loader, source)
    before = list(loader.store.rows())
    with pytest.raises(
        UserError, match=r"a\.npz: 24 of 24 rows that are stored have other features now, and"
    ):
        ingest(loader, features(source, 1))
    assert list(loader.store.rows()) == before


def test_the_same_ids_from_another_file_with_other_features_are_another_encoder(
    loader: Loader, tmp_path: Path
) -> None:
    ingest(loader, features(tmp_path / "a.npz", 0))
    with pytest.raises(
        UserError, match=r"b\.npz: 24 of 24 rows that are stored have other features now, and"
    ):
        ingest(loader, features(tmp_path / "b.npz", 1))


def test_the_same_features_under_the_same_ids_from_another_file_are_taken(
    loader: Loader, tmp_path: Path
) -> None:
    ingest(loader, features(tmp_path / "a.npz", 0))
    assert ingest(loader, features(tmp_path / "b.npz", 0)).added == ROWS


def test_who_says_that_the_encoder_is_the_same_is_believed(loader: Loader, tmp_path: Path) -> None:
    source = features(tmp_path / "a.npz", 0)
    ingest(loader, source)
    believing = Loader(loader.store, loader.backbone, SourceOptions(reread=True))
    assert ingest(believing, features(source, 1)).updated == ROWS


def test_a_few_changed_rows_are_an_edit(loader: Loader, tmp_path: Path) -> None:
    source = features(tmp_path / "a.npz", 0, rows=10)
    ingest(loader, source)
    assert ingest(loader, features(source, 1, rows=10)).updated == 10


def test_rows_without_ids_may_have_moved_up_or_down(loader: Loader, tmp_path: Path) -> None:
    source = features(tmp_path / "a.npz", 0, ids=False)
    ingest(loader, source)
    assert ingest(loader, features(source, 1, ids=False)).updated == ROWS


def test_files_that_look_unchanged_are_read_again_if_asked(loader: Loader, tmp_path: Path) -> None:
    source = features(tmp_path / "a.npz", 0)
    ingest(loader, source)
    believing = Loader(loader.store, loader.backbone, SourceOptions(reread=True))
    assert ingest(believing, source).unchanged == ROWS


def test_a_dry_run_refuses_it_too(loader: Loader, tmp_path: Path) -> None:
    source = features(tmp_path / "a.npz", 0)
    ingest(loader, source)
    with pytest.raises(UserError, match="have other features now"):
        preview(loader.store, features(source, 1))


def test_another_caption_of_the_same_features_is_taken(loader: Loader, tmp_path: Path) -> None:
    vectors, source = np.eye(4, dtype=np.float32), tmp_path / "a.parquet"

    def write(*captions: str) -> None:
        columns = {"caption": list(captions), "text_embedding": list(vectors[: len(captions)])}
        pq.write_table(pa.table(columns), source)

    write("a cat", "a dog")
    ingest(loader, source)
    assert ingest(loader, source).unchanged == 2
    write("a cat", "a wet dog")
    report = ingest(loader, source)
    assert (report.updated, report.unchanged) == (1, 1)
    shown = [loader.store.item(id) for row in loader.store.rows() for id in row.items["text"]]
    assert {found[0].text for found in shown if found} == {"a cat", "a wet dog"}
