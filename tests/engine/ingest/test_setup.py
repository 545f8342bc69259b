from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import FakeBackbone
from engine import backbones
from engine.backbones import Backbones, Default
from engine.errors import UserError
from engine.ingest.setup import WorkspaceOptions, open_or_make
from engine.storage.manifest import BackboneRecord
from engine.storage.workspace import Workspace
from engine.storage.writer import writing
from engine.types import Modality


@dataclass(frozen=True)
class Reads:
    """A backbone of these widths; the rest of it is never asked for."""

    spec: str
    id: str
    widths: Mapping[Modality, int]
    aligned: bool = True
    digest: str = ""
    prepare = FakeBackbone.prepare
    encode = FakeBackbone.encode


@dataclass
class Shop:
    """The backbones that can be had, and which were loaded."""

    stock: dict[str, Reads] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)

    def load(self, spec: str, device: str) -> Reads:
        self.loaded.append(spec)
        return self.stock[spec]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    both = {"image": 6, "text": 4}
    shop = Shop(
        {
            "clip": Reads("clip", "clip-1", {"image": 6, "text": 6}),
            "builtin": Reads("builtin", "builtin-1", both, aligned=False),
            "sounds": Reads("sounds", "sounds-1", {"audio": 5}),
        }
    )
    monkeypatch.setattr(backbones, "load", shop.load)
    monkeypatch.setattr(backbones, "default", lambda: Default("clip"))
    return shop


def opened(
    root: Path, *specs: str, sources: tuple[Path, ...] = (), width: int | None = None
) -> tuple[Workspace, Backbones]:
    with writing(root / ".mneme"):
        return open_or_make(root / ".mneme", sources, WorkspaceOptions(specs, width), "cpu")


def refusal(root: Path, *specs: str, width: int | None = None) -> str:
    with pytest.raises(UserError) as caught:
        opened(root, *specs, width=width)
    return str(caught.value)


def features(path: Path, *, text: bool = False, **widths: int) -> Path:
    columns: dict[str, Any] = {
        modality: np.ones((2, width), np.float32) for modality, width in widths.items()
    }
    columns |= {"text": np.array(["a", "b"])} if text else {}
    np.savez(path, **columns)
    return path


@pytest.mark.usefixtures("shop")
def test_a_new_workspace_records_what_each_backbone_reads(tmp_path: Path) -> None:
    workspace, _ = opened(tmp_path, "builtin", "sounds")
    assert workspace.manifest.backbones == {
        "image": BackboneRecord("builtin", "builtin-1", 6),
        "text": BackboneRecord("builtin", "builtin-1", 4),
        "audio": BackboneRecord("sounds", "sounds-1", 5),
    }


@pytest.mark.usefixtures("shop")
def test_a_backbone_may_be_named_for_one_of_its_modalities(tmp_path: Path) -> None:
    workspace, _ = opened(tmp_path, "image=clip", "builtin")
    assert {m: record.spec for m, record in workspace.manifest.backbones.items()} == {
        "image": "clip",
        "text": "builtin",
    }


@pytest.mark.usefixtures("shop")
def test_a_modality_that_a_backbone_does_not_read_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "audio=clip") == "clip does not read audio; it reads: image, text"


@pytest.mark.usefixtures("shop")
def test_the_narrowest_backbone_gives_the_shared_width(tmp_path: Path) -> None:
    assert opened(tmp_path, "builtin")[0].manifest.width == 4


@pytest.mark.usefixtures("shop")
def test_a_shared_width_that_is_asked_for_is_taken_and_stays(tmp_path: Path) -> None:
    assert opened(tmp_path, "builtin", width=3)[0].manifest.width == 3
    assert opened(tmp_path, width=3)[0].manifest.width == 3
    assert refusal(tmp_path, width=4) == "this workspace has width 3, not 4: it is fixed when made"


@pytest.mark.usefixtures("shop")
def test_a_shared_width_is_at_least_1(tmp_path: Path) -> None:
    assert opened(tmp_path, "builtin", width=1)[0].manifest.width == 1
    assert refusal(tmp_path / "other", "builtin", width=0) == "`width` must be at least 1, not 0"


@pytest.mark.usefixtures("shop")
def test_the_backbone_that_nobody_asked_for_is_told_of(tmp_path: Path) -> None:
    chosen: list[Default] = []
    workspace, _ = open_or_make(tmp_path, [], WorkspaceOptions(on_default=chosen.append), "cpu")
    assert (chosen, workspace.manifest.backbones["image"].spec) == ([Default("clip")], "clip")


@pytest.mark.usefixtures("shop")
def test_features_of_a_source_need_no_backbone_and_its_texts_the_builtin_one(tmp_path: Path) -> None:
    source = features(tmp_path / "sky.npz", text=True, image=7)
    workspace, _ = opened(tmp_path, sources=(source,))
    assert workspace.manifest.backbones == {
        "image": BackboneRecord("features", "features", 7),
        "text": BackboneRecord("builtin", "builtin-1", 4),
    }


def test_a_backbone_that_is_called_features_is_none(tmp_path: Path, shop: Shop) -> None:
    source = features(tmp_path / "sky.npz", image=7)
    workspace, _ = opened(tmp_path, "image=features", sources=(source,))
    assert (list(workspace.manifest.backbones), shop.loaded) == (["image"], [])


@pytest.mark.usefixtures("shop")
def test_a_workspace_without_any_backbone_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "image=features").startswith("the sources bring no features of their own: ")


def test_a_workspace_that_has_backbones_is_opened_without_loading_any(tmp_path: Path, shop: Shop) -> None:
    workspace, _ = opened(tmp_path, "clip")
    shop.loaded.clear()
    assert (opened(tmp_path)[0], shop.loaded) == (workspace, [])


def test_a_backbone_that_is_named_again_is_loaded_once(tmp_path: Path, shop: Shop) -> None:
    opened(tmp_path, "clip")
    shop.loaded.clear()
    _, known = opened(tmp_path, "clip", "text=clip")
    assert (known.of("image"), known.of("text"), shop.loaded) == (shop.stock["clip"],) * 2 + (["clip"],)


@pytest.mark.usefixtures("shop")
def test_features_of_two_backbones_do_not_mix(tmp_path: Path) -> None:
    opened(tmp_path, "clip")
    assert refusal(tmp_path, "image=builtin") == (
        "this workspace's image backbone is clip, not builtin: features of two backbones do not mix; "
        "make another workspace with `workspace=DIR`"
    )


@pytest.mark.usefixtures("shop")
def test_a_modality_may_come_later(tmp_path: Path) -> None:
    opened(tmp_path, "image=clip")
    workspace, _ = opened(tmp_path, "audio=sounds")
    assert workspace.manifest.backbones.keys() == {"image", "audio"}
    assert opened(tmp_path)[0] == workspace


# one pretrained space


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("specs", "aligned"), [(["clip"], True), (["builtin"], False), (["clip", "sounds"], False)]
)
def test_modalities_share_a_space_where_one_backbone_aligned_them(
    tmp_path: Path, specs: list[str], aligned: bool
) -> None:
    assert opened(tmp_path, *specs)[0].manifest.aligned == aligned


@pytest.mark.parametrize(("depth", "aligned"), [(7, True), (8, False)])
def test_features_from_files_share_a_space_where_they_have_one_width(
    tmp_path: Path, depth: int, aligned: bool
) -> None:
    source = features(tmp_path / "sky.npz", image=7, depth=depth)
    assert opened(tmp_path, sources=(source,))[0].manifest.aligned == aligned


@pytest.mark.parametrize(("depth", "aligned"), [(7, True), (8, False)])
def test_features_that_come_later_share_the_space_where_they_have_its_width(
    tmp_path: Path, depth: int, aligned: bool
) -> None:
    opened(tmp_path, sources=(features(tmp_path / "sky.npz", image=7),))
    later = features(tmp_path / "later.npz", depth=depth)
    assert opened(tmp_path, sources=(later,))[0].manifest.aligned == aligned


@pytest.mark.usefixtures("shop")
def test_another_backbone_that_comes_later_ends_a_shared_space(tmp_path: Path) -> None:
    opened(tmp_path, "clip")
    assert not opened(tmp_path, "sounds")[0].manifest.aligned


@pytest.mark.usefixtures("shop")
def test_modalities_of_the_same_backbone_that_come_later_share_its_space(tmp_path: Path) -> None:
    opened(tmp_path, "image=clip")
    assert opened(tmp_path, "text=clip")[0].manifest.aligned
