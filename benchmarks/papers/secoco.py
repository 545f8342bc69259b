"""SeCOCO, the three tasks that Wang et al. 2021, section 6.2 cut from MS-COCO, as a source that mneme reads.

    python -m benchmarks.papers.secoco --coco ~/coco
    mneme train ~/coco --task animal

DIR holds annotations/{instances,captions}_{train,val}2014.json (or 2017) and the images in train2014/ and val2014/
(or in images/). Object categories belong to 12 super-categories; three groups of these are the tasks, and an image
with objects of two or more groups, or of none, is dropped. The paper counts 1000 images of each task for validation
and 1000 for test but does not name them: they are drawn by --seed. Nor does it say which of COCO's parts it draws
from: both are taken. Each image keeps all its captions, and as labels the names of its categories.

The folder written is DIR itself, unless --out names another: then the images are hard-linked there, or copied.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.papers.groups import (
    Counts,
    MetadataRow,
    claim,
    cleaned,
    draw_splits,
    exit_code,
    place,
    present,
    summary,
    write,
)
from engine.errors import UserError

GROUPS = {
    "animal": ("animal", "accessory", "kitchen", "food", "furniture"),
    "vehicle": ("vehicle", "outdoor", "electronic", "appliance", "indoor"),
    "person": ("person", "sports"),
}
TASK_OF = {kind: task for task, kinds in GROUPS.items() for kind in kinds}
PAPER: Counts = {
    "animal": {"train": 22475, "val": 1000, "test": 1000},
    "vehicle": {"train": 13903, "val": 1000, "test": 1000},
    "person": {"train": 13919, "val": 1000, "test": 1000},
}
HELD = 1000
ORIGIN = "https://cocodataset.org/#download"


@dataclass(frozen=True)
class Picture:
    """One image of one task.

    Attributes:
        name: path relative to the COCO folder.
    """

    id: int
    task: str
    name: str
    labels: Sequence[str]
    texts: Sequence[str]


def build(coco: Path, out: Path, parts: Sequence[str] = ("train", "val"), seed: int = 0) -> list[MetadataRow]:
    """Write the source and return its rows, task after task in the paper's order."""
    claim(out, "coco-")
    pictures = [picture for part in parts for picture in _pictures(coco, f"{part}{_year(coco, parts)}")]
    if not pictures:
        raise UserError(f"no image in {coco} has objects of one group only and a caption")
    rows = []
    for task in GROUPS:
        ours = {picture.id: picture for picture in pictures if picture.task == task}
        splits = draw_splits(list(ours), HELD, task, seed)
        for id_, picture in sorted(ours.items()):
            place(coco / picture.name, out, picture.name)
            rows.append(
                MetadataRow(f"coco-{id_}", task, splits[id_], picture.name, picture.texts, picture.labels)
            )
    write(out, rows)
    return rows


def _year(coco: Path, parts: Sequence[str]) -> str:
    """Return 2017 where only its files are there, else 2014, the paper's."""
    years = [y for y in ("2014", "2017") if (coco / f"annotations/instances_{parts[0]}{y}.json").is_file()]
    return years[0] if years else "2014"


def _pictures(coco: Path, part: str) -> Iterator[Picture]:
    """Yield the images of one part that belong to one task, whose file is there and that have a caption."""
    instances, captions = (
        present(coco / f"annotations/{kind}_{part}.json", f"{ORIGIN} (annotations_trainval{part[-4:]}.zip)")
        for kind in ("instances", "captions")
    )
    try:
        names, tasks = _tasks(_lean(instances))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{instances} is not COCO's: {type(error).__name__} {error}") from None
    try:
        texts = _captions(_lean(captions))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{captions} is not COCO's: {type(error).__name__} {error}") from None
    folder = next((name for name in (part, f"images/{part}") if (coco / name).is_dir()), None)
    if folder is None:
        raise UserError(f"no folder {coco / part}: get {part}.zip from {ORIGIN}")
    files = {path.name for path in (coco / folder).iterdir()}
    missing = sum(names[id_] not in files for id_ in tasks)
    bare = sum(names[id_] in files and not texts.get(id_) for id_ in tasks)
    print(
        f"{part}: {len(names)} images, {len(tasks)} of one group; {missing} without a file and {bare} without a "
        "caption left out",
        file=sys.stderr,
    )
    for id_, (task, labels) in tasks.items():
        if names[id_] in files and texts.get(id_):
            yield Picture(id_, task, f"{folder}/{names[id_]}", labels, texts[id_])


def _lean(path: Path) -> Mapping[str, Any]:
    """Parse a file of up to 450 MB less its outlines, which are nearly all of it."""

    def without_outline(fields: dict[str, Any]) -> dict[str, Any]:
        fields.pop("segmentation", None)
        return fields

    try:
        with path.open(encoding="utf-8") as file:
            parsed: Mapping[str, Any] = json.load(file, object_hook=without_outline)
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    return parsed


def _tasks(instances: Mapping[str, Any]) -> tuple[dict[int, str], dict[int, tuple[str, list[str]]]]:
    """Return every image's file name, and (task, category names) of those with objects of one group only."""
    categories = {c["id"]: (c["name"], TASK_OF[c["supercategory"]]) for c in instances["categories"]}
    seen: defaultdict[int, set[int]] = defaultdict(set)
    for annotation in instances["annotations"]:
        seen[annotation["image_id"]].add(annotation["category_id"])
    tasks = {}
    for id_, kinds in seen.items():
        groups = {categories[kind][1] for kind in kinds}
        if len(groups) == 1:
            tasks[id_] = groups.pop(), sorted(categories[kind][0] for kind in kinds)
    return {image["id"]: image["file_name"] for image in instances["images"]}, tasks


def _captions(captions: Mapping[str, Any]) -> dict[int, list[str]]:
    texts: defaultdict[int, list[str]] = defaultdict(list)
    for annotation in captions["annotations"]:
        texts[annotation["image_id"]].append(annotation["caption"])
    return {id_: cleaned(said) for id_, said in texts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--coco", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: the COCO folder itself")
    parser.add_argument("--parts", nargs="+", choices=("train", "val"), default=["train", "val"])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    out = given.out or given.coco
    print(summary(build(given.coco, out, given.parts, given.seed), PAPER))


if __name__ == "__main__":
    sys.exit(exit_code(main))
