"""Queries of two items at once: `image+audio` is a modality whose items are an image and a sound of one pair."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations, permutations, product

from engine import ids as item_ids
from engine.types import ItemId, Modality, Pair

ORDER = ("image", "audio", "video", "text")
"""In which the parts are named, others after these; the first says in which direction is asked."""


def parts(query: Modality) -> list[Modality]:
    """Return the modalities that a query is made of."""
    return query.split("+")


def part_ids(ids: Iterable[ItemId], place: int) -> list[ItemId]:
    """Return which item each query has at this place of its parts."""
    return [item_ids.parts(id)[place] for id in ids]


def ways(pairs: Sequence[Pair]) -> list[tuple[Modality, Modality]]:
    """Return every direction that some pair joins: one modality to another, and two to a third."""
    held = {frozenset(pair.items) for pair in pairs}
    single = sorted({two for modalities in held for two in permutations(sorted(modalities), 2)})
    double = {
        ("+".join(two), target)
        for modalities in held
        for two in combinations(sorted(modalities, key=_place), 2)
        for target in modalities - {*two}
    }
    return [*single, *sorted(double)]


def with_queries(pairs: Sequence[Pair], query: Modality) -> Sequence[Pair]:
    """Return the pairs, those that hold all parts of a query with the query as an item of theirs."""
    named = parts(query)
    if len(named) == 1:
        return pairs
    return [
        replace(
            pair, items={**pair.items, query: tuple(map("".join, product(*(pair.items[m] for m in named))))}
        )
        if {*named} <= {*pair.items}
        else pair
        for pair in pairs
    ]


def _place(modality: Modality) -> tuple[int, str]:
    return ORDER.index(modality) if modality in ORDER else len(ORDER), modality
