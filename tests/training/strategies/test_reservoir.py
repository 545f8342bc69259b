from dataclasses import replace

import torch
from torch import Tensor
from torch.testing import assert_close

from stored import FakeStore, from_disk
from training.batch import Batch, select_rows
from training.data.history import NO_PAST, stored_features
from training.strategies.reservoir import Reservoir


def stream(memory: Reservoir, batches: list[Batch]) -> Reservoir:
    for batch in batches:
        slots, kept = memory.admit(len(batch), batch.seed)
        memory.put(slots, {"row": select_rows(batch, kept)}, {"seen_at": kept.float()})
    return memory


def kept_of(runs: int, size: int, parts: list[int]) -> Tensor:
    """Return how often each element of a stream is kept, over many runs."""
    counts = torch.zeros(sum(parts))
    for run in range(runs):
        memory = Reservoir(NO_PAST, size, {})
        kept = torch.full((size,), -1)
        start = 0
        for part in parts:
            slots, rows = memory.admit(part, 1000 * run + start)
            kept[slots] = rows + start
            start += part
        counts[kept] += 1
    return counts


def test_every_row_of_the_stream_is_kept_equally_often() -> None:
    size, parts, runs = 5, [4, 7, 9], 2000
    counts = kept_of(runs, size, parts)
    share = size / sum(parts)
    # counts within a run sum to the size, which shrinks the statistic by (n - 1) / n
    chi = float(((counts - runs * share) ** 2 / (runs * share * (1 - share))).sum()) * 19 / 20
    assert chi < 43.8  # 0.1 % of chi-square with 19 degrees of freedom lies above


def test_no_run_keeps_a_row_twice_or_loses_one() -> None:
    assert float(kept_of(50, 5, [4, 7, 9]).sum()) == 50 * 5


def test_the_first_rows_fill_the_slots_in_order() -> None:
    slots, rows = Reservoir(NO_PAST, 4, {}).admit(3, 0)
    assert (slots.tolist(), rows.tolist()) == ([0, 1, 2], [0, 1, 2])


def test_a_slot_hit_twice_in_one_batch_holds_the_later_row() -> None:
    kept = {int(Reservoir(NO_PAST, 1, {}).admit(2, seed)[1]) for seed in range(20)}
    assert kept == {0, 1}


def test_capacity_is_never_exceeded() -> None:
    memory = stream(Reservoir(NO_PAST, 5, {}), FakeStore().lesson(1, batches=4))
    assert (len(memory), len(memory.state["item.row.image"])) == (5, 5)


def test_the_state_holds_numbers_and_scores_and_no_features() -> None:
    memory = stream(Reservoir(NO_PAST, 5, {}), FakeStore().lesson(1))
    assert {name: (t.dtype, t.numel()) for name, t in memory.state.items()} == {
        "seen": (torch.int64, 1),
        "item.row.image": (torch.int64, 5),
        "item.row.text": (torch.int64, 5),
        "score.seen_at": (torch.float32, 5),
    }


def test_a_memory_read_from_disk_holds_the_same_rows() -> None:
    store = FakeStore()
    memory = stream(Reservoir(store.past(), 9, {}), store.lesson(1))
    reopened = Reservoir(store.past(), 9, from_disk(memory.state))
    slots = memory.draw(9, "x")
    assert_close(reopened.take(slots).features, memory.take(slots).features, rtol=0, atol=0)


def test_a_memory_read_from_disk_goes_on_as_it_would_have() -> None:
    store = FakeStore()
    first, second = store.lesson(1), store.lesson(2)
    memory = stream(Reservoir(store.past(), 9, {}), first)
    reopened = stream(Reservoir(store.past(), 9, from_disk(memory.state)), second)
    assert_close(reopened.state, stream(memory, second).state, rtol=0, atol=0)


def test_a_row_is_remembered_with_its_own_features() -> None:
    store = FakeStore()
    memory = stream(Reservoir(store.past(), 5, {}), store.lesson(1))
    taken = memory.take(memory.draw(5, "x"))
    expected = torch.stack([store.items["text", int(n)] for n in taken.item["text"]])
    assert_close(taken.features["text"], expected, rtol=0, atol=0)


def test_a_score_stays_with_its_row() -> None:
    memory = stream(Reservoir(NO_PAST, 5, {}), FakeStore().lesson(1, batches=1))
    slots = memory.draw(5, "x")
    rows = memory.take(slots).item["text"] - (1000 + 100 * ord("t"))
    assert memory.scores(slots)["seen_at"].tolist() == rows.tolist()


def test_an_entry_whose_item_is_gone_is_never_drawn() -> None:
    store = FakeStore()
    memory = stream(Reservoir(store.past(), 8, {}), store.lesson(1, batches=1))
    gone = int(memory.state["item.row.image"][2])
    del store.items["image", gone]
    reopened = Reservoir(store.past(), 8, memory.state)
    assert sorted(reopened.draw(8, "x").tolist()) == [0, 1, 3, 4, 5, 6, 7]


def test_a_slot_whose_item_is_gone_is_drawn_again_once_written() -> None:
    store = FakeStore()
    batch = store.lesson(1, batches=1)[0]
    state = stream(Reservoir(store.past(), 8, {}), [batch]).state
    del store.items["image", int(state["item.row.image"][2])]
    reopened = Reservoir(store.past(), 8, state)
    reopened.put(torch.tensor([2]), {"row": select_rows(batch, torch.tensor([0]))}, {})
    assert len(reopened) == 8


def test_a_draw_holds_rows_of_one_set_of_modalities() -> None:
    store = FakeStore()
    batches = [*store.lesson(1), *store.lesson(2, modalities=("audio", "text"))]
    memory = stream(Reservoir(NO_PAST, 32, {}), batches)
    kinds = {tuple(memory.take(memory.draw(32, f"{n}")).features) for n in range(20)}
    assert kinds == {("image", "text"), ("audio", "text")}


def test_a_set_is_drawn_by_its_share_of_the_rows() -> None:
    store = FakeStore()
    batches = [*store.lesson(1, batches=3), *store.lesson(2, modalities=("audio", "text"), batches=1)]
    memory = stream(Reservoir(NO_PAST, 32, {}), batches)
    images = sum(bool((memory.draw(1, f"{n}") < 24).all()) for n in range(400))
    assert 265 < images < 335  # 300 expected, 4 standard deviations


def test_a_draw_holds_no_row_twice() -> None:
    memory = stream(Reservoir(NO_PAST, 16, {}), FakeStore().lesson(1))
    assert len(set(memory.draw(12, "x").tolist())) == 12


def test_a_smaller_memory_keeps_some_of_what_a_larger_one_held() -> None:
    store = FakeStore()
    state = stream(Reservoir(store.past(), 16, {}), store.lesson(1)).state
    before = set(state["item.row.text"].tolist())
    smaller = Reservoir(store.past(), 4, state)
    assert len(smaller) == 4
    assert set(smaller.state["item.row.text"].tolist()) < before


def test_a_larger_memory_keeps_all_that_a_smaller_one_held() -> None:
    store = FakeStore()
    state = stream(Reservoir(store.past(), 4, {}), store.lesson(1)).state
    before = set(state["item.row.text"].tolist())
    larger = Reservoir(store.past(), 16, state)
    assert len(larger) == 4
    assert set(larger.state["item.row.text"].tolist()) == before | {-1}


def test_a_score_stays_with_its_row_in_a_memory_of_another_size() -> None:
    store = FakeStore()
    state = stream(Reservoir(store.past(), 16, {}), store.lesson(1)).state
    scores = dict(zip(state["item.row.text"].tolist(), state["score.seen_at"].tolist(), strict=True))
    for size in (4, 20):
        resized = Reservoir(store.past(), size, dict(state))
        slots = resized.draw(20, "x")
        items = resized.take(slots).item["text"].tolist()
        assert resized.scores(slots)["seen_at"].tolist() == [scores[item] for item in items]


def test_what_is_taken_is_a_batch_of_a_memory_of_weight_1_and_one_group() -> None:
    memory = stream(Reservoir(NO_PAST, 5, {}), FakeStore().lesson(1))
    taken = memory.take(memory.draw(3, "x"))
    assert taken.is_memory
    assert taken.weight.tolist() == [1, 1, 1]
    assert taken.group.tolist() == [0, 0, 0]


def test_nothing_is_drawn_from_an_empty_memory() -> None:
    assert Reservoir(NO_PAST, 5, {}).draw(3, "x").tolist() == []


def test_a_late_modality_joins_what_is_remembered() -> None:
    store = FakeStore()
    memory = stream(
        Reservoir(NO_PAST, 32, {}), [*store.lesson(1), *store.lesson(2, modalities=("audio", "text"))]
    )
    assert (memory.state["item.row.audio"] >= 0).tolist() == [False] * 16 + [True] * 16


def test_looking_up_gives_the_features_of_what_is_stored_and_says_what_is_not() -> None:
    store = FakeStore({("text", 3): torch.ones(2), ("text", 9): torch.full((2,), 9.0)})
    features, is_stored = stored_features(store.past(), "text", torch.tensor([9, -1, 4, 3]))
    assert (features.tolist(), is_stored.tolist()) == (
        [[9, 9], [0, 0], [0, 0], [1, 1]],
        [True, False, False, True],
    )


def test_the_item_of_number_0_is_as_present_as_any_other() -> None:
    batch = FakeStore().lesson(1, batches=1)[0]
    numbered = replace(batch, item={m: torch.arange(8) for m in batch.item})
    taken = stream(Reservoir(NO_PAST, 8, {}), [numbered]).take(torch.arange(8))
    assert {m: int(present.sum()) for m, present in taken.present.items()} == {"image": 8, "text": 8}
