"""A query in, hits out: composition, ranking, and what a hit is."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine import media
from engine.backbones import Backbone
from engine.errors import Unreadable, UserError
from engine.heads.embedder import Embedder
from engine.media import clean_text
from engine.ranking.fusion import BEST, NO_SCORE, Candidates, Odds, Ranking, Scores, merge
from engine.storage.store import Store
from engine.types import Hit, Modality, ShardKey


class Searchable(Protocol):
    """What can be asked for the nearest of its embeddings."""

    @property
    def key(self) -> ShardKey: ...

    def search(self, queries: NDArray[np.float32], k: int) -> Candidates:
        """Return the k best items for each query (Q, E), ties ordered by item id."""
        ...

    def log_partition(self, queries: NDArray[np.float32], tau: float, best: Scores) -> Scores:
        """Return log of the sum over all items of exp(cosine / tau), for each query (Q, E): (Q,).

        Args:
            best: the cosines of the nearest items (Q, n), n at most BEST, as the search found them.
        """
        ...


@dataclass(frozen=True)
class Asked:
    """A shard, and the queries (Q, E) embedded by the head it is to be asked with.

    Attributes:
        tau: what cosines are divided by where they become probabilities; one for all shards of a task.
    """

    shard: Searchable
    queries: NDArray[np.float32]
    tau: float = 0.07


@dataclass(frozen=True)
class TaskPosterior:
    """What the features of Q queries say of their task: log p(task | q) (Q, T) for T tasks."""

    tasks: Sequence[str]
    log_p: Scores


@dataclass(frozen=True)
class Part:
    """One input of a query: features (D,) of one modality, and its weight."""

    modality: Modality
    features: NDArray[np.float32]
    weight: float = 1.0


@dataclass(frozen=True)
class Input:
    """One input of a query as a person gave it: a file's bytes and name, or a text's bytes; and its weight."""

    modality: Modality
    data: bytes
    weight: float = 1.0
    name: str = ""


def text_input(text: str) -> Input:
    """Return a text as an input, its weight parsed off: `2:beach`, `-1:people`."""
    weighted = re.fullmatch(r"([-+]?\d+(?:\.\d+)?):(.+)", text, re.DOTALL)
    weight, words = (float(weighted[1]), weighted[2]) if weighted else (1.0, text)
    return Input("text", clean_text(words).encode(), weight)


def file_input(modality: Modality, path: Path) -> Input:
    """Return a file as an input."""
    try:
        return Input(modality, media.read(path), name=path.name)
    except Unreadable as error:
        raise UserError(f"cannot read {path}: {error}") from None


def encode(inputs: Sequence[Input], backbone: Callable[[Modality], Backbone]) -> list[Part]:
    """Return the features of a query's inputs."""
    parts = []
    for one in inputs:
        try:
            encoder = backbone(one.modality)
            prepared = encoder.prepare(one.modality, one.data)
        except Unreadable as error:
            raise UserError(
                f"the {one.modality} of the query cannot be used: {error}", error.settings
            ) from None
        parts.append(Part(one.modality, encoder.encode(one.modality, [prepared])[0], one.weight))
    return parts


def compose(embedder: Embedder, version: int, parts: Sequence[Part]) -> NDArray[np.float32]:
    """Embed a query of several inputs (1, E): the weighted sum of their embeddings, of unit length."""
    embedded = [
        part.weight * embedder.embed(version, part.modality, part.features[None]).astype(np.float64)
        for part in parts
    ]
    if len(parts) > 1 and np.linalg.norm(np.sum(embedded, axis=0)) < 1e-9:
        raise UserError("the parts of the query cancel each other out: change their weights")
    return together(embedded)


def together(embedded: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
    """Return the sums (Q, E) of the embeddings of queries' parts, each (Q, E), of unit length."""
    total = np.sum(embedded, axis=0, dtype=np.float64)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (total / np.maximum(length, 1e-12)).astype(np.float32)
    return unit


def rank(asked: Sequence[Asked], k: int, guess: TaskPosterior | None = None) -> Ranking:
    """Return the K best items of all shards for each query; search and evaluation both come through here.

    Args:
        guess: rank by log p(item | q), the task being guessed; None: by cosine.
    """
    most = k if guess is None else max(k, BEST)
    found = [one.shard.search(one.queries, most) for one in asked]
    return merge(found, k, None if guess is None else odds(asked, found, guess))


def odds(asked: Sequence[Asked], found: Sequence[Candidates], guess: TaskPosterior) -> list[Odds]:
    """Return what makes the cosines of each shard comparable."""
    log_z = [
        one.shard.log_partition(one.queries, one.tau, candidates.scores[:, :BEST])
        for one, candidates in zip(asked, found, strict=True)
    ]
    return shifted([one.shard.key.task for one in asked], [one.tau for one in asked], log_z, guess)


def shifted(
    tasks: Sequence[str], tau: Sequence[float], log_z: Sequence[Scores], posterior: TaskPosterior
) -> list[Odds]:
    """Return the odds of each shard: log p(task | q) - log Z(q), where Z sums over all shards of its task.

    Args:
        tasks, tau, log_z: of each shard: its task, its temperature, and its log partition (Q,).
    """
    of_task: dict[str, list[Scores]] = {}
    for task, part in zip(tasks, log_z, strict=True):
        of_task.setdefault(task, []).append(part)
    column = {task: n for n, task in enumerate(posterior.tasks)}
    shift = {
        task: posterior.log_p[:, column[task]] - np.logaddexp.reduce(parts) for task, parts in of_task.items()
    }
    return [Odds(temperature, shift[task]) for task, temperature in zip(tasks, tau, strict=True)]


def hits(ranking: Ranking, asked: Sequence[Asked], store: Store, *, min_score: float = -1.0) -> list[Hit]:
    """Return the hits of the first query of a ranking, best first."""
    found: list[Hit] = []
    log_p = [None] * ranking.scores.shape[1] if ranking.log_p is None else ranking.log_p[0].tolist()
    for score, id, part, log in zip(ranking.scores[0], ranking.ids[0], ranking.part[0], log_p, strict=True):
        known = None if score == NO_SCORE or score < min_score else store.item(id.decode())
        if known is None:  # or taken from the store since the shard was built
            continue
        item, tasks = known
        key = asked[part].shard.key
        found.append(
            Hit(
                rank=len(found) + 1,
                score=float(score),
                id=item.id,
                modality=item.modality,
                task=key.task,
                tasks=tasks,
                path=item.paths[0] if item.paths else None,
                text=item.text,
                head=key.head,
                log_p=log,
            )
        )
    return found
