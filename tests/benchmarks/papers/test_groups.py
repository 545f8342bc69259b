import pytest

from benchmarks.papers import groups
from engine.types import Split


def test_the_asked_number_is_held_for_val_and_test_and_the_rest_trains() -> None:
    kinds = list(groups.draw_splits(range(100), 20, "animal", 0).values())
    assert [kinds.count(split) for split in groups.SPLITS] == [60, 20, 20]


def test_too_few_images_give_a_tenth_each() -> None:
    kinds = list(groups.draw_splits(range(59), 20, "animal", 0).values())
    assert [kinds.count(split) for split in groups.SPLITS] == [49, 5, 5]


def test_a_tenth_each_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    groups.draw_splits(range(59), 20, "animal", 0)
    assert capsys.readouterr().err == "animal: only 59 found, so 5 each for val and test\n"


def test_the_draw_does_not_depend_on_the_order_of_the_files() -> None:
    assert groups.draw_splits(range(50), 5, "animal", 3) == groups.draw_splits(
        range(49, -1, -1), 5, "animal", 3
    )


def test_another_seed_draws_another_split() -> None:
    assert groups.draw_splits(range(50), 5, "animal", 0) != groups.draw_splits(range(50), 5, "animal", 1)


def test_counts_go_by_task_and_split() -> None:
    splits: list[Split] = ["train", "train", "test"]
    rows = [groups.MetadataRow(str(n), "sky", split, "a.jpg", ["a"], []) for n, split in enumerate(splits)]
    paper: dict[str, dict[Split, int]] = {"sky": {"train": 5, "val": 6, "test": 7}}
    assert groups.summary(rows, paper).splitlines()[1:] == [
        "sky\ttrain\t2\t5",
        "sky\tval\t0\t6",
        "sky\ttest\t1\t7",
    ]
