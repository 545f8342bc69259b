from engine.types import Pair
from indexer.evaluation.composed_queries import directions, part_ids, parts, with_queries

A, B, C, D = (letter * 32 for letter in "abcd")


def test_a_query_of_two_is_every_choice_of_one_item_of_each() -> None:
    pair = Pair("p", {"image": (A, B), "audio": (C,), "text": (D,)}, "sky", "test")
    (with_query,) = with_queries([pair], "image+audio")
    assert with_query.items == {**pair.items, "image+audio": (A + C, B + C)}


def test_a_pair_that_lacks_a_part_has_no_query_of_two() -> None:
    pair = Pair("p", {"image": (A,), "text": (D,)}, "sky", "test")
    assert with_queries([pair], "image+audio") == [pair]


def test_a_query_of_one_modality_is_the_item_itself() -> None:
    pairs = [Pair("p", {"image": (A,), "text": (D,)}, "sky", "test")]
    assert with_queries(pairs, "image") is pairs


def test_the_parts_of_a_query_are_found_again() -> None:
    assert parts("image+audio") == ["image", "audio"]
    assert [part_ids([A + C, B + C], place) for place in (0, 1)] == [[A, B], [C, C]]


def test_a_plus_within_a_name_joins_nothing() -> None:
    pair = Pair("p", dict.fromkeys(("ir+rgb", "text"), (A,)), "sky", "test")
    assert directions([pair]) == [("ir%2Brgb", "text"), ("text", "ir+rgb")]
    assert parts("ir%2Brgb+50%25") == ["ir+rgb", "50%"]
    (with_query,) = with_queries([pair], "ir%2Brgb")
    assert with_query.items == {**pair.items, "ir%2Brgb": (A,)}


def test_two_that_would_be_called_as_a_third_are_not_asked_together() -> None:
    pair = Pair("p", dict.fromkeys(("a", "b", "a+b"), (A,)), "sky", "test")
    assert [query for query, _ in directions([pair])[6:]] == ["a%2Bb+b", "a+a%2Bb"]


def test_two_modalities_join_no_third() -> None:
    pairs = [Pair(m, {m: (A,), "text": (D,)}, "sky", "test") for m in ("image", "audio")]
    assert directions(pairs) == [("audio", "text"), ("image", "text"), ("text", "audio"), ("text", "image")]


def test_three_modalities_of_one_pair_join_two_to_the_third() -> None:
    pair = Pair("p", dict.fromkeys(("depth", "image", "text"), (A,)), "sky", "test")
    assert directions([pair])[6:] == [
        ("image+depth", "text"),
        ("image+text", "depth"),
        ("text+depth", "image"),
    ]


def test_parts_are_named_as_options_stand_on_the_command_line() -> None:
    pair = Pair("p", dict.fromkeys(("audio", "depth", "image", "text"), (A,)), "sky", "test")
    composed = {query for query, _ in directions([pair]) if "+" in query}
    assert composed == {
        "image+audio",
        "image+text",
        "audio+text",
        "image+depth",
        "audio+depth",
        "text+depth",
    }


def test_a_pair_of_the_parts_alone_has_the_query_too() -> None:
    pair = Pair("p", {"image": (A,), "audio": (C,)}, "sky", "train")
    (with_query,) = with_queries([pair], "image+audio")
    assert with_query.items["image+audio"] == (A + C,)
