"""A backbone that reads any bytes at once, and a store and loader made with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from engine.backbones import Features, Prepared
from engine.errors import Unreadable
from engine.loading import Loader
from engine.store import Store
from engine.types import Modality

WIDTH = 8


@dataclass
class FakeBackbone:
    """Features are drawn from the bytes' digest; bytes that begin with `broken` are refused.

    Attributes:
        read: what was prepared, in the order in which it was asked for.
    """

    spec: str = "fake"
    id: str = "fake-1"
    aligned: bool = True
    read: list[bytes] = field(default_factory=list)

    @property
    def widths(self) -> Mapping[Modality, int]:
        return dict.fromkeys(("image", "text", "audio"), WIDTH)

    def prepare(self, modality: Modality, data: bytes) -> Prepared:
        self.read.append(data)
        if data.startswith(b"broken"):
            raise Unreadable("broken on purpose")
        seed = int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
        return np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)

    def encode(self, modality: Modality, batch: Sequence[Prepared]) -> Features:
        return np.stack([np.asarray(row, np.float32) for row in batch])


@pytest.fixture
def backbone() -> FakeBackbone:
    return FakeBackbone()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", readonly=False) as opened:
        yield opened


@pytest.fixture
def loader(store: Store, backbone: FakeBackbone) -> Loader:
    return Loader(store, lambda modality: backbone)
