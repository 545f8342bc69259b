"""What heads draw by chance, each from a seed that is named: head 0, initialisations, dropout."""

from hashlib import blake2b

import torch
from torch import Tensor

DROPOUT = 0.5


def orthonormal(features: int, width: int, name: str) -> Tensor:
    """Return the fixed matrix (E, D) of head 0: the identity where D = E, else orthonormal, seeded by a name."""
    if features == width:
        return torch.eye(width)
    noise = torch.randn(max(features, width), min(features, width), generator=generator(f"head 0 {name}"))
    q: Tensor = torch.linalg.qr(noise.double()).Q.float()  # (larger, smaller), orthonormal columns
    return q.T.contiguous() if features > width else q


def mask(x: Tensor, seed: str) -> Tensor:
    """Return a dropout mask like x, drawn on the CPU so that every device sees the same one."""
    kept = torch.rand(x.shape, generator=generator(seed)) >= DROPOUT
    return (kept / (1 - DROPOUT)).to(x)


def generator(seed: str) -> torch.Generator:
    """Return what draws from a seed."""
    number = int.from_bytes(blake2b(seed.encode(), digest_size=7).digest(), "big")
    return torch.Generator().manual_seed(number)
