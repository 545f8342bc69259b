import pytest
import torch

from benchmarks import steps
from benchmarks.steps import Case


def test_a_task_spans_as_many_directions_as_are_wanted_and_each_its_own() -> None:
    first, second = (steps.task(number, 5, 40).columns["image"].features for number in (0, 1))
    assert torch.linalg.matrix_rank(first) == torch.linalg.matrix_rank(second) == 5
    assert torch.linalg.matrix_rank(torch.cat([first, second])) == 10


def test_what_is_remembered_is_what_the_tasks_held() -> None:
    pairs = [steps.task(number, 5, 4) for number in (0, 1)]
    column = pairs[1].columns["text"]
    numbers = [int(number) for number in column.numbers[:2]]
    recalled = steps.past_of(pairs).features("text", numbers)
    torch.testing.assert_close(torch.stack([recalled[n] for n in numbers]), column.features[:2])


@pytest.mark.parametrize("method", ["finetune", "gem", "dns"])
def test_a_step_that_has_learned_past_tasks_moves_the_head(method: str) -> None:
    step = steps.ready(Case(method, "linear", 5))
    batch = steps.task(3, 5, 16).in_order(16)[0]
    assert any(gradient.abs().sum() > 0 for gradient in step(batch).by_name.values())


def test_functions_are_timed_in_turn_on_the_same_batches() -> None:
    calls: list[tuple[str, int]] = []
    step = steps.ready(Case("finetune", "linear", 5))

    def noted(name: str) -> object:
        def call(batch: object) -> object:
            calls.append((name, id(batch)))
            return step(batch)  # type: ignore[arg-type]

        return call

    seconds = steps.interleaved([noted("a"), noted("b")], steps.task(0, 5, 16), 8, 6)  # type: ignore[list-item]
    assert len(seconds) == 2
    assert [name for name, _ in calls[:4]] == ["a", "b", "a", "b"]
    assert calls[0][1] == calls[1][1]
