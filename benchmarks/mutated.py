"""Files that were damaged at random: is each one read, or refused by name, without a crash, a hang or a traceback?

    python -m benchmarks.mutated
    python -m benchmarks.mutated --files 400 --seed 1

Pictures, sounds, tables and arrays of each form are drawn, and damaged: bits turned over, a run of bytes lost,
doubled, drawn anew or put in the place of another, the end cut off. Media lie in one folder, which is one run of
`index`; each table is a source of its own. What is neither read nor refused in one line is counted, and told by its
name. To results/mutated.json.
"""

import argparse
import io
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from PIL import Image

from benchmarks.report import machine, markdown, write
from engine.errors import UserError
from engine.ingest.setup import WorkspaceOptions
from indexer.serving.index import index

OUT = Path(__file__).parent / "results" / "mutated.json"
FORKS = multiprocessing.get_context("forkserver")
LONGEST = 300.0
"""Seconds after which a run hangs; a folder of hundreds of media is one run."""

PICTURES = ("png", "jpeg", "gif", "webp", "tiff", "bmp", "ppm", "jp2", "avif")
SOUNDS = ("wav", "flac", "ogg", "mp3", "aiff", "caf", "au")
TABLES = ("jsonl", "csv", "tsv", "parquet", "json")
KINDS: Mapping[str, Sequence[str]] = {
    "pictures": PICTURES,
    "sounds": SOUNDS,
    "tables": TABLES,
    "arrays": ("npz", "packed.npz"),
}
OUTCOMES = ("read", "refused", "crashed", "hung", "traceback", "lost")
ROWS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    FORKS.set_forkserver_preload(["indexer.serving.index", "engine.backbones.builtin", "pyarrow.parquet"])
    began, rng = time.perf_counter(), random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            {"files": kind, **measured(kind, given.files // len(KINDS), Path(folder), rng)} for kind in KINDS
        ]
    print(markdown(rows))
    write(OUT, {**machine(), "seed": given.seed, "seconds": round(time.perf_counter() - began), "rows": rows})


def measured(kind: str, count: int, folder: Path, rng: random.Random) -> dict[str, object]:
    """Draw, damage and index so many files of a kind; return how many came to what."""
    place = folder / kind
    place.mkdir()
    forms = KINDS[kind]
    whole = {form: drawn(kind, form) for form in forms}
    for number in range(count):
        form = forms[number % len(forms)]
        (place / f"{number:04d}.{form}").write_bytes(damaged(whole[form], rng))
    is_media = kind in {"pictures", "sounds"}
    counts = indexed([place] if is_media else sorted(place.iterdir()), folder)
    counts["lost"] = count - counts.total()
    return {"drawn": count, **{outcome: counts[outcome] for outcome in OUTCOMES}}


def indexed(sources: Sequence[Path], folder: Path) -> Counter[str]:
    """Index each source, in processes of which one ends where a source ends it; return what their files came to."""
    counts: Counter[str] = Counter()
    left = list(sources)
    while left:
        heard, tell = FORKS.Pipe(duplex=False)
        process = FORKS.Process(target=_index, args=(tell, left, folder))
        process.start()
        tell.close()
        ended = ""
        while left and not ended:
            try:
                ended = "" if heard.poll(LONGEST) else "hung"
                outcome, told = (ended, "") if ended else heard.recv()
            except EOFError:
                ended, outcome, told = "crashed", "crashed", ""
            source = left.pop(0)
            counts.update(outcome if isinstance(outcome, Counter) else [outcome])
            if ended or told:
                print(f"{source.name}: {outcome} {told}", flush=True)
        process.kill()
        process.join()
    return counts


def _index(tell: Connection, sources: Sequence[Path], folder: Path) -> None:
    """Say of each source how many of its files were read and refused; of what is no refusal, what it was."""
    for source in sources:
        try:
            done = index(folder / f"{source.name}.mneme", [source], WorkspaceOptions(["builtin"]))
        except UserError as error:
            tell.send(("refused", "") if "\n" not in str(error) else ("traceback", f"several lines: {error}"))
        except Exception as error:  # whatever it is, it was not refused
            tell.send(("traceback", f"{type(error).__name__}: {error}"))
        else:
            files = Counter(read=done.added, refused=len(done.skipped))
            tell.send((files if source.is_dir() else "read", ""))


def drawn(kind: str, form: str) -> bytes:
    """Return a whole file of a form."""
    rng, file = np.random.default_rng(0), io.BytesIO()
    if kind == "pictures":
        coarse = Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8))
        kind_of = {"jp2": "JPEG2000"}.get(form, form.upper())
        coarse.resize((96, 64), Image.Resampling.BICUBIC).save(file, kind_of)
    elif kind == "sounds":
        seconds = np.arange(8000) / 16000
        soundfile.write(file, 0.5 * np.sin(2 * np.pi * 440 * seconds), 16000, format=form.upper())
    elif kind == "arrays":
        save = np.savez if form == "npz" else np.savez_compressed
        image = rng.standard_normal((ROWS, 16)).astype(np.float32)
        save(file, image=image, text=[f"a cloud {n}" for n in range(ROWS)], id=np.arange(ROWS))
    else:
        return TEXTS[form]() if form in TEXTS else _parquet()
    return file.getvalue()


def _lines(separator: str) -> bytes:
    table = [["id", "text", "task"], *([str(n), f'a "cloud" {n}, é', "sky"] for n in range(ROWS))]
    quoted = [[cell.replace('"', '""') if separator == "," else cell for cell in row] for row in table]
    mark = '"' if separator == "," else ""
    return "\n".join(separator.join(f"{mark}{cell}{mark}" for cell in row) for row in quoted).encode()


def _json_lines() -> bytes:
    return b"".join(b'{"id": %d, "text": "a cloud %d", "labels": ["a", "b"]}\n' % (n, n) for n in range(ROWS))


def _coco() -> bytes:
    pairs = range(ROWS)
    images = ", ".join(f'{{"id": {n}, "file_name": "{n}.jpg"}}' for n in pairs)
    captions = ", ".join(f'{{"id": {n}, "image_id": {n}, "caption": "a cloud {n}"}}' for n in pairs)
    return f'{{"images": [{images}], "annotations": [{captions}]}}'.encode()


def _parquet() -> bytes:
    file = io.BytesIO()
    image = np.random.default_rng(0).standard_normal((ROWS, 8)).astype(np.float32)
    table = {"image": [*image], "text": [f"a cloud {n}" for n in range(ROWS)], "id": [*range(ROWS)]}
    pq.write_table(pa.table(table), file)
    return file.getvalue()


TEXTS: Mapping[str, Callable[[], bytes]] = {
    "jsonl": _json_lines,
    "csv": partial(_lines, ","),
    "tsv": partial(_lines, "\t"),
    "json": _coco,
}


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """Return a file with one to four damages."""
    data = bytearray(whole)
    for damage in rng.choices([_flip, _lose, _double, _redraw, _replace, _cut], k=rng.randint(1, 4)):
        if data:
            damage(data, rng)
    return bytes(data)


def _run(data: bytearray, rng: random.Random) -> slice:
    start = rng.randrange(len(data))
    return slice(start, start + rng.randint(1, 64))


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _lose(data: bytearray, rng: random.Random) -> None:
    del data[_run(data, rng)]


def _double(data: bytearray, rng: random.Random) -> None:
    run = _run(data, rng)
    data[run.stop : run.stop] = data[run]


def _redraw(data: bytearray, rng: random.Random) -> None:
    run = _run(data, rng)
    data[run] = rng.randbytes(len(data[run]))


def _replace(data: bytearray, rng: random.Random) -> None:
    data[_run(data, rng)] = data[_run(data, rng)]


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


if __name__ == "__main__":
    main()
