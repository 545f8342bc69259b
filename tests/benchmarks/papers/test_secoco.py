import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.papers import groups, secoco
from engine.errors import UserError
from engine.sources import open_source
from engine.sources.base import Row

CATEGORIES = {"cat": "animal", "fork": "kitchen", "bus": "vehicle", "person": "person", "racket": "sports"}


def put(folder: Path, part: str, images: dict[int, list[str]], captions: dict[int, list[str]]) -> None:
    """Write one part of a made-up COCO: the categories of the objects of each image."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / part).mkdir()
    numbers = {name: number for number, name in enumerate(CATEGORIES, start=1)}
    for id_ in images:
        Image.new("RGB", (8, 8), (id_ % 256, 0, 0)).save(folder / part / f"{id_}.jpg")
    instances = {
        "images": [{"id": id_, "file_name": f"{id_}.jpg"} for id_ in images],
        "categories": [{"id": numbers[n], "name": n, "supercategory": s} for n, s in CATEGORIES.items()],
        "annotations": [
            {"image_id": id_, "category_id": numbers[name], "segmentation": [[1, 2, 3, 4]]}
            for id_, names in images.items()
            for name in names
        ],
    }
    said = [{"image_id": id_, "caption": text} for id_, texts in captions.items() for text in texts]
    (folder / f"annotations/instances_{part}.json").write_text(json.dumps(instances))
    (folder / f"annotations/captions_{part}.json").write_text(json.dumps({"annotations": said}))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    folder = tmp_path / "coco"
    train = {1: ["cat", "fork", "cat"], 2: ["cat", "bus"], 3: ["bus"], 4: []}
    put(folder, "train2014", train, {n: [f"caption {n}", f"more of\n{n} "] for n in train})
    put(folder, "val2014", {5: ["person", "racket"]}, {5: ["a player"]})
    return folder


def made(coco: Path, out: Path | None = None) -> dict[str, groups.MetadataRow]:
    return {row.id: row for row in secoco.build(coco, out or coco)}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.papers.secoco", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


# which images, in which task


def test_the_groups_hold_each_of_the_twelve_super_categories_once() -> None:
    kinds = [kind for kinds in secoco.GROUPS.values() for kind in kinds]
    assert (len(kinds), len(set(kinds))) == (12, 12)


def test_an_image_with_objects_of_two_groups_is_dropped(coco: Path) -> None:
    assert "coco-2" not in made(coco)


def test_an_image_without_objects_is_dropped(coco: Path) -> None:
    assert "coco-4" not in made(coco)


def test_super_categories_of_one_group_are_one_task(coco: Path) -> None:
    assert made(coco)["coco-1"].task == "animal"


def test_both_parts_of_coco_are_taken(coco: Path) -> None:
    assert {id_: row.task for id_, row in made(coco).items()} == {
        "coco-1": "animal",
        "coco-3": "vehicle",
        "coco-5": "person",
    }


def test_labels_are_the_categories_each_once(coco: Path) -> None:
    assert made(coco)["coco-1"].labels == ["cat", "fork"]


def test_captions_are_kept_on_one_line_each(coco: Path) -> None:
    assert made(coco)["coco-1"].texts == ["caption 1", "more of 1"]


def test_an_image_whose_captions_are_blank_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "train2014", {1: ["cat"], 2: ["cat"]}, {1: [" "], 2: ["a cat"]})
    put(tmp_path, "val2014", {}, {})
    assert set(made(tmp_path)) == {"coco-2"}


def test_an_image_without_a_file_is_left_out(coco: Path) -> None:
    (coco / "train2014/3.jpg").unlink()
    assert set(made(coco)) == {"coco-1", "coco-5"}


def test_files_of_2017_are_read_where_those_of_2014_are_not(tmp_path: Path) -> None:
    put(tmp_path, "train2017", {1: ["cat"]}, {1: ["a cat"]})
    put(tmp_path, "val2017", {2: ["bus"]}, {2: ["a bus"]})
    assert made(tmp_path)["coco-1"].image == "train2017/1.jpg"


def test_the_same_seed_writes_the_same_bytes(coco: Path) -> None:
    made(coco)
    first = (coco / "metadata.jsonl").read_bytes()
    made(coco)
    assert (coco / "metadata.jsonl").read_bytes() == first


# the folder


def test_mneme_reads_every_row(coco: Path) -> None:
    rows = made(coco)
    read = list(open_source(coco).rows())
    assert [(r.id, r.task, r.split, list(r.texts)) for r in read if isinstance(r, Row)] == [
        (row.id, row.task, row.split, list(row.texts)) for row in rows.values()
    ]


def test_mneme_finds_the_images_of_another_folder(coco: Path, tmp_path: Path) -> None:
    made(coco, tmp_path / "out")
    read = [row for row in open_source(tmp_path / "out").rows() if isinstance(row, Row)]
    assert [row.media["image"].is_file() for row in read] == [True, True, True]


def test_images_are_hard_links_in_another_folder(coco: Path, tmp_path: Path) -> None:
    made(coco, tmp_path / "out")
    assert (tmp_path / "out/val2014/5.jpg").samefile(coco / "val2014/5.jpg")


def test_images_are_copied_where_links_cannot_be_made(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    made(coco, tmp_path / "out")
    assert (tmp_path / "out/val2014/5.jpg").read_bytes() == (coco / "val2014/5.jpg").read_bytes()


def test_an_image_folder_that_is_a_link_out_is_refused_where_mneme_would_not_read_it(
    coco: Path, tmp_path: Path
) -> None:
    (coco / "train2014").rename(tmp_path / "elsewhere")
    (coco / "train2014").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"train2014/1\.jpg leads out of .*--out"):
        made(coco)


def test_an_image_folder_that_is_a_link_serves_another_folder(coco: Path, tmp_path: Path) -> None:
    (coco / "train2014").rename(tmp_path / "elsewhere")
    (coco / "train2014").symlink_to(tmp_path / "elsewhere")
    made(coco, tmp_path / "out")
    assert (tmp_path / "out/train2014/1.jpg").samefile(tmp_path / "elsewhere/1.jpg")


def test_a_foreign_metadata_file_is_left_alone(coco: Path) -> None:
    (coco / "metadata.jsonl").write_text('{"text": "mine"}\n')
    with pytest.raises(UserError, match="was not written by this script"):
        made(coco)


def test_another_file_in_an_images_place_is_left_alone(coco: Path, tmp_path: Path) -> None:
    (tmp_path / "out/train2014").mkdir(parents=True)
    (tmp_path / "out/train2014/1.jpg").write_text("mine")
    with pytest.raises(UserError, match="is not the file"):
        made(coco, tmp_path / "out")


# what a person can mend


def test_a_missing_file_is_named_with_where_to_get_it(coco: Path) -> None:
    (coco / "annotations/captions_val2014.json").unlink()
    done = run("--coco", str(coco))
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"error: no file {coco}/annotations/captions_val2014.json: get it from "
        "https://cocodataset.org/#download (annotations_trainval2014.zip)",
    )


def test_a_folder_that_cannot_be_written_is_one_line(coco: Path) -> None:
    done = run("--coco", str(coco), "--out", str(coco / "train2014/1.jpg"))
    assert (done.returncode, done.stderr.splitlines()[-1].startswith("error: ")) == (1, True)


def test_a_missing_image_folder_is_named(coco: Path) -> None:
    (coco / "val2014/5.jpg").unlink()
    (coco / "val2014").rmdir()
    with pytest.raises(UserError, match=r"no folder .*/val2014: get val2014\.zip from https"):
        made(coco)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "is not JSON"), ("[]", "is not COCO's: TypeError"), ('{"images": []}', "KeyError 'categories'")],
)
def test_a_broken_file_is_named(coco: Path, text: str, reason: str) -> None:
    (coco / "annotations/instances_val2014.json").write_text(text)
    with pytest.raises(UserError, match=f"instances_val2014.json.*{reason}"):
        made(coco)


def test_the_script_ends_with_its_counts_beside_the_papers(coco: Path) -> None:
    lines = run("--coco", str(coco)).stdout.splitlines()
    assert lines[:3] == ["task\tsplit\trows\tpaper", "animal\ttrain\t1\t22475", "animal\tval\t0\t1000"]


def test_one_part_alone_can_be_taken(coco: Path) -> None:
    assert "person\ttrain\t1\t13919" in run("--coco", str(coco), "--parts", "val").stdout


def fields(coco: Path) -> dict[str, Any]:
    made(coco)
    first: dict[str, Any] = json.loads((coco / "metadata.jsonl").read_text().splitlines()[0])
    return first


def test_a_line_holds_what_mneme_names(coco: Path) -> None:
    assert set(fields(coco)) == {"id", "task", "split", "image", "texts", "labels"}
