"""Sources of every form, and what is odd about each: what docs/sources.py makes and indexes."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FIFO = object()
"""What stands for a pipe among files."""

Content = bytes | Path | object


@dataclass(frozen=True)
class Case:
    """A source, and what is odd about it.

    Attributes:
        files: what stands in a folder, by path: bytes, a link to a path, or a FIFO.
        source: what of it is indexed; empty: the folder.
    """

    form: str
    variant: str
    files: Mapping[str, Content]
    source: str = ""


def picture(level: int = 0) -> bytes:
    """Return a picture as PNG: bars, like no other of another level."""
    pixels = np.arange(1024, dtype=np.uint32).reshape(32, 32) * (level + 1) % 251
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "png")
    return file.getvalue()


def json_lines(*rows: object) -> bytes:
    """Return JSON lines; bytes are a line as it is."""
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def parquet(**columns: Any) -> bytes:
    """Return a Parquet file."""
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    """Return arrays as numpy saves several."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array: Any) -> bytes:
    """Return an array as numpy saves one."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def comma_separated(*rows: Sequence[str]) -> bytes:
    """Return rows as CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue().encode()


PICTURES = {"a.png": picture(0), "b.png": picture(1), "c.png": picture(2)}
VECTORS = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
NAN = np.array([[1, 0], [np.nan, 1], [1, 1]], np.float32)
TEXTS = ["a cat", "a dog", "a cow"]


def folders() -> Iterator[Case]:
    """Yield folders of media."""

    def case(variant: str, **more: Content) -> Case:
        return Case(
            "folder", variant, {**PICTURES, **{name.replace("__", "."): c for name, c in more.items()}}
        )

    yield case("`a.txt` beside `a.png`", a__txt=b"a cat\na grey cat\n")
    yield case("a text file beside no picture", notes__txt=b"bought in 2019\n")
    yield case("a text that is neither UTF-8 nor UTF-16", a__txt=b"caf\xe9\n")
    yield case("a text beyond what a backbone reads", a__txt=b"cat " * 3000)
    yield case("a file of another kind", list__docx=b"PK")
    yield case("a form of picture that is not read", d__heic=b"\0\0\0\x18ftypheic" + bytes(200))
    yield case("a picture twice", d__png=picture(0))
    yield case("a FIFO called `d.png`", d__png=FIFO)
    yield Case("folder", "a linked folder", {**PICTURES, "more": Path("../far"), "../far/d.png": picture(3)})
    yield Case(
        "folder", "a link that leads out", {**PICTURES, "d.png": Path("../far.png"), "../far.png": picture(3)}
    )
    yield Case("folder", "nothing but tables", {"a.csv": b"text\na\n", "b.csv": b"text\nb\n"})
    yield case("a FIFO called `a.txt`", a__txt=FIFO)
    yield case("a FIFO called `metadata.jsonl`", metadata__jsonl=FIFO)
    yield case("metadata in a folder below", **{"sub/metadata.csv": b"file_name,text\n"})


def media_tables() -> Iterator[Case]:
    """Yield tables of media: JSON lines and CSV."""

    def lines(variant: str, *rows: object) -> Case:
        return Case("`metadata.jsonl`", variant, {**PICTURES, "metadata.jsonl": json_lines(*rows)})

    def of_a(**more: object) -> Mapping[str, object]:
        return {"file_name": "a.png", "text": "a cat", **more}

    b = {"file_name": "b.png", "text": "a dog"}
    yield lines("columns of other names", {"path": "a.png", "caption": "a cat"})
    yield lines("an unknown column", of_a(url="https://a.org"), b)
    yield lines("a misspelled column", {"file_name": "a.png", "captoin": "a cat"})
    yield lines("numbers as id, task and labels", of_a(id=7, task=1, labels=[0, 2]), b)
    yield lines("labels as zeros and ones", of_a(labels=[0, 1, 1]), b)
    yield lines("nulls", of_a(id=None, labels=None, split=None), b)
    yield lines("objects 200 deep", of_a(exif=json.loads('{"a":' * 200 + "1" + "}" * 200)), b)
    yield lines("a byte that is not UTF-8", b'{"text": "caf\xe9"}', b)
    yield lines("an id twice", of_a(id="x"), {**b, "id": "x"})
    yield lines("a file that is not there", of_a(), {**b, "file_name": "z.png"})
    at_a = {"path": "a.png", "bytes": None}
    yield lines("pictures as objects of path and bytes", {"image": at_a, "text": "a cat"}, b)
    yield Case(
        "`metadata.jsonl`",
        "paths as Windows writes them",
        {
            "img/a.png": picture(0),
            "metadata.jsonl": json_lines({"file_name": "img\\a.png"}, {"file_name": "img\\z.png"}),
        },
    )
    yield lines("an address", of_a(), {**b, "file_name": "https://a.org/a.png"})

    def table(variant: str, data: bytes, suffix: str = "csv") -> Case:
        return Case(suffix.upper(), variant, {**PICTURES, f"t.{suffix}": data}, f"t.{suffix}")

    head = ("file_name", "text", "labels")
    good = ("b.png", "a dog", "pet")
    yield table("several labels in a cell", comma_separated(head, ("a.png", "a cat", "pet; indoor"), good))
    yield table("commas without quotes", comma_separated(head, good) + b"a.png,a cat, on a mat, asleep\n")
    yield table(
        "a quote that is never closed", comma_separated(head) + b'a.png,"a cat,pet\n' + b"b.png,a dog,pet\n"
    )
    yield table(
        "a byte that is not UTF-8", comma_separated(head) + b"a.png,caf\xe9,pet\n" + b"b.png,a dog,pet\n"
    )
    yield table("lines that end in a carriage return", comma_separated(head, good).replace(b"\n", b"\r"))
    yield table("`sep=;` before its names", b"sep=;\r\nfile_name;text\r\na.png;a cat\r\n")
    yield table("names that are not UTF-8", "file_name;l\xe9gende\na.png;a cat\n".encode("latin-1"))
    yield table("names and no rows", comma_separated(head))
    yield table("separators at the ends of its lines", b"file_name;text;;\na.png;a cat;;\n")
    yield table("UTF-16 without a mark", "file_name,text\na.png,a cat\n".encode("utf-16-le"))
    yield table("a carriage return in a cell", comma_separated(head, good) + b"a.png,a\rcat,pet\n")
    yield table("no known column", b"where,words\na.png,a cat\n")
    yield table("a quote in a caption", b'file_name\ttext\na.png\t"Hello" said a 12" record\n', "tsv")
    yield table("cells that a spreadsheet has quoted", b'file_name\ttext\na.png\t"a ""red"" bus"\n', "tsv")
    yield Case("CSV", "a FIFO", {"t.csv": FIFO}, "t.csv")


def feature_tables() -> Iterator[Case]:
    """Yield tables of features: Parquet, npz, npy and folders of arrays."""

    def of(form: str, variant: str, data: bytes) -> Case:
        suffix = form.lower()
        return Case(form, variant, {f"t.{suffix}": data}, f"t.{suffix}")

    rows = [list(row) for row in VECTORS.tolist()]
    yield of("Parquet", "`image_embedding` and `caption`", parquet(image_embedding=rows, caption=TEXTS))
    int8 = pa.array(rows, pa.list_(pa.int8()))
    yield of("Parquet", "`int8`", parquet(image=int8, caption=TEXTS))
    yield of("Parquet", "an empty list, a null", parquet(image=[rows[0], [], None], caption=TEXTS))
    yield of("Parquet", "a NaN", parquet(image=NAN.tolist(), caption=TEXTS))
    lost = np.array([[np.nan, np.nan], [0, 1], [1, 1]])
    yield of("Parquet", "a row of NaN alone", parquet(image=lost.tolist(), caption=TEXTS))
    stored = pa.array([{"bytes": b"", "path": "a.png"}] * 3)
    yield of("Parquet", "pictures as bytes", parquet(image=stored, text=TEXTS))
    beside = {"a.png": picture(0), "t.parquet": parquet(image=stored[:1], text=TEXTS[:1])}
    yield Case("Parquet", "pictures as bytes, and files beside it", beside, "t.parquet")
    yield of("Parquet", "a column of bytes", parquet(image=[b"\x89PNG"] * 3, text=TEXTS))
    yield of("Parquet", "lists of booleans", parquet(image=[[True, False]] * 3, text=TEXTS))
    yield of("npz", "`float16`", npz(image=VECTORS.astype(np.float16), text=TEXTS))
    yield of("npz", "labels as zeros and ones (N, C)", npz(image=VECTORS, labels=np.eye(3, dtype=int)))
    yield of("npz", "complex numbers", npz(image=VECTORS.astype(np.complex64), text=TEXTS))
    yield of("npz", "arrays of no rows", npz(image=VECTORS[:0]))
    yield of("npz", "arrays of 3 and 2 rows", npz(image=VECTORS, text=TEXTS[:2]))
    yield of("npz", "an array of another length that means nothing", npz(image=VECTORS, centers=VECTORS[:2]))
    yield of(
        "npz",
        "objects that mean nothing, which would be unpickled",
        npz(image=VECTORS, x=np.array([{}] * 3, object)),
    )
    yield of("npz", "texts as objects", npz(image=VECTORS, text=np.array(["a", "b", "c"], object)))
    yield of("npy", "a lone array", npy(VECTORS))
    parts = {"img_emb/0.npy": npy(VECTORS), "text_emb/0.npy": npy(VECTORS)}
    metadata = {"metadata/0.parquet": parquet(image_path=["1.jpg", "2.jpg", "3.jpg"], caption=TEXTS)}
    yield Case("embedding folder", "arrays and metadata", {**parts, **metadata})
    yield Case("embedding folder", "metadata as CSV", {**parts, "metadata/0.csv": b"caption\n"})


def data_sets() -> Iterator[Case]:
    """Yield data sets in forms of their own."""
    images = [{"id": n, "file_name": f"{name}.png"} for n, name in enumerate("abc")]
    captions = [{"image_id": n, "caption": text} for n, text in enumerate(TEXTS)]

    def coco(variant: str, annotations: Sequence[object], **more: object) -> Case:
        data = json.dumps({"images": images, "annotations": annotations, **more}).encode()
        return Case("COCO", variant, {**PICTURES, "captions_val2017.json": data}, "captions_val2017.json")

    yield coco("captions", captions)
    boxes = [{"image_id": 0, "category_id": 3, "bbox": [0, 0, 9, 9]}]
    yield coco("instances", boxes, categories=[{"id": 3, "name": "cat"}])
    yield coco(
        "a blank caption, an image that is not listed",
        [*captions, {"image_id": 9, "caption": "x"}, {"image_id": 0, "caption": ""}],
    )
    tokens = b"a.png#0\ta cat\na.png#1\ta grey cat\nb.png#0\ta dog\n"
    yield Case("Flickr8k, 30k", "a token file", {**PICTURES, "tokens.txt": tokens}, "tokens.txt")
    yield Case(
        "Flickr8k, 30k",
        "a line of no token",
        {**PICTURES, "tokens.txt": tokens + b"c.png a cow\n"},
        "tokens.txt",
    )
    yield Case(
        "Flickr8k, 30k",
        "`captions.txt`",
        {**PICTURES, "captions.txt": b"image,caption\na.png,a cat\na.png,a grey cat\n"},
        "captions.txt",
    )
    row = json_lines({"file_name": "a.png", "text": "a cat"})
    splits = {
        "train/a.png": picture(0),
        "train/metadata.jsonl": row,
        "test/a.png": picture(1),
        "test/metadata.jsonl": row,
    }
    yield Case("split folders", "`train/` and `test/`", splits)
    shards = {
        "data/train-00000-of-00002.parquet": parquet(text=TEXTS[:1]),
        "data/test-00000-of-00001.parquet": parquet(text=TEXTS[1:]),
        "README.md": b"",
    }
    yield Case("split files", "one of two of a split", shards)
    unequal = {
        f"{name}/metadata.parquet": parquet(image=[[1.0] * n]) for n, name in ((1, "train"), (2, "test"))
    }
    yield Case("split folders", "features of other widths", unequal)


def cases() -> Iterator[Case]:
    """Yield all of them."""
    for form in (folders, media_tables, feature_tables, data_sets):
        yield from form()
