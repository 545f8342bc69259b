"""How fast is `index`, and how much of its time is the encoder's? Items/s of decode, encode and the whole.

    python -m benchmarks.rates --data ../shared/data/scenes --items 300

The backbone is loaded before any clock starts; its load time is printed beside. decode: all items prepared by
the same number of threads that `index` uses, nothing else running. encode: prepared items through the frozen
encoder in chunks as `index` has them. whole: reading, digesting, decoding, encoding, storing and building shards.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.report import machine, markdown, write
from engine import media
from engine.backbones import Backbone, Prepared
from engine.ingest.encoding import CHUNK, READERS, Loader
from engine.ingest.ingest import ingest
from engine.ingest.setup import WorkspaceOptions, open_or_make
from engine.sources import open_source
from engine.sources.base import Row
from engine.storage.store import Store
from engine.storage.writer import writing
from engine.types import Modality
from indexer.serving.build import serve
from indexer.serving.wanted import ServingRequest

Job = tuple[Modality, bytes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/scenes"))
    parser.add_argument("--items", type=int, default=300, help="photos, with their captions")
    parser.add_argument("--arch", default="ViT-B-32", help="open_clip architecture, with random weights")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rates.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        table = _excerpt(given.data, given.items, Path(scratch))
        weights = _random_weights(given.arch, Path(scratch))
        rows = [
            _measure(spec, table, Path(scratch) / name)
            for name, spec in (("builtin", "builtin"), ("open_clip", f"open_clip:{given.arch}/{weights}"))
        ]
    write(given.out, {**machine(), "photos": given.items, "rates": rows})
    print(markdown(rows))


def _excerpt(data: Path, items: int, scratch: Path) -> Path:
    """Return a source that is some rows of another, taken evenly."""
    folder = scratch / "source"
    folder.mkdir()
    with (data / "metadata.jsonl").open(encoding="utf-8") as lines:
        every = list(lines)
        rows = [json.loads(every[n * len(every) // items]) for n in range(items)]
    for row in rows:
        source = data / row["image"]
        copy = folder / "photos" / Path(row["image"]).name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(source.read_bytes())
        row["image"] = f"photos/{copy.name}"
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return folder


def _random_weights(arch: str, scratch: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    from engine.backbones.open_clip import heal_torchvision

    heal_torchvision()
    import open_clip

    torch.manual_seed(0)
    network = open_clip.create_model(arch)
    save_file(network.state_dict(), scratch / "random.safetensors")
    return scratch / "random.safetensors"


def _measure(spec: str, source: Path, workspace: Path) -> dict[str, object]:
    began = time.perf_counter()
    with writing(workspace / ".mneme"):
        opened, backbones = open_or_make(workspace / ".mneme", [source], WorkspaceOptions([spec]), "cpu")
    backbone = backbones.of("image")
    loading = time.perf_counter() - began
    rows = [row for row in open_source(source).rows() if isinstance(row, Row)]
    jobs = list(dict.fromkeys(job for row in rows for job in _jobs(row)))  # equal captions are one item
    backbone.encode("image", [backbone.prepare(*next(job for job in jobs if job[0] == "image"))])
    backbone.encode("text", [backbone.prepare(*next(job for job in jobs if job[0] == "text"))])

    began = time.perf_counter()
    with ThreadPoolExecutor(READERS) as pool:
        prepared = list(pool.map(lambda job: (job[0], backbone.prepare(*job)), jobs))
    decoding = time.perf_counter() - began

    began = time.perf_counter()
    _encode(backbone, prepared)
    encoding = time.perf_counter() - began

    began = time.perf_counter()
    with Store(opened.store, readonly=False) as store:
        ingest(Loader(store, backbones.of), source)
        serve(opened, store, ServingRequest(), device="cpu")
    whole = time.perf_counter() - began
    return {
        "backbone": spec.partition(":")[0],
        "items": len(jobs),
        "decode items/s": round(len(jobs) / decoding, 1),
        "encode items/s": round(len(jobs) / encoding, 1),
        "whole items/s": round(len(jobs) / whole, 1),
        "whole/encode": round(encoding / whole, 3),
        "load s": round(loading, 1),
    }


def _jobs(row: Row) -> list[Job]:
    files = [(modality, media.read(path)) for modality, path in row.media.items()]
    return files + [("text", text.encode()) for text in row.texts]


def _encode(backbone: Backbone, prepared: Sequence[tuple[Modality, Prepared]]) -> None:
    for modality in ("image", "text"):
        batch = [item for of, item in prepared if of == modality]
        for start in range(0, len(batch), CHUNK):
            backbone.encode(modality, batch[start : start + CHUNK])


if __name__ == "__main__":
    main()
