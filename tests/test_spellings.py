"""Names that look equal are one: of tasks, modalities and files, whichever way their accents are composed."""

import json
import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import mneme
import worlds
from commands import Run, colours
from engine.sources import open_source
from engine.types import Skipped, TrainSettings

pytestmark = pytest.mark.filterwarnings("ignore::engine.errors.Note")

CAFE = "café"
APART = unicodedata.normalize("NFD", CAFE)


def tasks(run: Run) -> list[str]:
    return [row["task"] for row in run("status", "--json").json["tasks"]]


def features(folder: Path, task: str) -> Path:
    """Return a features file whose task and one modality are spelled apart."""
    array = np.eye(8, dtype=np.float32)
    np.savez(
        folder / "rows.npz",
        allow_pickle=False,
        image=array,
        **{f"{APART}_embedding": array[::-1]},
        task=[task] * 8,
        split=["train"] * 8,
        text=[f"boat {n}" for n in range(8)],
    )
    return folder / "rows.npz"


def test_a_task_is_one_in_whatever_command_it_is_named(run: Run, tmp_path: Path) -> None:
    source = features(tmp_path, APART)
    run("index", source)
    run("index", source, "--task", f" {CAFE}\u00a0")
    assert run("train", "--task", f"{APART} ", "--epochs", "1").status == 0
    run("index", source, "--task", APART)
    assert tasks(run) == [CAFE]
    assert [lesson["task"] for lesson in run("status", "--json").json["lessons"]] == [CAFE]
    hits = run("query", "boat 3", "--task", f"{APART} ", "--at", APART, "--to", "image", "--json").lines
    assert [hit["task"] for hit in hits] == [CAFE] * 8
    assert run("remove", "--task", f"{APART} ", "--json").json["emptied"] == [CAFE]


def test_a_task_is_one_in_python(tmp_path: Path) -> None:
    photos = mneme.open(tmp_path)
    folder = colours(tmp_path / "red", "red", "blue")
    photos.index(folder, task=APART, backbone="builtin")
    photos.index(folder, task=f"{CAFE} ", backbone="builtin")
    assert {hit.task for hit in photos.search("red", task=APART)} == {CAFE}
    assert photos.index(folder, task=CAFE).tasks == [CAFE]


def test_a_tasks_column_and_a_folders_name_give_the_same_task(run: Run, tmp_path: Path) -> None:
    folder = colours(tmp_path / APART, "red")
    rows = [
        {"task": f"{CAFE}\u3000", "file_name": f"{APART}/red.png"},
        {"task": APART, "text": "a blue boat"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run("index", folder, tmp_path / "rows.jsonl", "--backbone", "builtin")
    assert tasks(run) == [CAFE]


def test_a_modality_is_one_in_file_and_option(run: Run, tmp_path: Path) -> None:
    run("index", features(tmp_path, "sea"))
    held = run("status", "--json").json["items"]
    assert held == {"image": 8, CAFE: 8, "text": 8}
    told = run("reindex", "--policy", f"image-{APART}=matched", "--json")
    assert told.json["policies"] == {f"image-{CAFE}": "matched"}
    settings = TrainSettings("sea", modalities=("image", APART), epochs=1)
    assert worlds.opened(tmp_path).manifest.backbones.keys() >= {CAFE}
    assert mneme.open(tmp_path).train("sea", settings=settings).lesson.number == 1


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_is_found_whichever_way_its_folder_and_it_are_spelled(
    tmp_path: Path, form: Literal["NFC", "NFD"]
) -> None:
    folder = colours(tmp_path / CAFE, "red")
    (folder / "red.png").rename(folder / f"{APART}.png")
    (tmp_path / "rows.csv").write_text(f"file_name,text\n{CAFE}/{CAFE}.png,a\n", encoding="utf-8")
    name = unicodedata.normalize(form, f"{CAFE}/{CAFE}.png")
    (tmp_path / "coco.json").write_text(
        json.dumps(
            {"images": [{"id": 1, "file_name": name}], "annotations": [{"image_id": 1, "caption": "a"}]}
        )
    )
    (tmp_path / "rows.jsonl").write_text(json.dumps({"file_name": name}))
    for table in ("rows.csv", "coco.json", "rows.jsonl"):
        (row,) = open_source(tmp_path / table).rows()
        assert not isinstance(row, Skipped), row
        assert row.media == {"image": folder / f"{APART}.png"}


def test_a_text_stands_beside_its_medium_whichever_way_both_are_spelled(tmp_path: Path) -> None:
    folder = colours(tmp_path / "photos", "red")
    (folder / "red.png").rename(folder / f"{APART}.png")
    (folder / "red.txt").rename(folder / f"{CAFE}.txt")
    (row,) = open_source(folder).rows()
    assert not isinstance(row, Skipped)
    assert row.texts == ("a red picture",)


def test_a_source_and_a_query_are_found_whichever_way_they_are_spelled(run: Run, tmp_path: Path) -> None:
    folder = colours(tmp_path / APART, "red", "blue")
    (folder / "red.png").rename(folder / f"{APART}.png")
    assert run("index", CAFE, "--backbone", "builtin").status == 0
    assert run("index", APART, "--json").json["unchanged"] == 2
    for question in ([f"{CAFE}/{CAFE}.png"], ["--image", f"{CAFE}/{CAFE}.png"]):
        (hit, _) = run("query", *question, "--to", "image", "--json").lines
        assert hit["path"] == str(folder / f"{APART}.png")
