"""Where torch and FAISS compute."""

from typing import Literal

from engine.errors import UserError
from engine.types import DeviceName


def resolve(name: DeviceName) -> Literal["cpu", "cuda"]:
    """Return the device that a person's choice comes to on this machine."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device that torch can use: choose --device cpu, or install a CUDA build of torch"
        )
    return "cpu" if name == "cpu" or not torch.cuda.is_available() else "cuda"
