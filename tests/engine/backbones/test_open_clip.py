import http.server
import io
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from safetensors.torch import load_file, save_file

import clips
from clips import CLIP
from engine import backbones, media
from engine.backbones import Backbone, hub, open_clip
from engine.decoding.pool import decoders
from engine.errors import Unreadable, UserError
from engine.ingest.setup import WorkspaceOptions, open_or_make


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.weights(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(weights: Path) -> Backbone:
    return open_clip.load(f"open_clip:{CLIP}/{weights}", "cpu")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a Hub at a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return _hub_at(port, tmp_path, monkeypatch)


def _hub_at(port: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return folder / "cache"


@pytest.fixture
def refusing_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Hub that answers every request with 404."""

    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        _hub_at(server.server_port, tmp_path, monkeypatch)
        monkeypatch.setattr(hub, "SECONDS", 60.0)  # until it has answered, however busy the machine is
        yield
        server.shutdown()


def _png(seed: int, size: tuple[int, int] = (50, 40)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _refusal(spec: str) -> str:
    with pytest.raises(UserError) as caught:
        open_clip.load(spec, "cpu")
    return str(caught.value)


def _cache_file(cache: Path, repository: str, name: str, content: bytes) -> Path:
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123")
    (snapshot / name).write_bytes(content)
    return snapshot / name


def test_a_picture_is_decoded_by_whoever_is_asked_to(tiny: Backbone) -> None:
    with decoders() as processes:
        apart = tiny.prepare("image", _png(0), processes.decode)
        with pytest.raises(Unreadable):
            tiny.prepare("image", b"not a picture", processes.decode)
    assert_array_equal(apart, tiny.prepare("image", _png(0)))


def test_a_picture_has_the_features_that_open_clip_itself_gives(tiny: Backbone, weights: Path) -> None:
    import open_clip as library

    network, transform = library.create_model_from_pretrained(CLIP, str(weights))
    pixels = transform(Image.open(io.BytesIO(_png(0))))
    with torch.inference_mode():
        expected = network.eval().encode_image(pixels[None])
    features = tiny.encode("image", [tiny.prepare("image", _png(0))])
    torch.testing.assert_close(torch.from_numpy(features), expected)


def test_a_text_has_the_features_that_open_clip_itself_gives(tiny: Backbone, weights: Path) -> None:
    import open_clip as library

    network = library.create_model_from_pretrained(CLIP, str(weights), return_transform=False)
    with torch.inference_mode():
        expected = network.eval().encode_text(library.get_tokenizer(CLIP)(["a grey heron"]))
    features = tiny.encode("text", [tiny.prepare("text", b"a grey heron")])
    torch.testing.assert_close(torch.from_numpy(features), expected)


def test_a_picture_has_the_same_features_alone_and_in_a_batch(tiny: Backbone) -> None:
    prepared = [tiny.prepare("image", _png(seed)) for seed in range(open_clip.AT_ONCE + 3)]
    features = tiny.encode("image", prepared)
    alone = np.concatenate([tiny.encode("image", [x]) for x in prepared])
    np.testing.assert_allclose(features, alone, atol=1e-5)


def test_a_text_has_the_same_features_alone_and_in_a_batch(tiny: Backbone) -> None:
    prepared = [tiny.prepare("text", b"heron " * n) for n in range(1, open_clip.AT_ONCE + 4)]
    features = tiny.encode("text", prepared)
    alone = np.concatenate([tiny.encode("text", [x]) for x in prepared])
    np.testing.assert_allclose(features, alone, atol=1e-5)


def test_an_empty_batch_has_features_of_the_width_that_is_promised(tiny: Backbone) -> None:
    assert tiny.encode("image", []).shape == (0, tiny.widths["image"])


def test_a_word_without_end_is_read_up_to_a_limit(tiny: Backbone) -> None:
    assert tiny.prepare("text", b"q" * 1_000_000) == "q" * open_clip.MAX_CHARACTERS


@pytest.mark.parametrize(("words", "flags"), [(75, set()), (76, {"long"}), (5_000, {"long"})])
def test_a_text_longer_than_is_read_is_flagged(tiny: Backbone, words: int, flags: set[str]) -> None:
    with media.collected() as raised:  # a context of 77, of which two mark its beginning and its end
        tiny.prepare("text", b"cat " * words)
    assert raised == flags


def test_the_id_follows_the_bytes_of_the_weights_and_not_their_path(
    tiny: Backbone, weights: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    assert open_clip.load(f"open_clip:{CLIP}/{moved}", "cpu").id == tiny.id


def test_other_weights_have_another_id(tiny: Backbone, weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "weights.safetensors"
    state = load_file(weights)
    save_file({**state, "text_projection": -state["text_projection"]}, other)
    assert open_clip.load(f"open_clip:{CLIP}/{other}", "cpu").id != tiny.id


def test_weights_that_are_no_numbers_are_an_error_instead_of_features(weights: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    state = load_file(weights)
    save_file({**state, "text_projection": state["text_projection"] * torch.nan}, broken)
    backbone = open_clip.load(f"open_clip:{CLIP}/{broken}", "cpu")
    with pytest.raises(UserError, match="gives features that are no numbers; its weights are damaged"):
        backbone.encode("text", ["a grey heron"])


def test_weights_of_another_shape_are_one_line_that_names_the_file(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    state = load_file(weights)
    save_file({**state, "text_projection": torch.zeros(32, 8)}, other)
    assert _refusal(f"open_clip:{CLIP}/{other}") == (
        f"{other} does not fit open_clip {CLIP}: size mismatch for text_projection: copying a param with "
        "shape torch.Size([32, 8]) from checkpoint, the shape in current model is torch.Size([32, 16])."
    )


def test_weights_of_something_else_are_one_line_that_names_the_file(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"top": torch.zeros(3)}, other)
    refusal = _refusal(f"open_clip:{CLIP}/{other}")
    assert refusal.startswith(f"{other} does not fit open_clip {CLIP}: Missing key(s) in state_dict: ")
    assert "\n" not in refusal


def test_a_truncated_file_is_one_line_that_names_it(weights: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-100])
    refusal = _refusal(f"open_clip:{CLIP}/{cut}")
    assert refusal.startswith(f"{cut} does not fit open_clip {CLIP}: Error while deserializing header")
    assert "\n" not in refusal


def test_an_empty_file_is_one_line_that_names_it(weights: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    assert _refusal(f"open_clip:{CLIP}/{empty}") == f"cannot read {empty}: cannot mmap an empty file"


def test_a_missing_file_is_one_line_that_names_it(weights: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.safetensors"
    assert _refusal(f"open_clip:{CLIP}/{missing}") == f"cannot read {missing}: No such file or directory"


def test_a_pickle_is_refused_unread(weights: Path) -> None:
    assert _refusal(f"open_clip:{CLIP}/model.pt") == (
        "model.pt is not read, for it may hold a program; give a .safetensors file"
    )


@pytest.fixture
def some_cache(offline: Path) -> None:
    """A cache that holds another model, so that what is missing must be looked up in open_clip's lists."""
    (offline / "models--another--model").mkdir(parents=True)


@pytest.mark.usefixtures("some_cache")
def test_an_unknown_tag_is_answered_with_close_ones() -> None:
    assert _refusal("open_clip:ViT-B-32/laion2b_s34b_b97k") == (
        "no pretrained weights 'laion2b_s34b_b97k' for open_clip ViT-B-32; "
        "there are: laion2b_s34b_b79k, laion2b_e16, datacomp_xl_s13b_b90k, commonpool_s_laion_s13m_b4k"
    )


@pytest.mark.usefixtures("some_cache")
def test_an_unknown_architecture_is_answered_with_close_ones() -> None:
    assert _refusal("open_clip:ViT-B32/openai").startswith(
        "no architecture 'ViT-B32' in open_clip; there are: ViT-B-32"
    )


def test_no_network_is_one_line(offline: Path) -> None:
    assert _refusal("open_clip:ViT-B-32/laion2b_s34b_b79k") == (
        "cannot download open_clip ViT-B-32/laion2b_s34b_b79k: no network "
        f"({huggingface_hub.constants.ENDPOINT} does not answer); put the weights in the Hugging Face cache, "
        "or give a file: `backbone=open_clip:ViT-B-32/weights.safetensors`"
    )


@pytest.mark.parametrize("network", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_no_network_for_the_default_is_told_before_anything_heavy_is_imported(
    tmp_path: Path, network: dict[str, str]
) -> None:
    program = (
        "import sys\n"
        "from engine.backbones import open_clip\n"
        "try: open_clip.load('open_clip:ViT-B-32/laion2b_s34b_b79k', 'cpu')\n"
        "except open_clip.UserError as error: print(error, sorted({'torch', 'open_clip'} & set(sys.modules)))"
    )
    settings = {**network, "HF_HUB_CACHE": str(tmp_path), "PATH": "", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=settings
    )
    assert re.fullmatch(r"cannot download open_clip ViT-B-32/laion2b_s34b_b79k: .* \[\]\n", done.stdout)


def test_offline_mode_is_named_as_the_reason(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert _refusal("open_clip:ViT-B-32/laion2b_s34b_b79k").startswith(
        "cannot download open_clip ViT-B-32/laion2b_s34b_b79k: HF_HUB_OFFLINE is set; "
    )


def test_a_hub_that_accepts_and_stays_silent_is_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        _hub_at(silent.getsockname()[1], tmp_path, monkeypatch)
        assert hub.obstacle() == f"no network ({huggingface_hub.constants.ENDPOINT} does not answer)"


def test_a_name_that_is_looked_up_without_end_is_no_network(
    offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def look_up(request: object, timeout: float) -> None:
        over.wait()
        raise OSError("the test is over")

    monkeypatch.setattr(hub, "SECONDS", 0.05)
    monkeypatch.setattr(hub, "urlopen", look_up)
    try:
        assert hub.obstacle() is not None
    finally:
        over.set()


@pytest.mark.usefixtures("refusing_server")
def test_a_hub_that_answers_with_a_refusal_is_a_network() -> None:
    assert hub.obstacle() is None


@pytest.mark.usefixtures("refusing_server", "weights")
def test_a_download_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip as library

    def fail(trained: object) -> str:
        raise FileNotFoundError("no such file\n\nat https://huggingface.co")

    monkeypatch.setattr(library, "download_pretrained", fail)
    assert _refusal("open_clip:ViT-B-32/laion2b_s34b_b79k") == (
        "cannot download open_clip ViT-B-32/laion2b_s34b_b79k: no such file"
    )


def test_cached_weights_are_read_without_a_network_and_as_they_were_trained(
    offline: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip as library

    def create(
        arch: str,
        path: str,
        force_quick_gelu: bool,
        image_mean: tuple[float, ...],
        image_std: tuple[float, ...],
        image_interpolation: str,
        image_resize_mode: str,
    ) -> None:
        raise RuntimeError(f"{force_quick_gelu}, {image_mean[0]}, {image_std[0]}, {image_interpolation}")

    home = library.get_pretrained_cfg("ViT-B-32", "openai")["hf_hub"][:-1]
    file = _cache_file(offline, home, "open_clip_model.safetensors", b"")
    monkeypatch.setattr(library, "create_model_from_pretrained", create)
    assert _refusal("open_clip:ViT-B-32/openai") == (
        f"{file} does not fit open_clip ViT-B-32: True, 0.48145466, 0.26862954, bicubic"
    )


def test_the_digest_of_what_the_hub_brought_is_the_name_it_is_cached_under(offline: Path) -> None:
    blob = offline / "models--x" / "blobs" / ("ab" * 32)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"weights")
    link = _cache_file(offline, "y", "open_clip_model.safetensors", b"weights")
    assert hub.digest(link) == f"sha256:{sha256(b'weights').hexdigest()}"
    link.unlink()
    link.symlink_to(blob)
    assert hub.digest(link) == f"sha256:{'ab' * 32}"


def test_the_digest_of_the_weights_is_recorded_in_the_workspace(
    tiny: Backbone, weights: Path, tmp_path: Path
) -> None:
    options = WorkspaceOptions([f"open_clip:{CLIP}/{weights}"])
    workspace, _ = open_or_make(tmp_path, [], options, "cpu")
    assert {record.digest for record in workspace.manifest.backbones.values()} == {tiny.digest}
    assert tiny.digest.startswith("blake2b:")


def test_the_default_is_had_from_the_local_cache_without_a_network(offline: Path) -> None:
    _cache_file(offline, open_clip.DEFAULT_HOME[:-1], "open_clip_pytorch_model.bin", b"")
    assert backbones.default() == backbones.Default("open_clip:ViT-B-32/laion2b_s34b_b79k")


@pytest.mark.usefixtures("offline")
def test_without_cache_and_network_builtin_is_the_default_and_a_note_says_why_and_what_that_means() -> None:
    default = backbones.default()
    (note,) = default.notes
    assert default.spec == "builtin"
    assert str(note) == (
        f"CLIP is not to be had: no network ({huggingface_hub.constants.ENDPOINT} does not answer); builtin encodes "
        "instead, which knows no words until a lesson teaches it some: `train SOURCE task=NAME`"
    )


def test_the_home_of_the_default_is_the_one_that_open_clip_names(weights: Path) -> None:
    import open_clip as library

    assert library.get_pretrained_cfg(*open_clip.DEFAULT)["hf_hub"] == open_clip.DEFAULT_HOME


def test_importing_the_module_imports_neither_torch_nor_open_clip() -> None:
    program = (
        "import sys, engine.backbones.open_clip;"
        "print(sorted({'torch', 'torchvision', 'open_clip', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
