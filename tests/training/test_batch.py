from dataclasses import replace

import torch
from torch.testing import assert_close

from training.batch import Batch, join, seeded, select_modalities, select_rows, trained_rows


def make_batch(size: int = 5, seed: int = 3) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return Batch(
        {m: torch.randn(size, 4, generator=draw) for m in ("image", "text")},
        {m: torch.ones(size, dtype=torch.bool) for m in ("image", "text")},
        {"image": torch.arange(size), "text": torch.arange(size) + size},
        torch.zeros(size, dtype=torch.int64),
        torch.ones(size),
        seed,
    )


def audio_rows(count: int) -> Batch:
    """Return rows that hold a sound and a text."""
    batch = make_batch(count, seed=8)
    taken_from = {"audio": "image", "text": "text"}
    return replace(
        batch,
        features={m: batch.features[was] for m, was in taken_from.items()},
        present={m: batch.present[was] for m, was in taken_from.items()},
        item={m: batch.item[was] + 100 for m, was in taken_from.items()},
    )


def test_joined_rows_stand_below_the_batchs_own() -> None:
    joined = join(make_batch(5), make_batch(2, seed=9))
    assert_close(joined.features["text"][5:], make_batch(2, seed=9).features["text"])
    assert len(joined) == 7


def test_a_modality_that_one_side_lacks_is_absent_there() -> None:
    joined = join(make_batch(5), audio_rows(2))
    assert joined.present["audio"].tolist() == [False] * 5 + [True] * 2
    assert joined.present["image"].tolist() == [True] * 5 + [False] * 2
    assert joined.item["image"][5:].tolist() == [-1, -1]
    assert not joined.features["image"][5:].any()


def test_a_joined_batch_is_otherwise_as_the_first() -> None:
    joined = join(replace(make_batch(), epoch=3, step=7), replace(make_batch(2, seed=9), is_memory=True))
    assert (joined.seed, joined.epoch, joined.step, joined.is_memory) == (3, 3, 7, False)


def test_a_batch_joined_with_no_rows_is_the_same_batch() -> None:
    batch = make_batch()
    assert join(batch, select_rows(audio_rows(2), torch.arange(0))) is batch


def test_selected_rows_come_in_the_order_asked_for() -> None:
    batch = replace(make_batch(), group=torch.arange(5), fixed={"image": torch.arange(20.0).view(5, 4)})
    two = select_rows(batch, torch.tensor([3, 1]))
    assert two.item["text"].tolist() == [8, 6]
    assert two.group.tolist() == [3, 1]
    assert two.fixed["image"][:, 0].tolist() == [12, 4]
    assert_close(two.features["image"], batch.features["image"][[3, 1]], rtol=0, atol=0)


def test_trained_rows_are_those_that_weigh_something() -> None:
    batch = replace(make_batch(), weight=torch.tensor([1.0, 0.0, 0.5, 0.0, 0.0]))
    assert trained_rows(batch).item["image"].tolist() == [0, 2]


def test_selected_modalities_leave_the_others_out_of_all_that_is_by_modality() -> None:
    batch = replace(make_batch(), fixed={"image": torch.zeros(5, 4)})
    text = select_modalities(batch, ["text", "audio"])
    assert [list(part) for part in (text.features, text.present, text.item)] == [["text"]] * 3
    assert text.fixed == {}
    assert len(text) == 5


def test_a_text_seeds_the_same_draw_every_time_and_another_text_another() -> None:
    first, again, other = (
        torch.rand(4, generator=seeded(text)) for text in ("3 replay", "3 replay", "4 replay")
    )
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
