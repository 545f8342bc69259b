"""A manifest that holds one of everything."""

from engine.history import Arrival, History, Lesson, Reference
from engine.storage.manifest import (
    BackboneRecord,
    Lookup,
    Manifest,
    Sealed,
    Served,
    ServedDirection,
    ServedShard,
    Temperature,
)
from engine.types import ShardKey

MANIFEST = Manifest(
    width=16,
    aligned=True,
    backbones={
        "image": BackboneRecord("fake", "fake-1", 8, "sha256:01"),
        "text": BackboneRecord("features", "features", 16),
    },
    history=History((Lesson(1, "sky", 1),), (Arrival("life", 1, 1),)),
    served=Served(
        "matched",
        1,
        (ServedShard(ShardKey("sky", "image", 1, 2, "0a"), "sky/image/v0001-0a"),),
        (ServedDirection("text", "image", "auto", (Lookup(0, 1, 0.06),)),),
        {"text-image": "auto"},
        {"text": "text-0a1b2c3d"},
        chosen=True,
    ),
    previous=Served("reindex"),
    sealed={
        "sky": Sealed(
            (ServedShard(ShardKey("sky", "image", 1, 1), "sky/image/v0001-0b"),),
            {"image": "sealed-0a1b2c3d"},
            (Temperature("text", "image", 1, 2, 3, 0.06),),
        )
    },
    references=(Reference("joint", "sky", 1, 2, False, 0.5),),
)
