import pytest

from benchmarks import threads


def test_a_search_and_a_training_step_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "REPEATS", 2)
    assert threads._search() > 0
    assert threads._step() > 0


def test_what_is_timed_is_warmed_up_once_and_averaged() -> None:
    calls: list[int] = []
    threads._milliseconds(lambda: calls.append(1))
    assert len(calls) == 1 + threads.REPEATS
