"""Measure candidate descriptors of pictures, texts and sounds by the heads that can be trained on them.

Two-layer heads, infonce, per task (experts) and on all tasks (joint); the task's test items are the gallery.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from benchmarks.report import machine, markdown, write
from benchmarks.retrieval import recalls
from engine import media
from engine.backbones import builtin
from engine.decoding import pictures, sounds
from engine.types import Relevance

Describe = Callable[[bytes], NDArray[np.float32]]
CHOSEN = "builtin"


def square(data: bytes, side: int) -> Image.Image:
    return media.image(data, side=side).resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)


def oriented(data: bytes) -> NDArray[np.float32]:
    from skimage.feature import hog

    gray = np.asarray(square(data, 128).convert("L")).astype(np.float32) / 255
    return pictures.centred(hog(gray, 9, (16, 16), (2, 2), transform_sqrt=True).astype(np.float32))


def energies(data: bytes) -> NDArray[np.float32]:
    return pictures.energies(np.asarray(square(data, 64).convert("L")))


def oriented_and_coloured(data: bytes) -> NDArray[np.float32]:
    return np.concatenate([oriented(data), pictures.colours(np.asarray(square(data, 64)))])


def hashed(data: bytes, analyzer: str, lengths: tuple[int, int], buckets: int) -> NDArray[np.float32]:
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        n_features=buckets, analyzer=analyzer, ngram_range=lengths, dtype=np.float32
    )
    counts = vectorizer.transform([data.decode()])
    row: NDArray[np.float32] = (counts @ builtin.projection("text", buckets)).ravel()
    return row


def mel_means(data: bytes) -> NDArray[np.float32]:
    row: NDArray[np.float32] = sounds.log_mel(media.sound(data)).mean(0) + 2
    return row


def cepstra(data: bytes) -> NDArray[np.float32]:
    from scipy.fft import dct

    rows = dct(sounds.log_mel(media.sound(data)), norm="ortho", axis=1)[:, :20]
    return np.concatenate([rows.mean(0), rows.std(0), np.diff(rows, axis=0).std(0)], dtype=np.float32)


IMAGES: Mapping[str, Describe] = {
    "HOG": oriented,
    "Gabor energies": energies,
    "HOG + Lab histograms": oriented_and_coloured,
    CHOSEN: pictures.describe,
}
TEXTS: Mapping[str, Describe] = {
    "words and pairs, hashed": partial(hashed, analyzer="word", lengths=(1, 2), buckets=1 << 12),
    "characters 3-5, hashed": partial(hashed, analyzer="char_wb", lengths=(3, 5), buckets=1 << 14),
    CHOSEN: builtin.describe_text,
}
SOUNDS: Mapping[str, Describe] = {
    "log-mel mean": mel_means,
    "20 cepstra: mean, spread, change": cepstra,
    CHOSEN: sounds.describe,
}


@dataclass(frozen=True)
class Pack:
    """One source: a file, captions (numbers of `texts`), task and split of each pair."""

    files: list[Path]
    captions: list[list[int]]
    labels: list[str]
    tasks: NDArray[np.str_]
    splits: NDArray[np.str_]
    texts: list[str]

    def rows(self, split: str, task: str) -> NDArray[np.int_]:
        return np.flatnonzero((self.splits == split) & (self.tasks == task))


def read_pack(folder: Path, modality: Literal["image", "audio"]) -> Pack:
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    texts = sorted({text for line in lines for text in line["texts"]})
    number = {text: i for i, text in enumerate(texts)}
    return Pack(
        files=[folder / line[modality] for line in lines],
        captions=[[number[text] for text in line["texts"]] for line in lines],
        labels=[line["labels"][0] for line in lines],
        tasks=np.array([line["task"] for line in lines]),
        splits=np.array([line["split"] for line in lines]),
        texts=texts,
    )


def features(modality: str, items: Sequence[bytes], describe: Describe) -> Tensor:
    rows = np.stack([describe(data) for data in items])
    if modality != "text":
        rows = rows @ builtin.projection(modality, rows.shape[1])
    return torch.from_numpy(builtin.scaled(rows))


@dataclass(frozen=True)
class Data:
    """A pack and the features of its media (N, 512) and texts (T, 512)."""

    pack: Pack
    media: Tensor
    texts: Tensor


def train(data: Data, rows: NDArray[np.int_], seed: int, epochs: int = 40) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    layers = ((nn.Linear(512, 1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, 512)) for _ in range(2))
    first, second = (nn.Sequential(*each) for each in layers)
    optimizer = torch.optim.AdamW([*first.parameters(), *second.parameters()], lr=1e-3, weight_decay=1e-2)
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(rows), max(1, round(len(rows) / 128))):
            drawn = np.array([rng.choice(data.pack.captions[i]) for i in batch])
            x, y = normalize(first(data.media[batch])), normalize(second(data.texts[drawn]))
            optimizer.zero_grad()
            torch.autograd.backward(infonce(x @ y.T / 0.07, torch.from_numpy(drawn[:, None] == drawn)))
            optimizer.step()
    return first.eval(), second.eval()


def infonce(logits: Tensor, same: Tensor) -> Tensor:
    """Return the symmetric loss of logits (B, B); rows of the same text are positives of each other."""
    share = same / same.sum(1, keepdim=True)
    return -((logits.log_softmax(0) + logits.log_softmax(1)) * share).sum() / (2 * len(same))


def relevance(pack: Pack, rows: NDArray[np.int_], by: Relevance) -> tuple[list[int], Tensor]:
    """Return the texts of these rows (T,) and which of them are right for which row (rows, T)."""
    texts = sorted({text for row in rows for text in pack.captions[row]})
    names = [str(row) if by == "pair" else label for row, label in enumerate(pack.labels)]
    names_of: dict[int, set[str]] = {}
    for name, captions in zip(names, pack.captions, strict=True):
        for text in captions:
            names_of.setdefault(text, set()).add(name)
    return texts, torch.tensor([[names[row] in names_of[text] for text in texts] for row in rows])


@torch.no_grad()
def recall(heads: tuple[nn.Module, nn.Module], data: Data, task: str, by: Relevance, k: int) -> list[float]:
    """Return R@k, text to medium and medium to text, in the test gallery of one task."""
    rows = data.pack.rows("test", task)
    texts, right = relevance(data.pack, rows, by)
    x, y = normalize(heads[0](data.media[rows])), normalize(heads[1](data.texts[texts]))
    cosines = x @ y.T
    return [*recalls(cosines.T, right.T, [k]), *recalls(cosines, right, [k])]


def measure(data: Data, by: Relevance, k: int, seed: int) -> list[float]:
    """Return experts and joint, each text to medium and medium to text, the mean over tasks."""
    tasks = sorted(set(data.pack.tasks.tolist()))
    experts = [recall(train(data, data.pack.rows("train", task), seed), data, task, by, k) for task in tasks]
    heads = train(data, np.flatnonzero(data.pack.splits == "train"), seed)
    joint = [recall(heads, data, task, by, k) for task in tasks]
    return [*np.mean(experts, axis=0).tolist(), *np.mean(joint, axis=0).tolist()]


def cases(pool: Executor, scenes: Path, sounds: Path) -> dict[str, tuple[Data, Relevance, int]]:
    """Return for each candidate its features beside the built-in ones of the other modality."""
    pictures, noises = read_pack(scenes, "image"), read_pack(sounds, "audio")
    words = [text.encode() for text in pictures.texts]
    pixels, waves = ([path.read_bytes() for path in pack.files] for pack in (pictures, noises))
    sources = (("image", pixels, IMAGES), ("text", words, TEXTS), ("audio", waves, SOUNDS))
    images, texts, audio = (
        dict(zip(candidates, pool.map(partial(features, modality, items), candidates.values()), strict=True))
        for modality, items, candidates in sources
    )
    labels = features("text", [text.encode() for text in noises.texts], builtin.describe_text)
    every: dict[str, tuple[Data, Relevance, int]] = {
        **{f"image: {name}": (Data(pictures, x, texts[CHOSEN]), "pair", 10) for name, x in images.items()},
        **{f"text: {name}": (Data(pictures, images[CHOSEN], y), "pair", 10) for name, y in texts.items()},
        **{f"sound: {name}": (Data(noises, x, labels), "label", 1) for name, x in audio.items()},
    }
    del every[f"text: {CHOSEN}"]  # the same as image: builtin
    return every


def table(results: Mapping[str, list[list[float]]]) -> str:
    """Return means and standard deviations over seeds as Markdown."""
    names = ("experts, from text", "experts, to text", "joint, from text", "joint, to text")
    rows = []
    for name, seeds in results.items():
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(np.mean(seeds, 0), np.std(seeds, 0), strict=True)]
        rows.append({"descriptor": name, **dict(zip(names, cells, strict=True))})
    return markdown(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/scenes"))
    parser.add_argument("--sounds", type=Path, default=Path("../shared/data/sounds"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/descriptors.json"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    results: dict[str, list[list[float]]] = {}
    with ProcessPoolExecutor(given.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        every = cases(pool, given.data, given.sounds)
        for seed in range(given.seeds):
            futures = {name: pool.submit(measure, *case, seed) for name, case in every.items()}
            for name, future in futures.items():
                results.setdefault(name, []).append(future.result())
                print(seed, name, np.round(results[name][-1], 3), file=sys.stderr)
    print(table(results))
    write(given.out, {**machine(), "seeds": given.seeds, "recall": results})


if __name__ == "__main__":
    main()
