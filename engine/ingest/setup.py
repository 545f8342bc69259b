"""Make a workspace or open one, and hand out the backbones it records."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine import backbones
from engine.backbones import Backbone
from engine.backbones.precomputed import FeatureFile
from engine.errors import InvalidSetting, Setting, Unreadable, UserError
from engine.sources import open_source
from engine.sources.base import Collection
from engine.storage.manifest import Encoder, Manifest
from engine.storage.workspace import Workspace, open_at
from engine.types import Modality

Chosen = Mapping[Modality, Backbone]


@dataclass
class Encoders:
    """The backbones that a workspace records, each loaded when it is first needed."""

    records: Mapping[Modality, Encoder]
    device: str = "cpu"
    _loaded: dict[str, Backbone] = field(default_factory=dict)
    _loading: threading.Lock = field(default_factory=threading.Lock)

    def backbone(self, modality: Modality) -> Backbone:
        """Return the backbone of a modality."""
        if modality not in self.records:
            spec = Setting("backbone", f"{modality}=SPEC")
            raise Unreadable(f"no backbone reads {modality}: name one with {spec}", settings=[spec])
        record = self.records[modality]
        if record.spec == "features":
            return FeatureFile(modality, record.width)
        with self._loading:
            if record.spec not in self._loaded:
                self._loaded[record.spec] = backbones.load(record.spec, self.device)
            found = self._loaded[record.spec]
        if found.id != record.id:
            raise UserError(
                f"{record.spec} is no longer the {modality} backbone of this workspace: it is {found.id} now, "
                f"the features are by {record.id}"
            )
        return found


@dataclass(frozen=True)
class WorkspaceOptions:
    """What a person asks of a workspace: backbones (`SPEC` or `MODALITY=SPEC`) and the shared width E.

    Attributes:
        on_default: called with the spec of the backbone that was chosen where none was asked for.
    """

    specs: Sequence[str] = ()
    width: int | None = None
    on_default: Callable[[str], None] = lambda spec: None


def enter(
    root: Path, sources: Sequence[Path], wish: WorkspaceOptions, device: str
) -> tuple[Workspace, Encoders]:
    """Open the workspace, or make it; either way it has a backbone for what the sources bring."""
    collections = [open_source(source) for source in sources]
    exists = (root / "workspace.json").is_file()
    known = dict(open_at(root).manifest.backbones) if exists else {}
    chosen = _chosen(wish, collections, Encoders(known, device))
    records = known | {m: Encoder(b.spec, b.id, b.widths[m]) for m, b in chosen.items()}
    workspace = _extended(root, wish, records) if exists else _made(root, wish, chosen, records)
    loaded = {b.spec: b for b in chosen.values() if b.spec != "features"}
    return workspace, Encoders(records, device, loaded)


def _extended(root: Path, wish: WorkspaceOptions, records: Mapping[Modality, Encoder]) -> Workspace:
    workspace = open_at(root)
    manifest = workspace.manifest
    if wish.width not in (None, manifest.width):
        raise UserError(f"this workspace has width {manifest.width}, not {wish.width}: it is fixed when made")
    if records == manifest.backbones:
        return workspace
    widths = {record.width if record.id == "features" else 0 for record in records.values()}
    one_space = len({record.id for record in records.values()}) == 1 and len(widths) == 1
    return workspace.with_manifest(
        replace(manifest, backbones=records, aligned=manifest.aligned and one_space)
    )


def _made(
    root: Path, wish: WorkspaceOptions, chosen: Chosen, records: Mapping[Modality, Encoder]
) -> Workspace:
    if wish.width is not None and wish.width < 1:
        raise InvalidSetting("width", f"must be at least 1, not {wish.width}")
    if not records:
        spec = Setting("backbone", "SPEC")
        raise UserError(f"the sources bring no features of their own: name a backbone with {spec}", [spec])
    width = wish.width or min(record.width for record in records.values())
    manifest = Manifest(width, _aligned(chosen), records)
    return Workspace(root, manifest).with_manifest(manifest)


def _chosen(
    wish: WorkspaceOptions, collections: Sequence[Collection], encoders: Encoders
) -> dict[Modality, Backbone]:
    """Return the backbones of the modalities that the workspace does not know yet."""
    known = encoders.records
    brought = {m: width for collection in collections for m, width in collection.widths.items()}
    chosen: dict[Modality, Backbone] = {
        m: FeatureFile(m, width) for m, width in brought.items() if m not in known
    }
    for spec in wish.specs or ([] if known else _default(wish, collections)):
        modality, _, name = spec.rpartition("=") if "=" in spec.split(":")[0] else ("", "", spec)
        if name == "features":
            continue
        found = _same(encoders, name) or backbones.load(name, encoders.device)
        for one in [modality] if modality else sorted(found.widths):
            if one not in found.widths:
                raise UserError(f"{name} does not read {one}; it reads: {', '.join(sorted(found.widths))}")
            if one in known and known[one].id != found.id:
                other = Setting("workspace", "DIR")
                raise UserError(
                    f"this workspace's {one} backbone is {known[one].spec}, not {name}: features of two backbones "
                    f"do not mix; make another workspace with {other}",
                    [other],
                )
            if one not in known:
                chosen.setdefault(one, found)
    return chosen


def _default(wish: WorkspaceOptions, collections: Sequence[Collection]) -> list[str]:
    """Return the specs of a new workspace that was asked for none; features need none, their texts one."""
    if collections and all(collection.encoded is not None for collection in collections):
        needed = {modality for collection in collections for modality in collection.encoded or ()}
        return [f"{modality}=builtin" for modality in sorted(needed)]
    spec = backbones.default()
    wish.on_default(spec)
    return [spec]


def _same(encoders: Encoders, spec: str) -> Backbone | None:
    """Return the backbone that the workspace records under this very spec."""
    held = [modality for modality, record in encoders.records.items() if record.spec == spec]
    return encoders.backbone(held[0]) if held else None


def _aligned(chosen: Chosen) -> bool:
    """Say whether all modalities share one pretrained space, as far as can be known.

    Features from files do where they have one width: that is how joint encoders hand them out.
    """
    ids = {backbone.id for backbone in chosen.values()}
    if ids == {"features"}:
        return len({backbone.widths[m] for m, backbone in chosen.items()}) == 1
    return len(ids) == 1 and all(backbone.aligned for backbone in chosen.values())
