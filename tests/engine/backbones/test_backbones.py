import pytest

from conftest import FakeBackbone
from engine import backbones
from engine.backbones import Backbones
from engine.errors import Unreadable, UserError
from engine.storage.manifest import BackboneRecord


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the specs that are loaded from now on; every one is a fake."""
    specs: list[str] = []

    def load(spec: str, device: str) -> FakeBackbone:
        specs.append(f"{spec} on {device}")
        return FakeBackbone(spec=spec, digest="sha256:89abcdef01234567")

    monkeypatch.setattr(backbones, "load", load)
    return specs


def recorded(*modalities: str, id: str = "fake-1") -> Backbones:
    return Backbones({modality: BackboneRecord("fake", id, 8) for modality in modalities}, "cuda")


def test_a_backbone_is_loaded_when_it_is_first_needed_and_once(loaded: list[str]) -> None:
    known = recorded("image", "text")
    assert loaded == []
    assert known.of("image") is known.of("text")
    assert loaded == ["fake on cuda"]


def test_what_is_loaded_stays_so_when_records_are_added(loaded: list[str]) -> None:
    known = recorded("image")
    known.of("image")
    other = FakeBackbone(spec="other")
    extended = known.extended(
        {**known.records, "audio": BackboneRecord("other", "fake-1", 8)}, {"other": other}
    )
    assert extended.of("image") is known.of("image")
    assert (extended.of("audio"), loaded) == (other, ["fake on cuda"])


@pytest.mark.usefixtures("loaded")
def test_a_backbone_that_changed_since_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        recorded("image", id="fake-0").of("image")
    assert str(caught.value) == (
        "fake is no longer the image backbone of this workspace: it is fake-1 now, the features are by fake-0"
    )


@pytest.mark.usefixtures("loaded")
def test_weights_that_changed_since_under_their_name_are_refused() -> None:
    record = BackboneRecord("fake", "fake-1", 8, "sha256:0123456789abcdef")
    with pytest.raises(UserError) as caught:
        Backbones({"image": record}).of("image")
    assert str(caught.value) == (
        "the weights of fake have changed: they are sha256:89abcdef now, the image features are by sha256:01234567, "
        "and those of two encoders do not mix: put the weights back, or index elsewhere with `workspace=DIR`"
    )


def test_a_modality_that_no_backbone_reads_is_a_reason_that_names_the_setting() -> None:
    with pytest.raises(Unreadable) as caught:
        recorded().of("audio")
    assert str(caught.value) == "no backbone reads audio: name one with `backbone=audio=SPEC`"
    assert [str(setting) for setting in caught.value.settings] == ["`backbone=audio=SPEC`"]


def test_features_from_files_are_kept_apart_by_their_modality() -> None:
    known = Backbones({"depth": BackboneRecord("features", "features", 7)})
    assert known.of("depth").widths == {"depth": 7}


@pytest.mark.parametrize("spec", ["clip", "builtin:x", "open_clip", "open_clip:", ""])
def test_a_spec_that_names_no_backbone_is_refused_with_those_there_are(spec: str) -> None:
    with pytest.raises(UserError) as caught:
        backbones.load(spec)
    assert str(caught.value) == (
        f"no backbone {spec!r}; there are: builtin, open_clip:ARCH/TAG, open_clip:ARCH/FILE.safetensors"
    )
