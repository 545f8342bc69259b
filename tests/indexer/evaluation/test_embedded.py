from typing import cast

import numpy as np
import pytest
from numpy.testing import assert_allclose

from engine.evaluation.qrels import qrels_of
from engine.types import Pair
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.evaluation.embedded import Caches, Galleries, Queries
from indexer.policies.plan import Placement
from leaning import leaning
from planar import Plane, ids, letters, named, unit

DEGREES = {"a": 0.0, "b": 90.0, "c": 180.0, "d": 45.0, "q": 0.0, "r": 90.0}
PAIRS = [
    Pair("p", {"image": tuple(map(named, "abcd")), "text": tuple(map(named, "qr"))}, "sky", "test"),
]
QRELS = qrels_of(PAIRS, "pair", ("text", "image"))
WHOLE = Placement(1, 1, 1)


def cache(plane: Plane) -> EmbeddingCache:
    return cast(EmbeddingCache, plane)


@pytest.fixture
def plane() -> Plane:
    return Plane(DEGREES)


@pytest.fixture
def galleries(plane: Plane) -> Galleries:
    return Galleries(("text", "image"), {"sky": ids("abc"), "life": ids("d")}, cache(plane), QRELS)


def test_queries_are_embedded_by_the_head_that_is_named(plane: Plane) -> None:
    queries = Queries("text", {"sky": ids("qr")}, cache(plane))
    assert_allclose(queries.embed("sky", 1), unit([90, 180]), atol=1e-6)
    assert plane.embedded == [("text", "qr", 1)]


def test_a_query_of_two_parts_is_their_sum_of_unit_length(plane: Plane) -> None:
    both = np.array([named("q") + named("b"), named("r") + named("c")], np.bytes_)
    queries = Queries("text+image", {"sky": both}, cache(plane))
    assert_allclose(queries.embed("sky", 0), unit([45, 135]), atol=1e-6)
    assert plane.embedded == [("text", "qr", 0), ("image", "bc", 0)]


def test_queries_that_differ_have_digests_that_differ(plane: Plane) -> None:
    digests = Queries("text", {"sky": ids("q"), "life": ids("r"), "places": ids("q")}, cache(plane)).digests
    assert digests["sky"] == digests["places"] != digests["life"]


def test_the_posterior_of_a_composed_query_is_what_its_parts_say_on_average(plane: Plane) -> None:
    sky_right, undecided = leaning({"sky": 1, "life": 0}), leaning({"sky": 0, "life": 0})
    query = np.array([named("q") + named("b")], np.bytes_)
    queries = Queries("text+image", {"sky": query}, cache(plane))
    routers = {"text": sky_right, "image": undecided}
    log_p = queries.posterior("sky", routers, ["life", "sky"])
    # a nat apart by the text and none by the image: half as far apart together
    assert_allclose(log_p, [[-np.log1p(np.exp(0.5)), -np.log1p(np.exp(-0.5))]])


def test_a_shard_offers_the_numbers_of_its_items(galleries: Galleries) -> None:
    shard = galleries.shard("sky", WHOLE)
    offer = shard.search(unit([180.0]), 3)
    assert letters(QRELS.ids[offer.ids[0]]) == "bac"
    assert shard.key == WHOLE.key("sky", "image")


def test_a_placement_of_some_items_holds_those_of_them_that_are_in_the_gallery(galleries: Galleries) -> None:
    part = Placement(0, 0, 1, tuple(map(named, "bcd")))
    assert letters(QRELS.ids[galleries.shard("sky", part).ids]) == "bc"


def test_mapped_items_lie_in_the_space_of_the_other_head(galleries: Galleries) -> None:
    assert_allclose(galleries.shard("life", Placement(0, 2, 2)).vectors, unit([45 + 180]), atol=1e-6)


def test_a_shard_is_built_once(galleries: Galleries, plane: Plane) -> None:
    assert galleries.shard("sky", WHOLE) is galleries.shard("sky", Placement(1, 1, 7))
    assert plane.embedded == [("image", "abc", 1)]


def test_directions_that_share_caches_keep_their_numbers_apart(plane: Plane) -> None:
    fewer = qrels_of([Pair("p", {"image": tuple(map(named, "bcd"))}, "sky", "test")], "pair", ["image"])
    caches = Caches()
    from_text = Galleries(("text", "image"), {"sky": ids("b")}, cache(plane), QRELS, caches=caches)
    from_sound = Galleries(("audio", "image"), {"sky": ids("b")}, cache(plane), fewer, caches=caches)
    numbers = [galleries.shard("sky", WHOLE).ids.tolist() for galleries in (from_text, from_sound)]
    assert numbers == [[1], [0]]


def test_vectors_stand_in_the_order_of_their_ids_whatever_placements_hold_them(galleries: Galleries) -> None:
    parts = (Placement(0, 0, 1, (named("a"), named("c"))), Placement(1, 1, 1, (named("b"),)))
    assert_allclose(galleries.vectors("sky", parts), unit([0, 180, 180]), atol=1e-6)


def test_a_gallery_is_embedded_in_the_order_of_its_ids(galleries: Galleries) -> None:
    assert_allclose(galleries.embed("sky", 1), unit([90, 180, 270]), atol=1e-6)


def test_a_task_that_is_not_tested_has_no_items(galleries: Galleries) -> None:
    assert (galleries.items("places"), galleries.items("life")) == ([], [named("d")])
