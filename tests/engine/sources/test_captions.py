import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.sources import open_source
from engine.sources.base import Row
from engine.sources.tables.values import SourceOptions
from engine.types import Skipped

IMAGES = [
    {"id": 9, "file_name": "a.jpg", "width": 640, "license": 3},
    {"id": 12, "file_name": "b.jpg"},
]
CAPTIONS = [
    {"image_id": 9, "caption": " a dog "},
    {"image_id": 9, "caption": "a pet"},
    {"image_id": 9, "caption": "a pet"},
]


def coco(folder: Path, name: str = "captions.json", **content: Any) -> Path:
    for image in ("a.jpg", "b.jpg"):
        (folder / image).touch()
    (folder / name).write_text(json.dumps({"images": IMAGES, **content}))
    return folder / name


def read(source: Path, media: Path | None = None) -> list[Row]:
    return [row for row in open_source(source, SourceOptions(media)).rows() if isinstance(row, Row)]


def test_the_captions_of_an_image_are_one_row_under_its_id(tmp_path: Path) -> None:
    first, second = read(coco(tmp_path, annotations=CAPTIONS))
    assert first == Row(
        "9",
        line=1,
        id="9",
        media={"image": tmp_path / "a.jpg"},
        texts=("a dog", "a pet"),
        other={"width": 640, "license": 3},
    )
    assert (second.id, second.texts) == ("12", ())


def test_categories_are_labels_by_their_names(tmp_path: Path) -> None:
    boxes = [{"image_id": 9, "category_id": n} for n in (2, 1, 2)]
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "tree"}]
    first, _ = read(coco(tmp_path, annotations=boxes, categories=categories))
    assert first.labels == ("tree", "dog")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("captions_val2017.json", "val"),
        ("instances_train2014.json", "train"),
        ("my-validation.json", "val"),
        ("captions.json", None),
        ("latest.json", None),
        ("evaluation.json", None),
    ],
)
def test_the_split_is_in_the_name_of_the_file(tmp_path: Path, name: str, split: str | None) -> None:
    assert {row.split for row in read(coco(tmp_path, name))} == {split}


def test_the_images_lie_in_a_folder_of_the_splits_name_as_coco_lays_them_out(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    source = coco(tmp_path / "val2017", "captions_val2017.json")
    moved = source.rename(tmp_path / "annotations" / source.name)
    assert read(moved)[0].media == {"image": tmp_path / "val2017" / "a.jpg"}


def test_where_the_images_lie_can_be_said(tmp_path: Path) -> None:
    source = coco(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    assert read(source, tmp_path / "elsewhere")[0].media == {"image": tmp_path / "elsewhere" / "a.jpg"}


def test_images_that_are_not_beside_it_are_asked_for(tmp_path: Path) -> None:
    source = coco(tmp_path)
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "b.jpg").unlink()
    with pytest.raises(UserError, match=r"are not beside it: say where they lie with `media=DIR`$"):
        open_source(source)


def test_karpathys_splits_and_sentences_are_read(tmp_path: Path) -> None:
    images = [
        {
            "imgid": 0,
            "filename": "a.jpg",
            "split": "restval",
            "sentences": [{"raw": "a dog"}],
        },
        {"imgid": 1, "filename": "b.jpg", "split": "test", "sentences": []},
    ]
    rows = read(coco(tmp_path, images=images))
    assert [(row.id, row.split, row.texts) for row in rows] == [("0", "train", ("a dog",)), ("1", "test", ())]


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.jpg", None, 3])
def test_an_image_that_names_no_file_inside_is_skipped(tmp_path: Path, name: object) -> None:
    source = coco(tmp_path, images=[*IMAGES, {"id": 1, "file_name": name}])
    *_, bad = open_source(source).rows()
    assert isinstance(bad, Skipped)
    assert bad.line == 3


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": 3}', '{"images": [1]}', "[" * 5000])
def test_a_json_of_something_else_is_a_user_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=r"^cannot read .*x\.json: |x\.json is no source: "):
        open_source(tmp_path / "x.json")


def test_a_token_file_of_flickr_is_a_row_for_each_image(tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "a.jpg").touch()
    (tmp_path / "Flickr8k.token.txt").write_text(
        "a.jpg#0\ta dog .\nb.jpg#0\ta cat .\na.jpg#1\ta pet .\n\nno token\n"
    )
    rows = list(open_source(tmp_path / "Flickr8k.token.txt").rows())
    assert [(row.name, row.texts) for row in rows if isinstance(row, Row)] == [
        ("a.jpg", ("a dog .", "a pet .")),
        ("b.jpg", ("a cat .",)),
    ]
    assert [row.line for row in rows if isinstance(row, Skipped)] == [5]


def test_a_text_of_something_else_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear all\n")
    with pytest.raises(
        UserError, match=r"letter\.txt has no column of media, texts or features, but .dear all.;"
    ):
        open_source(tmp_path / "letter.txt")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.txt", "image,caption\na.jpg,a dog .\n"),
        ("results.csv", "image_name| comment_number| comment\na.jpg| 0| a dog .\n"),
    ],
)
def test_the_tables_of_flickr_are_tables(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "a.jpg").touch()
    (row,) = read(tmp_path / name)
    assert (row.media, row.texts) == ({"image": tmp_path / "a.jpg"}, ("a dog .",))


@pytest.mark.parametrize("content", [{"annotations": 5}, {"annotations": [3]}, {"categories": "x"}])
def test_what_is_no_list_of_annotations_is_passed_over(tmp_path: Path, content: dict[str, Any]) -> None:
    assert [row.texts for row in read(coco(tmp_path, **content))] == [(), ()]


def test_ids_and_sentences_of_another_kind_cost_no_other_row(tmp_path: Path) -> None:
    images = [{"id": [1], "file_name": "a.jpg", "sentences": 5}, {"id": 2, "file_name": "b.jpg"}]
    rows = read(coco(tmp_path, images=images, annotations=[{"image_id": [1], "caption": "a dog"}]))
    assert [row.id for row in rows][-1] == "2"


def test_an_image_whose_id_stands_in_an_earlier_row_is_skipped(tmp_path: Path) -> None:
    source = coco(tmp_path, images=[IMAGES[0], {**IMAGES[1], "id": 9}])
    first, second = open_source(source).rows()
    assert isinstance(first, Row)
    assert second == Skipped(str(source), "'9' stands in an earlier row too", 2)


def test_a_path_of_windows_is_followed(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").touch()
    content = {"images": [{"id": 1, "file_name": "pictures\\a.jpg"}], "annotations": []}
    (tmp_path / "captions.json").write_text(json.dumps(content))
    (row,) = open_source(tmp_path / "captions.json").rows()
    assert isinstance(row, Row)
    assert row.media == {"image": tmp_path / "pictures" / "a.jpg"}
