"""How far a head has moved from what old tasks were embedded by: the log's figures of forgetting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from engine.heads.embedder import Embedder
from engine.heads.head import Head
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import Modality, Pair
from training.data.history import earlier_lessons, items_of

Drift: TypeAlias = Mapping[str, Mapping[Modality, float]]
"""Of every old task and modality the mean of 1 - cosine between an item's old and new embedding, 0 to 2."""

SAMPLE_SIZE = 64
"""Items of a task and modality that are looked at, at most."""


@dataclass(frozen=True)
class DriftSample:
    """Items of old tasks, by task and modality, to measure heads by.

    Attributes:
        items: features (N, D), and the embeddings (N, E) by the head of their task's last lesson.
    """

    items: Mapping[str, Mapping[Modality, tuple[Tensor, Tensor]]]

    def drift(self, head: Head) -> Drift:
        """Measure a head, in evaluation mode."""
        device = next(head.parameters()).device
        with torch.inference_mode():
            return {
                task: {
                    m: float((1 - (head({m: x.to(device)})[m].cpu() * before).sum(1)).mean())
                    for m, (x, before) in by_modality.items()
                    if m in head.layers
                }
                for task, by_modality in self.items.items()
            }


def drift_sample(workspace: Workspace, store: Store, pairs: Sequence[Pair], task: str) -> DriftSample:
    """Return items of every task learned so far but this one.

    Args:
        pairs: all that are stored.
    """
    embedder = Embedder(workspace)
    items: dict[str, dict[Modality, tuple[Tensor, Tensor]]] = {}
    for lesson, trained in earlier_lessons(workspace, pairs, task):
        for modality in sorted({m for pair in trained for m in pair.items}):
            ids = items_of(trained, modality)[:SAMPLE_SIZE]  # ids are digests, so the first are a fair draw
            x = store.features(ids, workspace.manifest.backbones[modality].id)
            before = embedder.embed(lesson.head, modality, x)
            items.setdefault(lesson.task, {})[modality] = torch.from_numpy(x), torch.from_numpy(before)
    return DriftSample(items)
