import multiprocessing
import os
import signal
from contextlib import closing

import pytest
import torch

from engine.errors import UserError
from studies.sweeps import workers


def where(number: int) -> tuple[int, int, bool]:
    """Return the process, its threads, and whether it ignores Ctrl-C."""
    return os.getpid(), torch.get_num_threads(), signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def die(number: int) -> None:
    os._exit(number)


def test_one_job_works_in_this_process_in_order() -> None:
    assert list(workers.map_unordered(abs, [-2, -1], 1)) == [(-2, 2), (-1, 1)]


def test_no_more_processes_are_started_than_there_is_work_for() -> None:
    ((_, (process, _, _)),) = workers.map_unordered(where, [0], 8)
    assert process == os.getpid()


def test_several_jobs_make_everything_in_processes_that_ignore_ctrl_c_and_share_the_cores() -> None:
    before = signal.getsignal(signal.SIGINT)
    made = dict(workers.map_unordered(where, [0, 1, 2], 2))
    assert set(made) == {0, 1, 2}
    assert os.getpid() not in {process for process, _, _ in made.values()}
    assert {threads for _, threads, _ in made.values()} == {max(1, (os.cpu_count() or 1) // 2)}
    assert {ignores for _, _, ignores in made.values()} == {True}
    assert signal.getsignal(signal.SIGINT) == before


def test_who_stops_listening_ends_the_processes() -> None:
    with closing(workers.map_unordered(where, [0, 1, 2], 2)) as made:
        next(made)
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_is_an_error_of_one_line() -> None:
    with pytest.raises(UserError, match=r"^a worker process died \(out of memory\?\): "):
        list(workers.map_unordered(die, [1, 1], 2))
