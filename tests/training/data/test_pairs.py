from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from engine.types import ItemId, Modality, Pair
from training.batch import Batch
from training.data.pairs import PairSet, collect

VALUES = {f"{modality}{n:014}": float(n) for modality in "ab" for n in range(40)}


def read(modality: Modality, ids: Sequence[ItemId]) -> NDArray[np.float32]:
    return np.array([[VALUES[id], 1.0] for id in ids], np.float32)


def pair(number: int, images: Sequence[int], texts: Sequence[int], task: str = "sky") -> Pair:
    items = {"image": tuple(f"a{n:014}" for n in images), "text": tuple(f"b{n:014}" for n in texts)}
    return Pair(f"{number}", {m: ids for m, ids in items.items() if ids}, task, "train")


def numbered(count: int) -> PairSet:
    """Return pairs whose picture and text both hold the pair's number."""
    return collect([pair(n, [n], [n]) for n in range(count)], ["image", "text"], read)


def numbers(batch: Batch) -> list[float]:
    return [float(x) for x in batch.features["image"][:, 0]]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_an_epoch_covers_each_pair_once() -> None:
    met = Counter(n for batch in numbered(23).epoch(5, generator()) for n in numbers(batch))
    assert met == Counter(map(float, range(23)))


def test_no_batch_is_larger_than_asked_for() -> None:
    assert max(len(batch) for batch in numbered(23).epoch(5, generator())) <= 5


def test_batches_of_an_epoch_differ_by_one_row_at_most_so_that_none_is_left_alone() -> None:
    assert [len(batch) for batch in numbered(21).epoch(5, generator())] == [5, 4, 4, 4, 4]


def test_a_task_smaller_than_the_batch_is_one_batch() -> None:
    assert [len(batch) for batch in numbered(7).epoch(128, generator())] == [7]


def test_both_items_of_a_row_are_of_one_pair() -> None:
    (batch,) = numbered(9).epoch(9, generator())
    assert torch.equal(batch.features["image"], batch.features["text"])


def test_the_same_generator_gives_the_same_epoch() -> None:
    first, repeated = (numbered(9).epoch(4, generator(3)) for _ in range(2))
    assert [(numbers(b), b.seed) for b in first] == [(numbers(b), b.seed) for b in repeated]


def test_the_next_epoch_has_another_order() -> None:
    draw, pairs = generator(), numbered(20)
    assert numbers(next(pairs.epoch(20, draw))) != numbers(next(pairs.epoch(20, draw)))


def test_batches_have_dropout_seeds_of_their_own() -> None:
    assert len({batch.seed for batch in numbered(20).epoch(5, generator())}) == 4


def test_one_item_of_a_list_is_drawn() -> None:
    captions = collect([pair(0, [1], [10, 11, 12])], ["image", "text"], read)
    (batch,) = captions.epoch(4, generator())
    assert batch.features["text"].shape == (1, 2)


def test_every_item_of_a_list_is_drawn_in_the_end() -> None:
    captions = collect([pair(0, [1], [10, 11, 12]), pair(1, [2], [20])], ["image", "text"], read)
    draw = generator()
    epochs = [next(captions.epoch(4, draw)) for _ in range(60)]
    assert {float(x) for batch in epochs for x in batch.features["text"][:, 0]} == {10, 11, 12, 20}


def test_items_of_a_list_are_drawn_evenly() -> None:
    captions = collect([pair(0, [1], [10, 11])] * 2000, ["image", "text"], read)
    (batch,) = captions.epoch(2000, generator())
    assert 900 < int((batch.features["text"][:, 0] == 10).sum()) < 1100


def test_batches_in_order_take_the_first_item_of_each_list() -> None:
    captions = collect([pair(0, [1], [12, 11]), pair(1, [2], [20, 21])], ["image", "text"], read)
    (batch,) = captions.in_order(4)
    assert batch.features["text"][:, 0].tolist() == [12, 20]


def test_batches_in_order_are_the_same_every_time() -> None:
    pairs = numbered(7)
    assert [numbers(b) for b in pairs.in_order(3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_row_without_a_modality_holds_zeros_and_item_minus_1() -> None:
    pairs = collect([pair(0, [1], []), pair(1, [2], [20])], ["image", "text"], read)
    (batch,) = pairs.in_order(4)
    assert batch.present["text"].tolist() == [False, True]
    assert batch.features["text"][0].tolist() == [0, 0]
    assert int(batch.item["text"][0]) == -1


def test_the_last_row_may_lack_a_modality() -> None:
    pairs = collect([pair(0, [1], [20]), pair(1, [2], [])], ["image", "text"], read)
    (batch,) = pairs.in_order(4)
    assert batch.features["text"].tolist() == [[20, 1], [0, 0]]


def test_one_text_in_two_pairs_has_one_number() -> None:
    (batch,) = collect([pair(0, [1], [9]), pair(1, [2], [9])], ["image", "text"], read).in_order(4)
    assert batch.item["text"][0] == batch.item["text"][1]
    assert batch.item["image"][0] != batch.item["image"][1]


def test_items_of_two_modalities_never_share_a_number() -> None:
    (batch,) = numbered(5).in_order(5)
    assert not set(batch.item["image"].tolist()) & set(batch.item["text"].tolist())


def test_a_group_is_a_task() -> None:
    pairs = [pair(0, [1], [1], "sky"), pair(1, [2], [2], "life"), pair(2, [3], [3], "sky")]
    group = collect(pairs, ["image", "text"], read).group
    assert group[0] == group[2] != group[1]


def test_a_modality_that_no_pair_holds_has_no_column() -> None:
    assert set(collect([pair(0, [1], [1])], ["audio", "image", "text"], read).columns) == {"image", "text"}


def test_every_row_weighs_1() -> None:
    (batch,) = numbered(3).epoch(4, generator())
    assert batch.weight.tolist() == [1, 1, 1]
