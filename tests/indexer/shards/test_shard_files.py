import gc
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from engine.errors import UserError, Vanished
from engine.storage import files
from engine.types import ShardKey
from indexer.routing import slda
from indexer.shards import files as shards
from indexer.shards import gpu
from indexer.shards.shard import load_faiss
from unit_rows import KEY, E, Vectors, crowded, ids, shard_of, unit

NAMES = ("vectors.npy", "ids.npy")
OLD_NAMES = ("vectors.faiss", "stats.safetensors")


def written(folder: Path, vectors: Vectors) -> Path:
    shards.write(shard_of(vectors), folder / "v0000-00000000", backbone="fake-1", digest="0" * 32)
    return folder / "v0000-00000000"


def edit(folder: Path, changes: Mapping[str, Any]) -> None:
    facts = json.loads((folder / "shard.json").read_text())
    del facts["checksum"], facts["total"]  # as before there were any
    (folder / "shard.json").write_text(json.dumps({**facts, **changes}))


def written_as(number: int, folder: Path, vectors: Vectors) -> Path:
    """Write a shard of an older format, as the releases of its time did."""
    folder = written(folder, vectors)
    faiss = load_faiss()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    stats: dict[str, NDArray[Any]] = {
        "items": np.array(ids(len(vectors)), "S32").view(np.uint8).reshape(-1, 32)
    }
    if number == 1:
        stats |= {"mean": vectors.mean(0), "covariance": np.cov(vectors.T, bias=True)}
    contents = zip(OLD_NAMES, (faiss.serialize_index(index).data, safetensors.numpy.save(stats)), strict=True)
    for name in NAMES:
        (folder / name).unlink()
    checksums, size = {}, 0
    for name, content in contents:
        checksums[name], size = files.checksum(content), size + len(content)
        (folder / name).write_bytes(content)
    edit(folder, {"format": number, "bytes": size, "checksums": checksums})
    return folder


def test_a_shard_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    vectors = crowded()
    back = shards.read(written(tmp_path, vectors), KEY, "fake-1")
    assert back.key == KEY
    assert_array_equal(back.ids, shard_of(vectors).ids)
    assert_array_equal(back.vectors, vectors)


@pytest.mark.parametrize("number", [1, 2])
def test_a_shard_of_an_older_format_is_read(number: int, tmp_path: Path) -> None:
    vectors = crowded()
    folder = written_as(number, tmp_path, vectors)
    back = shards.read(folder, KEY, "fake-1")
    assert_array_equal(back.vectors, vectors)
    assert_array_equal(back.ids, shard_of(vectors).ids)
    assert_array_equal(shards.read_ids(folder, KEY), back.ids)


def test_a_shard_from_disk_answers_as_the_one_in_memory(tmp_path: Path) -> None:
    vectors = crowded()
    back = shards.read(written(tmp_path, vectors), KEY, "fake-1").search(unit(9, 1), 12)
    assert_array_equal(back.ids, shard_of(vectors).search(unit(9, 1), 12).ids)


def test_writing_says_how_many_bytes_the_data_takes(tmp_path: Path) -> None:
    size = shards.write(shard_of(unit(9)), tmp_path / "one", backbone="fake-1", digest="0" * 32)
    assert size == sum((tmp_path / "one" / name).stat().st_size for name in NAMES)
    assert shards.read_facts(tmp_path / "one").bytes == size


def test_the_size_of_a_shard_is_that_of_its_files_less_their_headers(tmp_path: Path) -> None:
    headers = 2 * 128  # of NPY
    size = shards.write(shard_of(unit(9)), tmp_path / "one", backbone="fake-1", digest="0" * 32)
    assert shards.size(9, E) == size - headers


def test_a_shard_records_what_it_is_and_a_checksum_of_each_file(tmp_path: Path) -> None:
    folder = written(tmp_path, unit(9))
    assert shards.read_facts(folder) == shards.Facts(
        format=3,
        **vars(KEY),
        backbone="fake-1",
        digest="0" * 32,
        rows=9,
        bytes=sum((folder / name).stat().st_size for name in NAMES),
        checksums={name: files.checksum((folder / name).read_bytes()) for name in NAMES},
        total=shards.total(unit(9)),
    )


def test_a_shard_holds_nothing_but_its_files(tmp_path: Path) -> None:
    assert {file.name for file in written(tmp_path, unit(9)).iterdir()} == {*NAMES, "shard.json"}


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, task="life"),
        replace(KEY, modality="text"),
        replace(KEY, head=1),
        replace(KEY, space=3),
        replace(KEY, part="a"),
    ],
)
def test_a_shard_that_is_another_than_the_manifest_says_is_refused(tmp_path: Path, other: ShardKey) -> None:
    folder = written(tmp_path, unit(4))
    with pytest.raises(UserError, match="holds another shard than the manifest says; `verify repair`"):
        shards.read(folder, other, "fake-1")


def test_a_shard_of_another_backbone_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, unit(4))
    with pytest.raises(UserError, match="holds another shard than the manifest says"):
        shards.read(folder, KEY, "fake-2")


def test_a_shard_of_other_items_than_its_name_says_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, unit(4)).rename(tmp_path / "v0000-00000001")
    with pytest.raises(UserError, match="holds another shard than the manifest says"):
        shards.read(folder, KEY, "fake-1")


def test_a_shard_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, unit(4))
    edit(folder, {"format": 4})
    with pytest.raises(UserError, match=r"has a newer format; this mneme reads up to 3: upgrade mneme$"):
        shards.read(folder, KEY, "fake-1")


def test_a_router_of_a_newer_format_is_refused_though_shards_have_that_format(tmp_path: Path) -> None:
    (tmp_path / "router.json").write_text(json.dumps({"format": 3}))
    with pytest.raises(UserError, match=r"has a newer format; this mneme reads up to 2"):
        slda.read(tmp_path)


def test_a_shard_with_anothers_vectors_is_damaged(tmp_path: Path) -> None:
    many, few = written(tmp_path / "a", unit(9)), written(tmp_path / "b", unit(4))
    (few / "vectors.npy").replace(many / "vectors.npy")
    with pytest.raises(UserError, match=r"is damaged: its files are not what was written; `verify"):
        shards.read(many, KEY, "fake-1")


def test_a_shard_of_fewer_vectors_than_items_is_damaged(tmp_path: Path) -> None:
    many, few = written(tmp_path / "a", unit(9)), written(tmp_path / "b", unit(4))
    (few / "vectors.npy").replace(many / "vectors.npy")
    edit(many, {"bytes": sum((many / name).stat().st_size for name in NAMES)})
    with pytest.raises(UserError, match=r"is damaged: 4 vectors for 9 items; `verify repair`"):
        shards.read(many, KEY, "fake-1")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kept", [0, 30, 200])
def test_a_truncated_shard_is_one_line(tmp_path: Path, name: str, kept: int) -> None:
    folder = written(tmp_path, unit(40))
    (folder / name).write_bytes((folder / name).read_bytes()[:kept])
    with pytest.raises(UserError, match="is damaged: its files are not what was written"):
        shards.read(folder, KEY, "fake-1")


def test_a_shard_whose_ids_were_changed_is_damaged(tmp_path: Path) -> None:
    folder = written(tmp_path, unit(40))
    content = (folder / "ids.npy").read_bytes()
    (folder / "ids.npy").write_bytes(content[:-1] + b"0")
    with pytest.raises(UserError, match="is damaged: its files are not what was written"):
        shards.read_ids(folder, KEY)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"\x93NUMPY", b"\x93NUMPX"), (b"<f4", b"<i4"), (b"<f4", b"<f9"), (b"(9, 16)", b"(9, 15)")],
)
def test_vectors_whose_header_was_changed_cannot_be_read(tmp_path: Path, old: bytes, new: bytes) -> None:
    folder = written(tmp_path, unit(9))
    content = (folder / "vectors.npy").read_bytes()
    (folder / "vectors.npy").write_bytes(content.replace(old, new, 1))
    with pytest.raises(UserError, match=r"is damaged: vectors.npy cannot be read; `verify repair`"):
        shards.read(folder, KEY, "fake-1")


def test_vectors_that_are_no_table_cannot_be_read(tmp_path: Path) -> None:
    folder = written(tmp_path, unit(9))
    content = (folder / "vectors.npy").read_bytes()
    (folder / "vectors.npy").write_bytes(content.replace(b"(9, 16), ", b"(9,4,4), ", 1))
    with pytest.raises(UserError, match=r"is damaged: vectors.npy cannot be read"):
        shards.read(folder, KEY, "fake-1")


def test_vectors_of_an_older_format_that_are_no_index_cannot_be_read(tmp_path: Path) -> None:
    folder = written_as(2, tmp_path, unit(9))
    content = (folder / "vectors.faiss").read_bytes()
    (folder / "vectors.faiss").write_bytes(b"none" + content[4:])
    with pytest.raises(UserError, match=r"is damaged: vectors.faiss cannot be read"):
        shards.read(folder, KEY, "fake-1")


@pytest.mark.parametrize("name", NAMES)
def test_a_shard_without_one_of_its_files_is_damaged(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path, unit(9))
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"is damaged: .*{name} cannot be read"):
        shards.read(folder, KEY, "fake-1")


def test_facts_that_are_no_json_are_one_line(tmp_path: Path) -> None:
    folder = written(tmp_path, unit(9))
    (folder / "shard.json").write_text("{")
    with pytest.raises(
        UserError, match=r"shard.json is damaged: it is no JSON object; `verify repair` mends it$"
    ):
        shards.read(folder, KEY, "fake-1")


def test_a_shard_whose_folder_has_vanished_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Vanished, match=r" is gone: `verify repair` makes it anew$"):
        shards.read(tmp_path / "gone", KEY, "fake-1")


def test_a_shard_that_vanishes_while_it_is_read_is_gone_and_not_damaged(tmp_path: Path) -> None:
    folder = written(tmp_path, unit(9))
    facts = shards.read_facts(folder)
    files.drop_folder(folder)
    with pytest.raises(Vanished, match=" is gone: "):
        shards._checked_ids(folder, facts)


def test_mapped_vectors_live_as_long_as_they_are_held(tmp_path: Path) -> None:
    rows = unit(5000)
    shard = shards.read(written(tmp_path, rows), KEY, "fake-1")
    part = shard.vectors[1000:]
    del shard
    gc.collect()
    assert_array_equal(part, rows[1000:])


def test_mapped_vectors_cannot_be_written_to(tmp_path: Path) -> None:
    shard = shards.read(written(tmp_path, unit(9)), KEY, "fake-1")
    with pytest.raises(ValueError, match="read-only"):
        shard.vectors[0] = 1.0


@pytest.mark.skipif(gpu.gpus() == 0, reason="this FAISS sees no GPU")
def test_a_mapped_shard_survives_its_move_to_the_gpu(tmp_path: Path) -> None:
    moved = gpu.to_gpu(shards.read(written(tmp_path, crowded()), KEY, "fake-1"))
    assert_array_equal(moved.search(unit(9, 1), 12).ids, shard_of(crowded()).search(unit(9, 1), 12).ids)
