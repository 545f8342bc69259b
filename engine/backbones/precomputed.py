"""The backbone of modalities whose features come from a file: it keeps them apart and encodes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.backbones import Features, Prepared
from engine.decoding.jobs import Decode, here
from engine.errors import Unreadable
from engine.types import Modality


@dataclass(frozen=True)
class FeatureFile:
    """Features of one modality, computed elsewhere."""

    modality: Modality
    width: int
    spec: str = "features"
    id: str = "features"
    aligned: bool = False
    digest: str = ""

    @property
    def widths(self) -> Mapping[Modality, int]:
        """Return the width D of the modality."""
        return {self.modality: self.width}

    def prepare(self, modality: Modality, data: bytes, decode: Decode = here) -> Prepared:
        """Refuse: there is no encoder here."""
        raise Unreadable(f"{modality} features come from files here: there is no encoder for new {modality}")

    def encode(self, modality: Modality, batch: Sequence[Prepared]) -> Features:
        """Refuse: nothing can have been prepared."""
        raise AssertionError(modality)
