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
from training.data.history import items, learned

Drift: TypeAlias = Mapping[str, Mapping[Modality, float]]
"""Of every old task and modality the mean of 1 - cosine between an item's old and new embedding, 0 to 2."""

MOST = 64
"""Items of a task and modality that are looked at."""


@dataclass(frozen=True)
class Gauge:
    """Items of old tasks: features (N, D) and the embeddings (N, E) by the head of their task's last lesson."""

    samples: Mapping[str, Mapping[Modality, tuple[Tensor, Tensor]]]

    def __call__(self, head: Head) -> Drift:
        """Measure a head, in evaluation mode."""
        device = next(head.parameters()).device
        with torch.inference_mode():
            return {
                task: {
                    m: float((1 - (head({m: x.to(device)})[m].cpu() * old).sum(1)).mean())
                    for m, (x, old) in held.items()
                    if m in head.layers
                }
                for task, held in self.samples.items()
            }


def gauge(workspace: Workspace, store: Store, every: Sequence[Pair], task: str) -> Gauge:
    """Return what measures drift from every task learned so far but this one.

    Args:
        every: the stored pairs.
    """
    embedder = Embedder(workspace)
    samples: dict[str, dict[Modality, tuple[Tensor, Tensor]]] = {}
    for lesson, pairs in learned(workspace, every, task):
        for modality in sorted({m for pair in pairs for m in pair.items}):
            ids = items(pairs, modality)[:MOST]  # ids are digests, so the first are a fair draw
            x = store.features(ids, workspace.manifest.backbones[modality].id)
            old = embedder.embed(lesson.head, modality, x)
            samples.setdefault(lesson.task, {})[modality] = torch.from_numpy(x), torch.from_numpy(old)
    return Gauge(samples)
