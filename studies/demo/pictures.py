"""The collection that `mneme demo` draws for itself: three domains of pictures, each with several captions."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Protocol

from PIL import Image

from studies.demo.drawn import bouquets, landscapes, streets

QUALITY = 90
"""Of the JPEG files."""


class Picture(Protocol):
    """What a picture shows; equal ones show the same."""

    @property
    def label(self) -> str:
        """Its class."""
        ...

    def draw(self, rng: Random) -> Image.Image:
        """Paint it."""
        ...

    def describe(self, rng: Random) -> list[str]:
        """Return its captions."""
        ...


DOMAINS: dict[str, Callable[[Random], Picture]] = {
    "landscapes": landscapes.imagine,
    "streets": streets.imagine,
    "bouquets": bouquets.imagine,
}


def render(folder: Path, *, seed: int = 0, per_task: int = 200) -> None:
    """Draw the collection into a folder, as a source that can be indexed: pictures and `metadata.jsonl`.

    The same seed and number give the same bytes.

    Args:
        per_task: pictures of each of the three domains.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as rows:
        for task, imagine in DOMAINS.items():
            (folder / "images" / task).mkdir(parents=True, exist_ok=True)
            rng = Random(f"{task} {seed}")
            for number, picture in enumerate(_distinct(imagine, rng, per_task)):
                name = f"{task}-{number:03d}"
                image = f"images/{task}/{name}.jpg"
                picture.draw(rng).save(folder / image, quality=QUALITY)
                row = {
                    "id": name,
                    "task": task,
                    "split": _split(number, per_task),
                    "image": image,
                    "texts": picture.describe(rng),
                    "labels": [picture.label],
                }
                rows.write(json.dumps(row, ensure_ascii=False) + "\n")


def _distinct(imagine: Callable[[Random], Picture], rng: Random, count: int) -> list[Picture]:
    """Return pictures of which no two show the same, so that no test picture was trained on."""
    pictures: dict[Picture, None] = {}
    while len(pictures) < count:
        pictures[imagine(rng)] = None
    return list(pictures)


def _split(number: int, count: int) -> str:
    """Return the split of a picture of a task: 80, 10 and 10 of a hundred."""
    if number * 10 < count * 8:
        return "train"
    return "val" if number * 10 < count * 9 else "test"
