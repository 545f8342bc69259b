"""Pictures and sentences through a pretrained CLIP; the only module that imports open_clip.

`open_clip:ARCH/TAG` takes weights of open_clip's own list, `open_clip:ARCH/PATH.safetensors` those of a file;
a file's pictures are prepared as for the first tag of its ARCH. An architecture of one's own is an ARCH once
`open_clip.add_model_config` was told of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import blake2b
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from threading import Lock
from typing import Any, Protocol

import numpy as np
from PIL import Image
from safetensors import SafetensorError

from engine import media
from engine.backbones import Backbone, Features, Prepared, hub
from engine.decoding.jobs import Decode, Job, here
from engine.errors import Setting, UserError
from engine.types import Modality

DEFAULT = ("ViT-B-32", "laion2b_s34b_b79k")
DEFAULT_HOME = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K/"
"""Where the Hub keeps them: known here too, for open_clip takes seconds to import and ask."""

AT_ONCE = 64
MAX_CHARACTERS = 4_096
"""A text is read up to here; contexts end long before, and the tokenizer is quadratic in a word's length."""


class Tokenizer(Protocol):
    """What makes numbers of texts, of each up to so many; the last of a text that is longer is its end."""

    context_length: int

    def __call__(self, texts: list[str], context_length: int | None = None) -> Any: ...


@dataclass(frozen=True, eq=False)
class OpenClip:
    """A CLIP with its own transforms and tokenizer, behind the Backbone protocol."""

    spec: str
    id: str
    widths: Mapping[Modality, int]
    digest: str
    network: Any
    transform: Callable[[Any], Any]
    tokenize: Tokenizer
    device: str
    aligned: bool = True
    _turn: Lock = field(default_factory=Lock)  # of those who tokenize: a length that is set counts for all

    def prepare(self, modality: Modality, data: bytes, decode: Decode = here) -> Prepared:
        """Decode a picture to what the network takes (3, H, W), a text to its characters."""
        if modality == "text":
            text = data.decode()
            if len(text) > MAX_CHARACTERS or self._is_cut(text):
                media.raise_flag("long")
            return text[:MAX_CHARACTERS]
        side = int(np.max(self.network.visual.preprocess_cfg["size"]))
        picture = Image.fromarray(decode(Job("pixels", side), data))
        pixels: Prepared = self.transform(picture).numpy()
        return pixels

    def _is_cut(self, text: str) -> bool:
        """Say whether no more than the beginning of a text is read."""
        most = self.tokenize.context_length
        with self._turn:
            read, longer = self.tokenize([text], most), self.tokenize([text], most + 1)
        return bool((read != longer[:, :most]).any())

    def encode(self, modality: Modality, batch: Sequence[Prepared]) -> Features:
        """Return the features (N, D) of prepared items, as the towers give them."""
        parts = [self._encode(modality, batch[i : i + AT_ONCE]) for i in range(0, len(batch), AT_ONCE)]
        features: Features = np.concatenate([np.empty((0, self.widths[modality]), np.float32), *parts])
        if not np.isfinite(features).all():
            raise UserError(f"{self.spec} gives features that are no numbers; its weights are damaged")
        return features

    def _encode(self, modality: Modality, batch: Sequence[Prepared]) -> Features:
        import torch

        # On CPUs bfloat16 was no faster, even with AMX: docs/decisions/0003.
        half = self.device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        with torch.inference_mode(), torch.autocast(self.device, dtype=torch.bfloat16, enabled=half):
            if modality == "text":
                with self._turn:
                    tokens = self.tokenize([str(text) for text in batch])
                z = self.network.encode_text(tokens.to(self.device), normalize=False)
            else:
                pixels = torch.from_numpy(np.stack([np.asarray(x) for x in batch]))
                z = self.network.encode_image(pixels.to(self.device), normalize=False)
        features: Features = z.float().cpu().numpy()
        return features


@dataclass(frozen=True)
class _Weights:
    """A file of weights, its part of the id, the digest of its bytes, and the settings it was trained with."""

    path: Path
    name: str
    digest: str
    trained: Mapping[str, Any]


def check(spec: str) -> None:
    """Refuse weights that are not here and cannot be downloaded, before torch and open_clip are imported."""
    arch, _, source = spec.removeprefix("open_clip:").partition("/")
    known = hub.cached(DEFAULT_HOME) is not None if (arch, source) == DEFAULT else hub.has_models()
    if not known and not Path(source).suffix:
        _need_hub(arch, source)


def load(spec: str, device: str) -> Backbone:
    """Load the backbone that a spec names, on cpu or cuda."""
    check(spec)
    arch, _, source = spec.removeprefix("open_clip:").partition("/")
    library = _library()
    if arch not in library.list_models():
        raise UserError(f"no architecture '{arch}' in open_clip{_close(arch, library.list_models())}")
    weights = (_from_file if Path(source).suffix else _from_tag)(library, arch, source)
    _check_text_tower(library, arch)
    network, transform = _network(library, arch, weights)
    return OpenClip(
        spec=spec,
        id=f"open_clip:{arch}/{weights.name}",
        widths=dict.fromkeys(("image", "text"), library.get_model_config(arch)["embed_dim"]),
        digest=weights.digest,
        network=network.to(device).eval().requires_grad_(False),
        transform=transform,
        tokenize=library.get_tokenizer(arch),
        device=device,
    )


def obstacle() -> str | None:
    """Return what keeps the default from being had; None where its weights are here or can be downloaded."""
    if find_spec("open_clip") is None:
        return "open_clip is not installed"
    return None if hub.cached(DEFAULT_HOME) is not None else hub.obstacle()


def heal_torchvision() -> None:
    """Make torchvision importable where its compiled half does not suit torch; a healthy one is left alone.

    A CPU build of torch cannot load PyPI's torchvision, built for CUDA, which then describes operators that
    nobody has declared. They are declared without a body: open_clip never calls them.
    """
    import torch

    try:
        import_module("torchvision")
    except RuntimeError:
        shape = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                torch.library.define(f"torchvision::{name}", shape)
        import_module("torchvision")


def _library() -> Any:
    if find_spec("open_clip") is None:
        raise UserError("open_clip is not installed; run: pip install open_clip_torch")
    heal_torchvision()
    import open_clip

    return open_clip


def _from_tag(library: Any, arch: str, tag: str) -> _Weights:
    trained = library.get_pretrained_cfg(arch, tag)
    if not trained:
        close = _close(tag, library.list_pretrained_tags_by_model(arch))
        raise UserError(f"no pretrained weights '{tag}' for open_clip {arch}{close}")
    path = hub.cached(trained["hf_hub"])
    if path is None:
        _need_hub(arch, tag)
        try:
            path = library.download_pretrained(trained)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"cannot download open_clip {arch}/{tag}: {_reason(error)}") from None
    return _Weights(Path(path), tag.lower().replace("-", "_"), hub.digest(Path(path)), trained)


def _need_hub(arch: str, tag: str) -> None:
    if reason := hub.obstacle():
        file = Setting("backbone", f"open_clip:{arch}/weights.safetensors")
        cure = f"put the weights in the Hugging Face cache, or give a file: {file}"
        raise UserError(f"cannot download open_clip {arch}/{tag}: {reason}; {cure}", [file])


def _from_file(library: Any, arch: str, source: str) -> _Weights:
    path = Path(source).expanduser()
    if path.suffix != ".safetensors":
        raise UserError(f"{path} is not read, for it may hold a program; give a .safetensors file")
    try:
        name = blake2b(np.memmap(path, np.uint8, "r").data, digest_size=8).hexdigest()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    tags = library.list_pretrained_tags_by_model(arch)
    first = library.get_pretrained_cfg(arch, tags[0]) if tags else {}
    return _Weights(path, name, f"blake2b:{name}", {**first, "quick_gelu": False})


def _check_text_tower(library: Any, arch: str) -> None:
    """Refuse a tokenizer that the Hub keeps where it cannot be had."""
    text = library.get_model_config(arch)["text_cfg"]
    homes = [text[key] for key in ("hf_tokenizer_name", "hf_model_name") if text.get(key)]
    if homes and find_spec("transformers") is None:
        raise UserError(f"open_clip {arch} reads text with transformers; run: pip install transformers")
    if not all(hub.cached(f"{home}/tokenizer_config.json") for home in homes) and (reason := hub.obstacle()):
        raise UserError(f"cannot download the tokenizer of open_clip {arch}: {reason}")


def _network(library: Any, arch: str, weights: _Weights) -> tuple[Any, Callable[[Any], Any]]:
    settings = {f"image_{k}": weights.trained.get(k) for k in ("mean", "std", "interpolation", "resize_mode")}
    settings["force_quick_gelu"] = weights.trained.get("quick_gelu", False)
    # What open_clip meets in weights of another form, besides the two errors that say so.
    misfits = (AssertionError, AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError)
    try:
        network, transform = library.create_model_from_pretrained(arch, str(weights.path), **settings)
    except (OSError, RuntimeError, SafetensorError, *misfits) as error:
        raise UserError(f"{weights.path} does not fit open_clip {arch}: {_reason(error)}") from None
    return network, transform


def _close(name: str, choices: Sequence[str]) -> str:
    close = get_close_matches(name, choices, n=4, cutoff=0.4) or choices[:4]
    return f"; there are: {', '.join(close)}" if close else ""


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return shorten(lines[lines[0].endswith(":") and len(lines) > 1], 160, placeholder=" ...")
