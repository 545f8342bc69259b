import pytest
import torch

from benchmarks.retrieval import recalls

RIGHT = torch.tensor([[True, False, False, False], [False, False, True, True]])


def test_recall_is_the_share_of_queries_that_find_something_right() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.8, 0.2], [0.1, 0.9, 0.8, 0.2]])
    assert recalls(scores, RIGHT, (1, 2, 4)) == [0.0, 0.5, 1.0]


def test_ties_go_by_the_order_of_the_items() -> None:
    assert recalls(torch.zeros(2, 4), RIGHT, (1, 2, 3)) == [0.5, 0.5, 1.0]


@pytest.mark.parametrize("k", [4, 9])
def test_a_gallery_may_be_smaller_than_k(k: int) -> None:
    assert recalls(torch.zeros(2, 4), RIGHT, (k,)) == [1.0]
