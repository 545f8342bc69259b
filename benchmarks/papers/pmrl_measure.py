"""What the tables of Liu et al. 2025 are made of: recall, classes by their texts, directions."""

from collections.abc import Iterator, Mapping
from itertools import combinations, permutations

import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.retrieval import recalls
from engine.heads.head import Head
from engine.types import Modality
from training.batch import Embeddings
from training.data.pairs import Column, PairSet
from training.gradient import embed
from training.losses.pmrl import singular_values


def retrieve(head: Head, test: PairSet, owner: Tensor) -> dict[str, float]:
    """Return recall@1 of text to and from the others, and the mean over all directions of recall@1 and @10.

    Every distinct item is ranked once.

    Args:
        owner: what makes two items right for each other (P,): the pair's own number, or its class.
    """
    with torch.inference_mode():
        z = {m: head({m: column.features})[m] for m, column in test.columns.items()}
    by_direction = dict(_recalls(z, test, owner))
    figures = {f"{a} to {b} R@1": at[0] for (a, b), at in by_direction.items() if "text" in (a, b)}
    means = [sum(at) / len(by_direction) for at in zip(*by_direction.values(), strict=True)]
    return {**figures, "mean R@1": means[0], "mean R@10": means[1]}


def classify(head: Head, test: PairSet, owner: Tensor) -> dict[str, float]:
    """Return the accuracy and the mean one-against-all AUC of classes told by their texts, 0 to 1.

    A row's score for a class is the mean of its image's and audio's cosine to the mean of the class's texts.

    Args:
        owner: the class of each pair (P,).
    """
    with torch.inference_mode():
        batch = test.in_order(len(test))[0]
        own = embed(head, batch)
        text = test.columns["text"]
        classes = normalize(_stands(text, owner).T @ head({"text": text.features})["text"], dim=1)  # (C, E)
        scores = (own["image"] + own["audio"]) @ classes.T / 2  # (P, C)
    areas = [_area(scores[:, c], owner == c) for c in range(len(classes))]
    return {
        "accuracy": float((scores.argmax(1) == owner).float().mean()),
        "AUC": sum(areas) / len(areas),
    }


def directions(head: Head, test: PairSet) -> dict[str, float]:
    """Return what a row's modalities have in common, as means over the test pairs.

    The singular values; |V|, modality by direction, the leading one first (figure 10c); the cosines of a
    row's modalities, whose sign neither loss sees; and that of two rows' leading directions (figure 10b).
    """
    batch = test.in_order(len(test))[0]
    with torch.inference_mode():
        own = embed(head, batch)
        sigma = singular_values(own, batch).mean(0)
        lead, vectors = _spectrum(own)
    rows, names = len(lead), sorted(own)
    figures = {f"sigma{n + 1}": float(value) for n, value in enumerate(sigma)}
    for m, shares in zip(names, vectors.abs().mean(0), strict=True):
        figures |= {f"V {m} {n + 1}": float(share) for n, share in enumerate(shares)}
    for a, b in combinations(names, 2):
        figures[f"{a} {b}"] = float((own[a] * own[b]).sum(1).mean())
    apart = (lead @ lead.T).sum() - lead.square().sum()
    return {**figures, "rows": float(apart) / (rows * (rows - 1))}


def _recalls(
    z: Embeddings, test: PairSet, owner: Tensor
) -> Iterator[tuple[tuple[Modality, Modality], list[float]]]:
    """Yield recall@1 and @10 of every direction."""
    stands = {m: _stands(column, owner) for m, column in test.columns.items()}
    for a, b in permutations(sorted(z), 2):
        yield (a, b), recalls(z[a] @ z[b].T, stands[a] @ stands[b].T > 0, (1, 10))


def _stands(column: Column, owner: Tensor) -> Tensor:
    """Return (N, owners): which items stand in whose pairs."""
    stands = torch.zeros(len(column.features), int(owner.max()) + 1)
    stands[column.flat, owner.repeat_interleave(column.count)] = 1
    return stands


def _area(scores: Tensor, truth: Tensor) -> float:
    """Return the area under the ROC curve of scores (P,), ties counting half."""
    ranks = rankdata(scores.double().numpy())
    positive = int(truth.sum())
    won = ranks[truth.numpy()].sum() - positive * (positive + 1) / 2
    return float(won / (positive * (len(truth) - positive)))


def _spectrum(own: Mapping[Modality, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the rows' leading directions (P, E), and V (P, M, M), its columns from the leading one on."""
    x = torch.stack([own[m] for m in sorted(own)], dim=1)  # (P, M, E)
    vectors: Tensor = torch.linalg.eigh(x @ x.mT).eigenvectors.flip(2)
    lead = vectors[:, :, 0] * vectors[:, :, 0].sum(1, keepdim=True).sign()
    return normalize(torch.einsum("pm,pme->pe", lead, x), dim=1), vectors
