"""Frozen encoders behind one protocol: bytes in, features out."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.decoding.jobs import Decode, here
from engine.errors import Note, Setting, Unreadable, UserError
from engine.storage.manifest import BackboneRecord
from engine.types import Modality

Prepared: TypeAlias = NDArray[Any] | str
Features: TypeAlias = NDArray[np.float32]


class Backbone(Protocol):
    """What turns media into features; it is never trained.

    Attributes:
        spec: what a person writes to get it (`builtin`, `open_clip:ViT-B-32/laion2b_s34b_b79k`).
        id: what its features are stored under; another id means other features.
        aligned: whether its modalities share one pretrained space.
        widths: feature width D of each modality it reads.
        digest: that of its weights, as `sha256:HEX` or `blake2b:HEX`; "" where it has none.
    """

    @property
    def spec(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def aligned(self) -> bool: ...
    @property
    def widths(self) -> Mapping[Modality, int]: ...
    @property
    def digest(self) -> str: ...

    def prepare(self, modality: Modality, data: bytes, decode: Decode = here) -> Prepared:
        """Prepare one item (a text: its UTF-8 bytes); runs in threads, raises Unreadable.

        Args:
            decode: decodes media, where a decoder that crashes does no harm.
        """
        ...

    def encode(self, modality: Modality, batch: Sequence[Prepared]) -> Features:
        """Return the features (N, D) of prepared items; finite, not normalised."""
        ...


@dataclass
class Backbones:
    """The backbones that a workspace records, each loaded when it is first needed."""

    records: Mapping[Modality, BackboneRecord]
    device: str = "cpu"
    _loaded: dict[str, Backbone] = field(default_factory=dict)
    _loading: threading.Lock = field(default_factory=threading.Lock)

    def of(self, modality: Modality) -> Backbone:
        """Return the backbone of a modality; Unreadable where none reads it."""
        if modality not in self.records:
            spec = Setting("backbone", f"{modality}=SPEC")
            raise Unreadable(f"no backbone reads {modality}: name one with {spec}", settings=[spec])
        record = self.records[modality]
        if record.spec == "features":
            from engine.backbones.precomputed import FeatureFile

            return FeatureFile(modality, record.width)
        with self._loading:
            if record.spec not in self._loaded:
                self._loaded[record.spec] = load(record.spec, self.device)
            backbone = self._loaded[record.spec]
        if backbone.id != record.id:
            raise UserError(
                f"{record.spec} is no longer the {modality} backbone of this workspace: it is {backbone.id} now, "
                f"the features are by {record.id}"
            )
        if record.digest and backbone.digest != record.digest:
            elsewhere = Setting("workspace", "DIR")
            raise UserError(
                f"the weights of {record.spec} have changed: they are {backbone.digest[:15]} now, the {modality} "
                f"features are by {record.digest[:15]}, and those of two encoders do not mix: "
                f"put the weights back, or index elsewhere with {elsewhere}",
                [elsewhere],
            )
        return backbone

    def extended(
        self, records: Mapping[Modality, BackboneRecord], loaded: Mapping[str, Backbone]
    ) -> "Backbones":
        """Return the backbones of these records, of which some are loaded already, by spec."""
        return Backbones(records, self.device, {**self._loaded, **loaded})


def load(spec: str, device: str = "cpu") -> Backbone:
    """Load the backbone that a spec names: `builtin`, `open_clip:ARCH/TAG`, `open_clip:ARCH/FILE.safetensors`."""
    name, _, rest = spec.partition(":")
    if name == "builtin" and not rest:
        from engine.backbones import builtin

        return builtin.load()
    if name == "open_clip" and rest:
        from engine.backbones import open_clip

        return open_clip.load(spec, device)
    raise UserError(
        f"no backbone {spec!r}; there are: builtin, open_clip:ARCH/TAG, open_clip:ARCH/FILE.safetensors"
    )


def check(specs: Sequence[str]) -> None:
    """Refuse backbones that cannot be had, as far as that shows before anything heavy is imported."""
    for spec in specs:
        name = spec.rpartition("=")[2] if "=" in spec.split(":")[0] else spec
        if name.startswith("open_clip:"):
            from engine.backbones import open_clip

            open_clip.check(name)


@dataclass(frozen=True)
class Default:
    """The backbone of a workspace that was given none, and what a person should know of the choice."""

    spec: str
    notes: Sequence[Note] = ()


def default() -> Default:
    """Return what a workspace takes that was given none: open_clip where its weights can be had."""
    from engine.backbones import open_clip

    obstacle = open_clip.obstacle()
    if obstacle is None:
        return Default(f"open_clip:{'/'.join(open_clip.DEFAULT)}")
    lesson = Setting("task", "NAME", command="train SOURCE")
    meaning = f"builtin encodes instead, which knows no words until a lesson teaches it some: {lesson}"
    return Default("builtin", [Note(f"CLIP is not to be had: {obstacle}; {meaning}", [lesson])])
