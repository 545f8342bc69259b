from collections import Counter

from engine.ingest.matching import hashed_split


def test_the_split_of_a_key_is_what_it_always_was() -> None:
    counts = Counter(hashed_split(f"r{number}") for number in range(1000))  # 80, 10 and 10 % of many
    assert counts == {"train": 796, "val": 98, "test": 106}
