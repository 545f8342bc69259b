from engine.types import Pair
from indexer.evaluation.composed_queries import part_ids, ways, with_queries

A, B, C, D = (letter * 32 for letter in "abcd")


def test_a_query_of_two_is_every_choice_of_one_item_of_each() -> None:
    pair = Pair("p", {"image": (A, B), "audio": (C,), "text": (D,)}, "sky", "test")
    (found,) = with_queries([pair], "image+audio")
    assert found.items == {**pair.items, "image+audio": (A + C, B + C)}


def test_a_pair_that_lacks_a_part_has_no_query_of_two() -> None:
    pair = Pair("p", {"image": (A,), "text": (D,)}, "sky", "test")
    assert with_queries([pair], "image+audio") == [pair]


def test_the_parts_of_a_query_are_found_again() -> None:
    assert [part_ids([A + C, B + C], place) for place in (0, 1)] == [[A, B], [C, C]]


def test_two_modalities_join_no_third() -> None:
    pairs = [Pair(m, {m: (A,), "text": (D,)}, "sky", "test") for m in ("image", "audio")]
    assert ways(pairs) == [("audio", "text"), ("image", "text"), ("text", "audio"), ("text", "image")]


def test_parts_are_named_as_options_stand_on_the_command_line() -> None:
    pair = Pair("p", dict.fromkeys(("audio", "depth", "image", "text"), (A,)), "sky", "test")
    named = {query for query, _ in ways([pair]) if "+" in query}
    assert named == {"image+audio", "image+text", "audio+text", "image+depth", "audio+depth", "text+depth"}
