import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.papers import groups, sevige
from engine.errors import UserError
from engine.sources import open_source
from engine.sources.base import Row

RED, BLUE = (250, 0, 0), (0, 0, 250)


def thing(name: str, x: int, y: int, w: int, h: int) -> dict[str, Any]:
    return {"object_id": 1, "names": [name], "x": x, "y": y, "w": w, "h": h}


def region(id_: int, phrase: str, x: int, y: int, width: int, height: int) -> dict[str, Any]:
    return {"region_id": id_, "phrase": phrase, "x": x, "y": y, "width": width, "height": height}


def put(vg: Path, objects: dict[int, list[Any]], described: dict[int, list[Any]]) -> None:
    """Write a made-up Visual Genome of images 100 wide and 80 high, red on the left and blue on the right."""
    (vg / "VG_100K_2").mkdir(parents=True)
    picture = Image.new("RGB", (100, 80), RED)
    picture.paste(BLUE, (50, 0, 100, 80))
    for id_ in objects:
        picture.save(vg / f"VG_100K_2/{id_}.jpg")
    url = "https://cs.stanford.edu/people/rak248/VG_100K_2"
    tables = {
        "objects": [{"image_id": id_, "objects": things} for id_, things in objects.items()],
        "region_descriptions": [{"id": id_, "regions": regions} for id_, regions in described.items()],
        "image_data": [
            {"image_id": id_, "url": f"{url}/{id_}.jpg", "width": 100, "height": 80} for id_ in objects
        ],
    }
    for name, table in tables.items():
        (vg / f"{name}.json").write_text(json.dumps(table))


@pytest.fixture
def vg(tmp_path: Path) -> Path:
    folder = tmp_path / "vg"
    put(
        folder,
        {1: [thing("Dog ", 50, 0, 50, 80), thing("tree", 0, 0, 50, 80)], 2: [thing("bicycle", 0, 0, 40, 40)]},
        {
            1: [region(11, "a dog", 52, 0, 60, 80), region(12, "a tree", 0, 0, 50, 80)],
            2: [region(21, "a\n bike ", 0, 0, 40, 40), region(22, "a wheel", 0, 0, 20, 20)],
        },
    )
    return folder


def made(vg: Path, **options: int) -> dict[str, groups.MetadataRow]:
    return {row.id: row for row in sevige.build(vg, vg / "out", **options)}


def many(vg: Path, count: int) -> None:
    """Write a Visual Genome of so many dogs."""
    put(
        vg,
        {n: [thing("dog", 0, 0, 40, 40)] for n in range(count)},
        {n: [region(n, f"dog {n}", 0, 0, 40, 40)] for n in range(count)},
    )


# which regions, in which task


def test_a_task_has_as_many_categories_as_the_paper_says() -> None:
    assert [len(named) for named in sevige.CATEGORIES.values()] == [9, 6, 6]


def test_a_pair_is_the_region_that_overlaps_an_object_of_a_category(vg: Path) -> None:
    assert made(vg)["vg-11"] == groups.MetadataRow(
        "vg-11", "animals", "train", "images/11.jpg", ["a dog"], ["dog"]
    )


def test_another_name_of_a_category_counts_as_it(vg: Path) -> None:
    assert made(vg)["vg-21"].labels == ["bike"]


def test_objects_of_no_category_bring_no_pair(vg: Path) -> None:
    assert set(made(vg)) == {"vg-11", "vg-21"}


def test_an_image_without_a_file_is_left_out(vg: Path) -> None:
    (vg / "VG_100K_2/1.jpg").unlink()
    assert set(made(vg)) == {"vg-21"}


def test_an_image_that_cannot_be_read_is_left_out(vg: Path) -> None:
    (vg / "VG_100K_2/1.jpg").write_bytes(b"no picture")
    assert set(made(vg)) == {"vg-21"}


# crops, splits, the folder


def test_a_crop_shows_its_region_and_ends_at_the_images_edge(vg: Path) -> None:
    made(vg)
    with Image.open(vg / "out/images/11.jpg") as crop:
        assert crop.size == (48, 80)


def test_a_crop_is_taken_from_the_regions_place(vg: Path) -> None:
    made(vg)
    with Image.open(vg / "out/images/11.jpg") as crop:
        red, _, blue = crop.resize((1, 1)).tobytes()
    assert (red < 20, blue > 230) == (True, True)


def test_a_category_holds_a_hundred_for_val_and_for_test(tmp_path: Path) -> None:
    many(tmp_path, 310)
    splits = [row.split for row in made(tmp_path).values()]
    assert [splits.count(split) for split in groups.SPLITS] == [110, 100, 100]


def test_a_category_is_cut_to_the_most_it_may_have(tmp_path: Path) -> None:
    many(tmp_path, 30)
    assert len(made(tmp_path, most=20)) == 20


def test_another_seed_keeps_other_pairs(tmp_path: Path) -> None:
    many(tmp_path, 30)
    assert set(made(tmp_path, most=20)) != set(made(tmp_path, most=20, seed=1))


def test_the_same_seed_writes_the_same_bytes(vg: Path) -> None:
    made(vg)
    first = (vg / "out/metadata.jsonl").read_bytes()
    made(vg)
    assert (vg / "out/metadata.jsonl").read_bytes() == first


def test_mneme_reads_every_row(vg: Path) -> None:
    made(vg)
    read = list(open_source(vg / "out").rows())
    assert [(r.id, r.task, r.texts, r.media["image"].is_file()) for r in read if isinstance(r, Row)] == [
        ("vg-11", "animals", ("a dog",), True),
        ("vg-21", "vehicles", ("a bike",), True),
    ]


# what a person can mend


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "is not a JSON array"),
        ("", "is not a JSON array"),
        ('[{"image_id": 1, "objects": []}', "is cut off or not JSON"),
        ('[{"image_id": 1}]', "entry 0: KeyError 'objects'"),
        ("[3]", "entry 0: TypeError"),
    ],
)
def test_a_broken_file_is_named(vg: Path, text: str, reason: str) -> None:
    (vg / "objects.json").write_text(text)
    with pytest.raises(UserError, match=rf"objects\.json.*{reason}"):
        made(vg)


def test_a_missing_file_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    script = [sys.executable, "-m", "benchmarks.papers.sevige", "--vg", str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        f"error: no file {tmp_path}/objects.json: get it from "
        "https://homes.cs.washington.edu/~ranjay/visualgenome/api.html (objects.json.zip)\n",
    )


def test_no_images_at_all_is_said(vg: Path) -> None:
    (vg / "VG_100K_2").rename(vg / "elsewhere")
    with pytest.raises(UserError, match=r"no image in .*/VG_100K or VG_100K_2: get images\.zip"):
        made(vg)


@pytest.mark.parametrize("options", [{"most": 0}, {"overlap": 0}, {"overlap": 2}])
def test_options_that_leave_nothing_are_refused(vg: Path, options: dict[str, int]) -> None:
    with pytest.raises(UserError, match="--overlap is above 0 and at most 1, --most at least 1"):
        made(vg, **options)


def test_the_script_ends_with_its_counts_beside_the_papers(vg: Path) -> None:
    script = [sys.executable, "-m", "benchmarks.papers.sevige", "--vg", str(vg)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[:2] == ["task\tsplit\trows\tpaper", "animals\ttrain\t1\t10481"]
