"""Captions of pictures as COCO, Karpathy's splits, and Flickr8k and 30k write them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from engine.errors import Setting, Unreadable, UserError
from engine.ids import clean_text, counted
from engine.sources.base import SPLITS, Collection, Row, checked_id, inside, located
from engine.sources.tables.values import Limits, over, plain, regular
from engine.types import Skipped, Split

MAX_BYTES = 4 << 30
FOLDERS = ("", "images", "Images", "img")
NAMED_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(SPLITS)})(?![a-z])")
"""A split as a word of a name: of captions_val2017, not of latest or evaluation."""

TOKEN = re.compile(r"(.+?)#\d+\s+(.*)")


def open_coco(source: Path, media: Path | None, limits: Limits) -> Collection:
    """Open a JSON of COCO (captions or instances) or of Karpathy's splits: a row for each image.

    Args:
        media: the folder of the images; None: one beside the file, by the usual names.
    """
    content = _content(source)
    images = content["images"]
    if len(images) > limits.max_rows:
        raise over("max_rows", limits.max_rows, f"{source} has {counted(len(images), 'image')}")
    annotations, notes = _annotations(content)
    notes += _left_over(annotations, images)
    folder = media or _beside(
        source, [str(image.get("file_name") or image.get("filename")) for image in images[:20]]
    )

    def rows() -> Iterator[Row | Skipped]:
        names: set[str] = set()
        for number, image in enumerate(images, start=1):
            try:
                row = _coco_row(folder, source, number, image, annotations.get(str(image.get("id")), []))
                if row.name in names:
                    raise Unreadable(f"{row.name!r} stands in an earlier row too")
                names.add(row.name)
                yield row
            except Unreadable as error:
                yield Skipped(str(source), str(error), number, name=str(image.get("id")))

    return Collection(source, lambda: len(images), rows, notes=notes)


def _content(source: Path) -> Mapping[str, Any]:
    """Read a JSON that has a list of images."""
    if regular(source).stat().st_size > MAX_BYTES:
        raise UserError(
            f"{source} is larger than {MAX_BYTES >> 30} GiB, which is the most that is read of a JSON"
        )
    try:
        content = json.loads(source.read_bytes())
    except json.JSONDecodeError as error:
        said = "it has a JSON value a line: call it .jsonl" if error.msg == "Extra data" else error
        raise UserError(f"cannot read {source}: {said}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {source}: {error}") from None
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        advice = "; rows of your own are read from .jsonl, one a line" if isinstance(content, list) else ""
        raise UserError(f'{source} is no source: a JSON of COCO has a list of "images"{advice}')
    return dict(content)


def _objects(value: object) -> list[Mapping[str, Any]]:
    """Return the objects of a list; nothing of what is none."""
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _annotations(content: Mapping[str, Any]) -> tuple[dict[str, list[Mapping[str, Any]]], list[str]]:
    """Return the annotations of each image, by its id, and what to say of others.

    A category's name stands for its number.
    """
    categories, given = _objects(content.get("categories")), content.get("annotations", [])
    names = {str(category.get("id")): category.get("name") for category in categories}
    annotations = _objects(given)
    by_image: dict[str, list[Mapping[str, Any]]] = {}
    for annotation in annotations:
        category = annotation.get("category_id")
        named = {**annotation, "category": names.get(str(category), category)}
        by_image.setdefault(str(annotation.get("image_id")), []).append(named)
    others = len(given) - len(annotations) if isinstance(given, list) else 1
    blank = sum("caption" in annotation and not _is_text(annotation["caption"]) for annotation in annotations)
    notes = []
    if others:
        notes.append(counted(others, "annotation is no object and is", "annotations are no objects and are"))
    if blank:
        has = counted(blank, "annotation has", "annotations have")
        notes.append(f"{has} a caption that is blank or no text and {'is' if blank == 1 else 'are'}")
    return by_image, [f"{note} left out" for note in notes]


def _left_over(
    annotations: Mapping[str, Sequence[object]], images: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield what to say of annotations whose image is not among the images."""
    lost = annotations.keys() - {str(image.get("id")) for image in images}
    if lost:
        count, example = sum(len(annotations[id]) for id in lost), min(lost)
        named = counted(count, "annotation names", "annotations name")
        be = "is" if count == 1 else "are"
        yield f"{named} an image that is not listed, like {example}, and {be} left out"


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def _coco_row(
    folder: Path,
    source: Path,
    number: int,
    image: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
) -> Row:
    name = image.get("file_name") or image.get("filename")
    if not isinstance(name, str) or Path(name).is_absolute() or "\0" in name:
        raise Unreadable("names no file")
    place = image.get("filepath")
    path = inside(folder, located(folder / (place if isinstance(place, str) else ""), name))
    captions = [annotation.get("caption") for annotation in annotations]
    captions += [sentence.get("raw") for sentence in _objects(image.get("sentences"))]
    labels = [annotation["category"] for annotation in annotations if annotation.get("category") is not None]
    given = image.get("id", image.get("imgid", image.get("cocoid")))
    id = None if given is None else checked_id(str(given))
    split = _split(image.get("split")) or _split(source.stem)
    kept = {"id", "file_name", "filename", "filepath", "split", "sentences", "sentids"}
    return Row(
        id or str(path),
        line=number,
        id=id,
        split=split,
        labels=tuple(dict.fromkeys(map(str, labels))),
        media={"image": path},
        texts=tuple(dict.fromkeys(clean_text(text) for text in captions if _is_text(text))),
        other={field: plain(value) for field, value in image.items() if field not in kept},
    )


def _split(name: object) -> Split | None:
    """Return the split that a name speaks of; Karpathy's `restval` trains, as he meant it to."""
    if not isinstance(name, str):
        return None
    if name == "restval":
        return "train"
    spoken = NAMED_SPLIT.search(name.lower())
    return SPLITS[spoken[1]] if spoken else None


def _beside(source: Path, names: Sequence[str]) -> Path:
    """Return the folder in which the images lie: the file's own, or one of the usual beside it or above."""
    split = re.search(r"(train|val|test)\d*", source.stem)
    folders = [*FOLDERS, *([split[0]] if split else [])]
    for above in (source.parent, source.parent.parent):
        for folder in folders:
            if any(located(above / folder, name).is_file() for name in names):
                return above / folder
    media = Setting("media", "DIR")
    raise UserError(
        f"the images that {source} names are not beside it: say where they lie with {media}", [media]
    )


def holds_tokens(source: Path) -> bool:
    """Say whether a text file begins as a token file of Flickr does."""
    with regular(source).open("rb") as file:
        return TOKEN.fullmatch(file.readline(1 << 16).decode("utf-8", "replace").strip()) is not None


def open_flickr(source: Path, media: Path | None, limits: Limits) -> Collection:
    """Open a token file of Flickr8k or 30k: a line `NAME.jpg#0`, a tab and a caption; a row for each image."""
    captions: dict[str, list[str]] = {}
    broken: list[Skipped] = []
    with regular(source).open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if number > limits.max_rows:
                raise over("max_rows", limits.max_rows, f"{source} has more lines than are read")
            token = TOKEN.fullmatch(line.strip())
            try:
                if token:
                    captions.setdefault(token[1], []).append(clean_text(token[2]))
                elif line.strip():
                    raise Unreadable("not `NAME#NUMBER`, white space and a caption")
            except Unreadable as error:
                broken.append(Skipped(str(source), str(error), number))
    folder = media or _beside(source, list(captions)[:20])

    def rows() -> Iterator[Row | Skipped]:
        yield from broken
        for name, texts in captions.items():
            try:
                path = inside(folder, located(folder, name))
                yield Row(name, id=checked_id(name), media={"image": path}, texts=tuple(dict.fromkeys(texts)))
            except Unreadable as error:
                yield Skipped(str(source), f"{name}: {error}")

    return Collection(source, lambda: len(captions), rows)
