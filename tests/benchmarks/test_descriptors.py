import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import descriptors
from benchmarks.descriptors import Data, Pack, read_pack, recall, relevance


def pack(folder: Path, rows: Sequence[Mapping[str, object]]) -> Pack:
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return read_pack(folder, "image")


@pytest.fixture
def shared(tmp_path: Path) -> Pack:
    """Three test pictures of two classes; the first two share a text."""
    every = {"task": "t", "split": "test"}
    rows = [
        {**every, "image": "a", "texts": ["red", "both"], "labels": ["x"]},
        {**every, "image": "b", "texts": ["both"], "labels": ["y"]},
        {**every, "image": "c", "texts": ["blue"], "labels": ["x"]},
    ]
    return pack(tmp_path, rows)


def test_a_pack_numbers_its_texts_and_picks_rows_by_split_and_task(shared: Pack) -> None:
    assert shared.texts == ["blue", "both", "red"]
    assert shared.captions == [[2, 1], [1], [0]]
    assert shared.rows("test", "t").tolist() == [0, 1, 2]
    assert not len(shared.rows("train", "t"))


def test_by_pair_a_text_is_right_for_every_picture_it_was_written_about(shared: Pack) -> None:
    texts, right = relevance(shared, np.array([0, 1, 2]), "pair")
    assert texts == [0, 1, 2]
    assert right.tolist() == [[False, True, True], [False, True, False], [True, False, False]]


def test_by_label_a_text_is_right_for_every_picture_of_its_classes(shared: Pack) -> None:
    _, right = relevance(shared, np.array([0, 1, 2]), "label")
    assert right.tolist() == [[True, True, True], [False, True, False], [True, True, True]]


def test_recall_goes_from_text_to_picture_and_back(shared: Pack) -> None:
    pictures, texts = torch.eye(3)[[0, 1, 2]], torch.eye(3)[[2, 1, 1]]  # "red" is drawn to the second picture
    heads = nn.Identity(), nn.Identity()
    assert recall(heads, Data(shared, pictures, texts), "t", "pair", 1) == pytest.approx([2 / 3, 2 / 3])


def test_rows_of_one_text_are_positives_of_each_other() -> None:
    same = torch.tensor([[True, True], [True, True]])
    assert float(descriptors.infonce(torch.zeros(2, 2), same)) == pytest.approx(2 * np.log(2) / 2)


def test_training_joins_pictures_and_their_texts(tmp_path: Path) -> None:
    rows = [
        {"image": str(n), "texts": [f"text {n}"], "labels": ["x"], "task": "t", "split": "train"}
        for n in range(8)
    ]
    features = torch.randn(8, 512, generator=torch.Generator().manual_seed(0))
    data = Data(pack(tmp_path, rows), features, features.flip(0))
    heads = descriptors.train(data, np.arange(8), seed=0, epochs=30)
    with torch.no_grad():
        nearest = (heads[0](features) @ heads[1](features.flip(0)).T).argmax(1)
    assert nearest.tolist() == list(range(8))


def test_a_table_has_means_and_deviations_over_seeds() -> None:
    line = descriptors.table({"HOG": [[0.1, 0.2, 0.3, 0.4], [0.3, 0.2, 0.3, 0.4]]}).splitlines()[-1]
    assert line == "| HOG | 0.200 ± 0.100 | 0.200 ± 0.000 | 0.300 ± 0.000 | 0.400 ± 0.000 |"
