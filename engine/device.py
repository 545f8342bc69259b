"""Where torch and FAISS compute."""

from typing import Literal

from engine.errors import Setting, UserError
from engine.types import DeviceName


def resolve(name: DeviceName) -> Literal["cpu", "cuda"]:
    """Return the device that a person's choice comes to on this machine."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        cpu = Setting("device", "cpu")
        raise UserError(
            f"no CUDA device that torch can use: choose {cpu}, or install a CUDA build of torch", [cpu]
        )
    return "cpu" if name == "cpu" or not torch.cuda.is_available() else "cuda"
