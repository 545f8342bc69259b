"""Queries of two items at once: `image+audio` is a modality whose items are an image and a sound of one pair.

A `+` within a modality's own name is written %2B and a % %25, in the name of a query of that modality alone too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations, permutations, product
from urllib.parse import unquote

from engine import ids as item_ids
from engine.types import ItemId, Modality, Pair

ORDER = ("image", "audio", "video", "text")
"""In which the parts are named, others after these; the plans and temperatures are those of the first part."""


def parts(query: Modality) -> list[Modality]:
    """Return the modalities that a query is made of."""
    return [unquote(part) for part in query.split("+")]


def name(modalities: Iterable[Modality]) -> Modality:
    """Return the name of a query that is made of these modalities."""
    return "+".join(item_ids.escape(modality, "+") for modality in modalities)


def part_ids(ids: Iterable[ItemId], place: int) -> list[ItemId]:
    """Return which item each query has at this place of its parts, from 0."""
    return [item_ids.parts(id)[place] for id in ids]


def directions(pairs: Sequence[Pair]) -> list[tuple[Modality, Modality]]:
    """Return every direction that some pair joins: one modality to another, and two to a third.

    Two that would be called as a third modality is are not asked together.
    """
    joined = {frozenset(pair.items) for pair in pairs}
    single = {
        (name([m]), target) for modalities in joined for m, target in permutations(sorted(modalities), 2)
    }
    double = {
        (name(two), target)
        for modalities in joined
        for two in combinations(sorted(modalities, key=_order), 2)
        if name(two) not in modalities
        for target in modalities - {*two}
    }
    return [*sorted(single), *sorted(double)]


def with_queries(pairs: Sequence[Pair], query: Modality) -> Sequence[Pair]:
    """Return the pairs, those that hold all parts of a query with the query as an item of theirs.

    Its id is the ids of its parts, one after the other.
    """
    modalities = parts(query)
    if modalities == [query]:
        return pairs
    return [_with_query(pair, modalities) if {*modalities} <= {*pair.items} else pair for pair in pairs]


def _with_query(pair: Pair, modalities: Sequence[Modality]) -> Pair:
    """Return a pair with every choice of one item of each modality as a query."""
    ids = tuple("".join(choice) for choice in product(*(pair.items[modality] for modality in modalities)))
    return replace(pair, items={**pair.items, name(modalities): ids})


def _order(modality: Modality) -> tuple[int, str]:
    return ORDER.index(modality) if modality in ORDER else len(ORDER), modality
