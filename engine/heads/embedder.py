"""From features to embeddings, by any head version of a workspace."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import Setting, UserError
from engine.heads import files as heads
from engine.heads.head import Head
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import DeviceName, ItemId, Modality

Embeddings = NDArray[np.float32]
BLOCK = 8192
"""Rows whose features are in memory at a time."""


@dataclass
class Embedder:
    """The head versions of a workspace, each read once.

    A version that lacks a modality uses head 0's branch for it.
    """

    workspace: Workspace
    device: str = "cpu"
    _heads: dict[int, Head] = field(default_factory=dict)

    def head(self, version: int, modality: Modality) -> Head:
        """Return the head whose branch embeds a modality in this version; version 0 is the untrained head."""
        if version not in self._heads:
            self._heads[version] = self._read(version).to(self.device)
        head_of_version = self._heads[version]
        return head_of_version if modality in head_of_version.layers else self.head(0, modality)

    def embed(self, version: int, modality: Modality, features: NDArray[np.float32]) -> Embeddings:
        """Map features (N, D) to unit rows (N, E)."""
        with torch.inference_mode():
            x = torch.from_numpy(np.require(features, requirements=["C", "W"])).to(self.device)
            rows: Embeddings = self.head(version, modality)({modality: x})[modality].cpu().numpy()
        return rows

    def blocks(
        self, store: Store, version: int, modality: Modality, ids: list[ItemId]
    ) -> Iterator[Embeddings]:
        """Yield the embeddings of stored items, BLOCK rows (n, E) at a time, in the order of the ids."""
        backbone = self.workspace.manifest.backbones[modality].id
        for start in range(0, len(ids), BLOCK):
            yield self.embed(version, modality, store.features(ids[start : start + BLOCK], backbone))

    def _read(self, version: int) -> Head:
        if version > 0:
            return heads.read(self.workspace.head(version), self.workspace.digest(version))[0]
        manifest = self.workspace.manifest
        return untrained(manifest.width, {m: encoder.width for m, encoder in manifest.backbones.items()})


def untrained(width: int, widths: Mapping[Modality, int]) -> Head:
    """Return head 0: the identity where D = E, else a fixed orthonormal matrix per modality."""
    zero = Head("linear", width)
    for modality, features in widths.items():
        zero.add_branch(modality, features)
    return zero.eval()


def resolve(name: DeviceName) -> Literal["cpu", "cuda"]:
    """Return the device that a person's choice comes to on this machine."""
    if name == "cuda" and not torch.cuda.is_available():
        cpu = Setting("device", "cpu")
        raise UserError(
            f"no CUDA device that torch can use: choose {cpu}, or install a CUDA build of torch", [cpu]
        )
    return "cpu" if name == "cpu" or not torch.cuda.is_available() else "cuda"
