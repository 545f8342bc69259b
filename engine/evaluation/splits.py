"""Pairs by task and split, so that those of one task are found without a look at all others."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, get_args

import numpy as np

from engine.ids import Ids
from engine.types import Modality, Pair, Split

Groups: TypeAlias = Mapping[tuple[str, Split], Sequence[Pair]]


def grouped(pairs: Sequence[Pair]) -> Groups:
    """Return the pairs of every task and split, in the order they came in."""
    groups: dict[tuple[str, Split], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.task, pair.split), []).append(pair)
    return groups


def of_task(groups: Groups, task: str) -> list[Pair]:
    """Return the pairs of a task, of every split."""
    return [pair for split in get_args(Split) for pair in groups.get((task, split), ())]


def items_of(groups: Groups, task: str, split: Split, modality: Modality) -> Ids:
    """Return the distinct items of one modality in a task's pairs of a split, sorted."""
    return distinct(groups.get((task, split), ()), modality)


def distinct(pairs: Sequence[Pair], modality: Modality) -> Ids:
    """Return the distinct items of one modality in pairs, sorted."""
    return np.array(sorted({id for pair in pairs for id in pair.items.get(modality, ())}), np.bytes_)
