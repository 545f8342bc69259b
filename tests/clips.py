"""A CLIP that is small enough for tests, with weights of nothing."""

import json
from pathlib import Path

from safetensors.torch import save_file

from engine.backbones import open_clip

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
CLIP = "mneme-tiny"


def weights(folder: Path) -> Path:
    """Tell open_clip of the tiny architecture, and write random weights of it to a folder."""
    open_clip.heal_torchvision()
    import open_clip as library

    config = folder / f"{CLIP}.json"
    config.write_text(json.dumps(TINY))
    library.add_model_config(config)
    network = library.create_model(CLIP)
    path = folder / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return path
