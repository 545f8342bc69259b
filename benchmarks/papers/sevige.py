"""SeViGe, the three tasks that Wang et al. 2021, section 6.1 cut from Visual Genome, as a source that mneme reads.

    python -m benchmarks.papers.sevige --vg ~/vg --out sevige
    mneme train sevige --task animals

DIR holds objects.json, region_descriptions.json, image_data.json and the images in VG_100K/ and VG_100K_2/.
A pair is the crop of a described region and its description; the region is the one that overlaps the box of an
object of the category best. What the paper leaves open, and what is done here:

- it prints how many categories a task has (9, 6, 6) but not which: here the most frequent object names that are
  animals, vehicles and clothes, by the counts of Anderson et al. 2018 (objects_count.txt);
- it does not say how a region gets its object: here by intersection over union of at least --overlap, and one pair
  per image and category, no region twice;
- it prints 100 validation and 100 test pairs per category and the train pairs of each task, 10200 for clothes, which
  is 6 * 1700: so a category is cut to --most pairs, 1900, drawn by --seed like the splits.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any

from benchmarks.papers.groups import (
    Counts,
    MetadataRow,
    claim,
    cleaned,
    draw_splits,
    exit_code,
    present,
    summary,
    write,
)
from benchmarks.papers.regions import Box, Pair, Photo, Region, clipped, crop_path, cut, matched
from benchmarks.papers.stream import each
from engine.errors import UserError

CATEGORIES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "animals": {
        "horse": ("horse",),
        "bird": ("bird",),
        "giraffe": ("giraffe",),
        "elephant": ("elephant",),
        "zebra": ("zebra",),
        "cow": ("cow",),
        "dog": ("dog",),
        "sheep": ("sheep",),
        "cat": ("cat",),
    },
    "vehicles": {
        "car": ("car",),
        "plane": ("plane", "airplane"),
        "train": ("train",),
        "boat": ("boat",),
        "bus": ("bus",),
        "bike": ("bike", "bicycle"),
    },
    "clothes": {
        "shirt": ("shirt",),
        "shoes": ("shoes", "shoe"),
        "pants": ("pants", "pant", "trousers"),
        "hat": ("hat",),
        "jacket": ("jacket",),
        "shorts": ("shorts",),
    },
}
TASK_OF = {category: task for task, named in CATEGORIES.items() for category in named}
CATEGORY_OF = {
    name: category for named in CATEGORIES.values() for category, names in named.items() for name in names
}
PAPER: Counts = {
    "animals": {"train": 10481, "val": 900, "test": 900},
    "vehicles": {"train": 7531, "val": 600, "test": 600},
    "clothes": {"train": 10200, "val": 600, "test": 600},
}
HELD = 100
ORIGIN = "https://homes.cs.washington.edu/~ranjay/visualgenome/api.html"


def build(vg: Path, out: Path, *, overlap: float = 0.5, most: int = 1900, seed: int = 0) -> list[MetadataRow]:
    """Write crops and metadata and return the rows, task after task in the paper's order."""
    if not 0 < overlap <= 1 or most < 1:
        raise UserError(f"--overlap is above 0 and at most 1, --most at least 1; not {overlap} and {most}")
    claim(out, "vg-")
    objects, described, images = (
        present(vg / f"{name}.json", f"{ORIGIN} ({name}.json.zip)")
        for name in ("objects", "region_descriptions", "image_data")
    )
    photos = _photos(images)
    pairs = _pairs(described, _boxes(objects), photos, overlap)
    chosen = [pair for category in TASK_OF for pair in _chosen(pairs, category, most, seed)]
    if not chosen:
        raise UserError(f"no described region in {vg} shows an object of a category")
    done = cut(chosen, photos, out)
    rows = [row for category in TASK_OF for row in _rows(chosen, category, seed) if row.image in done]
    write(out, rows)
    return rows


def _rows(chosen: Sequence[Pair], category: str, seed: int) -> list[MetadataRow]:
    ours = {pair.region.id: pair.region for pair in chosen if pair.category == category}
    splits, task = draw_splits(list(ours), HELD, category, seed), TASK_OF[category]
    return [
        MetadataRow(f"vg-{id_}", task, splits[id_], crop_path(region), [region.phrase], [category])
        for id_, region in ours.items()
    ]


def _photos(table: Path) -> dict[int, Photo]:
    """Return the images whose file is there; the table's addresses end in their folder and name."""
    vg = table.parent

    def photo(entry: Mapping[str, Any]) -> tuple[int, Photo]:
        folder, name = PurePosixPath(entry["url"]).parts[-2:]
        return _id(entry), Photo(vg / folder / name, int(entry["width"]), int(entry["height"]))

    files = {path for folder in ("VG_100K", "VG_100K_2") for path in (vg / folder).glob("*.jpg")}
    named = dict(each(table, photo))
    photos = {id_: photo for id_, photo in named.items() if photo.path in files}
    if not photos:
        raise UserError(
            f"no image in {vg}/VG_100K or VG_100K_2: get images.zip and images2.zip from {ORIGIN}"
        )
    print(f"{len(named)} images, {len(named) - len(photos)} without a file left out", file=sys.stderr)
    return photos


def _boxes(objects: Path) -> dict[int, list[tuple[str, Box]]]:
    """Return (category, box) of the objects of each image that are of a category."""

    def boxes(entry: Mapping[str, Any]) -> tuple[int, list[tuple[str, Box]]]:
        return _id(entry), [
            (CATEGORY_OF[name], (thing["x"], thing["y"], thing["w"], thing["h"]))
            for thing in entry["objects"]
            for name in {name.strip().lower() for name in thing["names"]} & CATEGORY_OF.keys()
        ]

    return {id_: some for id_, some in each(objects, boxes) if some}


def _pairs(
    regions: Path, boxes: Mapping[int, Sequence[tuple[str, Box]]], photos: Mapping[int, Photo], overlap: float
) -> list[Pair]:
    def described(entry: Mapping[str, Any]) -> tuple[int, list[Region]]:
        id_ = _id(entry)
        if id_ not in boxes or id_ not in photos:
            return id_, []
        return id_, [
            Region(int(region["region_id"]), clipped(region, photos[id_]), phrase)
            for region in entry["regions"]
            for phrase in cleaned([region["phrase"]])
        ]

    return [
        pair
        for id_, in_photo in each(regions, described)
        if in_photo
        for pair in matched(id_, boxes[id_], in_photo, overlap)
    ]


def _chosen(pairs: Sequence[Pair], category: str, most: int, seed: int) -> list[Pair]:
    """Draw at most so many pairs of a category, in order of their regions."""
    ours = sorted((pair for pair in pairs if pair.category == category), key=lambda pair: pair.region.id)
    kept = Random(f"{seed} {category}").sample(ours, min(most, len(ours)))
    return sorted(kept, key=lambda pair: pair.region.id)


def _id(entry: Mapping[str, Any]) -> int:
    """Return an entry's image; region descriptions call it id."""
    return int(entry["image_id"] if "image_id" in entry else entry["id"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vg", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: sevige/ in the Visual Genome folder"
    )
    parser.add_argument("--overlap", type=float, default=0.5, metavar="X")
    parser.add_argument("--most", type=int, default=1900, metavar="N", help="pairs of a category")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    out = given.out or given.vg / "sevige"
    rows = build(given.vg, out, overlap=given.overlap, most=given.most, seed=given.seed)
    print(summary(rows, PAPER))


if __name__ == "__main__":
    sys.exit(exit_code(main))
