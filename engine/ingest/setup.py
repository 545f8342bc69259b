"""Make a workspace or open one, with a backbone for whatever its sources bring."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine import backbones
from engine.backbones import Backbone, Backbones, Default
from engine.backbones.precomputed import FeatureFile
from engine.errors import InvalidSetting, Setting, UserError
from engine.sources import open_source
from engine.sources.base import Collection
from engine.sources.tables.values import AS_USUAL, SourceOptions
from engine.storage.manifest import BackboneRecord, Manifest
from engine.storage.workspace import Workspace, is_at, open_at
from engine.types import Modality

Chosen = Mapping[Modality, Backbone]


@dataclass(frozen=True)
class WorkspaceOptions:
    """What a person asks of a workspace.

    Attributes:
        specs: backbones, each as `SPEC` or `MODALITY=SPEC`; none: what suits the sources.
        width: the shared width E; None: that of the narrowest backbone.
        on_default: called with the backbone that was chosen where none was asked for.
        sources: how the sources are read.
    """

    specs: Sequence[str] = ()
    width: int | None = None
    on_default: Callable[[Default], None] = lambda chosen: None
    sources: SourceOptions = AS_USUAL


def open_or_make(
    root: Path, sources: Sequence[Path], options: WorkspaceOptions, device: str
) -> tuple[Workspace, Backbones]:
    """Open the workspace, or make it; either way it has a backbone for what the sources bring."""
    collections = [open_source(source, options.sources) for source in sources]
    exists = is_at(root)
    known = dict(open_at(root).manifest.backbones) if exists else {}
    already = Backbones(known, device)
    chosen = _choose(options, collections, already)
    records = known | {m: BackboneRecord(b.spec, b.id, b.widths[m], b.digest) for m, b in chosen.items()}
    workspace = _extend(root, options, records) if exists else _make(root, options, chosen, records)
    loaded = {b.spec: b for b in chosen.values() if b.spec != "features"}
    return workspace, already.extended(records, loaded)


def _extend(root: Path, options: WorkspaceOptions, records: Mapping[Modality, BackboneRecord]) -> Workspace:
    """Open a workspace and record the backbones that are new to it."""
    workspace = open_at(root)
    manifest = workspace.manifest
    if options.width not in (None, manifest.width):
        raise UserError(
            f"this workspace has width {manifest.width}, not {options.width}: it is fixed when made"
        )
    if records == manifest.backbones:
        return workspace
    widths = {record.width if record.id == "features" else 0 for record in records.values()}
    one_space = len({record.id for record in records.values()}) == 1 and len(widths) == 1
    return workspace.with_manifest(
        replace(manifest, backbones=records, aligned=manifest.aligned and one_space)
    )


def _make(
    root: Path, options: WorkspaceOptions, chosen: Chosen, records: Mapping[Modality, BackboneRecord]
) -> Workspace:
    if options.width is not None and options.width < 1:
        raise InvalidSetting("width", f"must be at least 1, not {options.width}")
    if not records:
        spec = Setting("backbone", "SPEC")
        raise UserError(f"the sources bring no features of their own: name a backbone with {spec}", [spec])
    width = options.width or min(record.width for record in records.values())
    manifest = Manifest(width, _are_aligned(chosen), records)
    return Workspace(root, manifest).with_manifest(manifest)


def _choose(
    options: WorkspaceOptions, collections: Sequence[Collection], known: Backbones
) -> dict[Modality, Backbone]:
    """Return the backbones of the modalities that the workspace does not know yet."""
    widths = {m: width for collection in collections for m, width in collection.widths.items()}
    chosen: dict[Modality, Backbone] = {
        m: FeatureFile(m, width) for m, width in widths.items() if m not in known.records
    }
    for spec in options.specs or ([] if known.records else _default(options, collections)):
        for modality, backbone in _named(spec, known):
            record = known.records.get(modality)
            if record is None:
                chosen.setdefault(modality, backbone)
            elif record.id != backbone.id:
                other = Setting("workspace", "DIR")
                raise UserError(
                    f"this workspace's {modality} backbone is {record.spec}, not {backbone.spec}: "
                    f"features of two backbones do not mix; make another workspace with {other}",
                    [other],
                )
    return chosen


def _named(spec: str, known: Backbones) -> Iterator[tuple[Modality, Backbone]]:
    """Yield the backbone that `SPEC` or `MODALITY=SPEC` names, with each modality that it is to read."""
    modality, _, name = spec.rpartition("=") if "=" in spec.split(":")[0] else ("", "", spec)
    if name == "features":  # they come with a source
        return
    backbone = _recorded(name, known) or backbones.load(name, known.device)
    if modality and modality not in backbone.widths:
        raise UserError(f"{name} does not read {modality}; it reads: {', '.join(sorted(backbone.widths))}")
    for read in [modality] if modality else sorted(backbone.widths):
        yield read, backbone


def _default(options: WorkspaceOptions, collections: Sequence[Collection]) -> list[str]:
    """Return the specs of a new workspace that was asked for none; features need none, their texts one."""
    if collections and all(collection.encoded is not None for collection in collections):
        needed = {modality for collection in collections for modality in collection.encoded or ()}
        return [f"{modality}=builtin" for modality in sorted(needed)]
    chosen = backbones.default()
    options.on_default(chosen)
    return [chosen.spec]


def _recorded(spec: str, known: Backbones) -> Backbone | None:
    """Return the backbone that the workspace records under this very spec; None: under none."""
    modalities = [modality for modality, record in known.records.items() if record.spec == spec]
    return known.of(modalities[0]) if modalities else None


def _are_aligned(chosen: Chosen) -> bool:
    """Say whether all modalities share one pretrained space, as far as can be known.

    Features from files do where they have one width: that is how joint encoders hand them out.
    """
    ids = {backbone.id for backbone in chosen.values()}
    if ids == {"features"}:
        return len({backbone.widths[m] for m, backbone in chosen.items()}) == 1
    return len(ids) == 1 and all(backbone.aligned for backbone in chosen.values())
