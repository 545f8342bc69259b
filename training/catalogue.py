"""LOSSES by name: pure functions of unit embeddings and the batch's bookkeeping, one value per row."""

from collections.abc import Callable, Mapping

from torch import Tensor

from engine.types import LossName
from training.losses.anchored import centrobind, fabind
from training.losses.gram import gram, pmrl
from training.losses.pairwise import infonce, triplet

LOSSES: Mapping[LossName, Callable[..., Tensor]] = {
    "triplet": triplet,
    "infonce": infonce,
    "fabind": fabind,
    "centrobind": centrobind,
    "pmrl": pmrl,
    "gram": gram,
}
