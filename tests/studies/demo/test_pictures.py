import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from engine import media
from studies.demo import pictures


@dataclass(frozen=True)
class Row:
    id: str
    task: str
    split: str
    image: str
    texts: list[str]
    labels: list[str]


def read(folder: Path) -> list[Row]:
    lines = (folder / "metadata.jsonl").read_text("utf-8").splitlines()
    return [Row(**json.loads(line)) for line in lines]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    pictures.render(folder, seed=0, per_task=10)
    return folder


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    pictures.render(tmp_path, seed=0, per_task=10)
    assert contents(tmp_path) == contents(folder)


def test_another_seed_gives_other_pictures(folder: Path, tmp_path: Path) -> None:
    pictures.render(tmp_path, seed=1, per_task=1)
    first = "images/streets/streets-000.jpg"
    assert (tmp_path / first).read_bytes() != (folder / first).read_bytes()


def test_every_row_names_a_picture_that_can_be_decoded(folder: Path) -> None:
    sizes = {media.image(media.read(folder / row.image), side=256).size for row in read(folder)}
    assert sizes == {(256, 256)}


def test_every_picture_has_a_row(folder: Path) -> None:
    assert {row.image for row in read(folder)} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")
    }


def test_ids_and_pictures_are_all_different(folder: Path) -> None:
    rows = read(folder)
    assert len({row.id for row in rows}) == len({(folder / row.image).read_bytes() for row in rows}) == 30


def test_every_task_is_split_80_10_10(folder: Path) -> None:
    counts = Counter((row.task, row.split) for row in read(folder))
    assert counts == {
        (task, split): count
        for task in ("landscapes", "streets", "bouquets")
        for split, count in (("train", 8), ("val", 1), ("test", 1))
    }


def test_no_caption_of_one_task_stands_in_another(folder: Path) -> None:
    captions = {(row.task, text) for row in read(folder) for text in row.texts}
    assert len(captions) == len({text for _, text in captions})


def test_every_picture_has_four_different_captions(folder: Path) -> None:
    assert {len(set(row.texts)) for row in read(folder)} == {4}


@pytest.mark.parametrize("task", pictures.DOMAINS)
def test_no_two_pictures_of_a_task_show_the_same(task: str) -> None:
    shown = pictures._distinct(pictures.DOMAINS[task], Random(0), 200)
    assert len(set(shown)) == 200


@pytest.mark.parametrize("task", pictures.DOMAINS)
def test_test_captions_are_new_but_their_words_are_known(task: str) -> None:
    rng = Random(0)
    captions = [picture.describe(rng)[0] for picture in pictures._distinct(pictures.DOMAINS[task], rng, 200)]
    train, test = captions[:160], captions[180:]
    known = set(" ".join(train).split())
    assert len(set(test) - set(train)) >= 18
    assert len(set(" ".join(test).split()) - known) <= 1


def test_a_picture_is_drawn_from_its_generator_alone() -> None:
    picture = pictures.DOMAINS["bouquets"](Random(3))
    drawn: list[Image.Image] = [picture.draw(Random(4)) for _ in range(2)]
    assert drawn[0].tobytes() == drawn[1].tobytes()
