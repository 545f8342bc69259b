"""Recall of embeddings that benchmarks train themselves, beside any workspace."""

from collections.abc import Sequence

from torch import Tensor

from engine.evaluation import metrics


def recalls(scores: Tensor, right: Tensor, ks: Sequence[int]) -> list[float]:
    """Return recall at each k, 0 to 1, where every query ranks the whole gallery; ties go by the items' order.

    Args:
        scores: of the items of the gallery for each query (Q, N), larger is better.
        right: which items are right for each query (Q, N), bool.
    """
    ranked = scores.argsort(dim=1, descending=True, stable=True)
    hits = right.gather(1, ranked).numpy()
    return [metrics.recall(hits, k) for k in ks]
