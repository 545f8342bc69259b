import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from select import select

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import odd_decoders
from engine import media
from engine.decoding.jobs import Job, here
from engine.decoding.limits import DecodingLimits
from engine.decoding.messages import LENGTHS
from engine.decoding.pool import WORTH_ANOTHER, Decoders, decoders
from engine.errors import Unreadable, UserError
from made_media import photo, recording, saved, sound

ODD = Job("samples")


@pytest.fixture
def odd() -> Iterator[Decoders]:
    with decoders(command=odd_decoders.command) as pool:
        yield pool


@pytest.fixture
def named_pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def reason(pool: Decoders, data: bytes) -> str:
    with pytest.raises(Unreadable) as refused:
        pool.decode(ODD, data)
    return str(refused.value)


def pid(pool: Decoders) -> int:
    return int(pool.decode(ODD, b"pid")[0])


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_media_come_out_as_they_do_here() -> None:
    picture, heard = saved(photo()), recording("FLAC", samples=sound())
    jobs = [(Job("pixels", 64), picture), (Job("describe picture"), picture), (Job("describe sound"), heard)]
    with decoders() as pool:
        for job, data in jobs:
            apart, same = pool.decode(job, data), here(job, data)
            assert apart.dtype == same.dtype
            assert_allclose(apart, same, atol=1e-5)


def test_what_is_odd_about_a_medium_is_flagged_for_whoever_asked() -> None:
    flat = saved(photo().resize((1, 1)).resize((20, 20)))
    with decoders() as pool, media.collected() as flags:
        pool.decode(Job("pixels", 64), flat)
    assert flags == {"constant"}


def test_a_refusal_names_the_setting_of_the_limit_that_was_met() -> None:
    with decoders(DecodingLimits(max_pixels=10)) as pool, pytest.raises(Unreadable) as refused:
        pool.decode(Job("pixels", 64), saved(photo()))
    assert str(refused.value) == "96 x 72 pixels; the limit is `max_pixels=10`, which can be raised"
    assert [str(setting) for setting in refused.value.settings] == ["`max_pixels=10`"]


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_a_decoder_that_crashes_costs_one_medium(odd: Decoders, name: str) -> None:
    assert reason(odd, f"kill {name}".encode()) == f"the decoder crashed ({name})"
    assert_array_equal(odd.decode(ODD, b"next"), odd_decoders.numbers(b"next"))


def test_a_decoder_that_raises_what_nobody_expects_costs_one_medium(odd: Decoders) -> None:
    assert reason(odd, b"fail no such tag") == "the decoder failed: AttributeError: no such tag"
    assert_array_equal(odd.decode(ODD, b"next"), odd_decoders.numbers(b"next"))
    assert odd.printed() == []  # no traceback


def test_a_decoder_that_hangs_is_ended_and_the_limit_named() -> None:
    with decoders(DecodingLimits(max_time=0.2), odd_decoders.command) as pool:
        told = reason(pool, b"hang ")
    assert told == "took longer than 0.2 s to decode; the limit is `max_time=0.2`, which can be raised"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux only")
def test_memory_beyond_the_limit_is_refused_and_the_limit_named() -> None:
    with decoders(DecodingLimits(max_memory=1 << 28), odd_decoders.command) as pool:
        assert pool.decode(ODD, b"take %d" % (1 << 27))[0] == 1 << 27
        told = reason(pool, b"take %d" % (1 << 29))
        assert (
            told
            == "takes too much memory to decode; the limit is `max_memory=268435456`, which can be raised"
        )
        assert pool.decode(ODD, b"take %d" % (1 << 27))[0] == 1 << 27


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted on Linux only")
def test_a_process_that_keeps_memory_is_replaced(odd: Decoders) -> None:
    first = odd.decode(ODD, b"keep %d" % (1 << 10))[0]
    assert odd.decode(ODD, b"keep %d" % (1 << 30))[0] == first
    assert pid(odd) != first


def test_a_process_killed_at_work_costs_the_medium_it_is_at(odd: Decoders, named_pipe: Path) -> None:
    working = pid(odd)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(reason, odd, b"hang " + os.fsencode(named_pipe))
        named_pipe.open("rb").close()  # waits for the process
        os.kill(working, signal.SIGKILL)
    assert (
        asked.result() == "the decoder was killed (SIGKILL), as happens where the machine has no memory left"
    )


def test_a_process_killed_between_media_costs_none(odd: Decoders) -> None:
    process = odd._idle[0] if pid(odd) else None
    assert process
    os.kill(process.child.pid, signal.SIGKILL)
    process.child.wait()
    assert_array_equal(odd.decode(ODD, b"next"), odd_decoders.numbers(b"next"))


def test_an_answer_that_makes_no_sense_costs_one_medium() -> None:
    ready = LENGTHS.pack(2, 0) + b"{}"
    code = f"import os, signal; os.write(1, {ready!r}); os.read(0, 1); os.write(1, b'x' * 99); signal.pause()"
    with decoders(command=lambda limits: [sys.executable, "-c", code]) as pool:
        assert reason(pool, b"data") == "the decoder crashed: its answer makes no sense"


def test_a_refusal_and_a_result_leave_the_process_in_place(odd: Decoders) -> None:
    first = pid(odd)
    assert reason(odd, b"refuse not a sound") == "not a sound"
    assert pid(odd) == first


def test_what_decoders_print_is_kept_line_by_line_until_it_is_asked_for(
    odd: Decoders, capfd: pytest.CaptureFixture[str]
) -> None:
    for words in (b"say one", b"say two\n\n", b"say one", b"quiet"):
        odd.decode(ODD, words)
    assert odd.printed() == ["one on stdout", "one on stderr", "two", "on stdout", "on stderr"]
    assert odd.printed() == []
    assert capfd.readouterr() == ("", "")


def test_what_is_printed_before_a_crash_is_kept(odd: Decoders) -> None:
    assert reason(odd, b"kill SIGSEGV and say so") == "the decoder crashed (SIGSEGV)"
    assert odd.printed() == ["and say so"]


def test_lines_without_end_are_cut_off(odd: Decoders) -> None:
    odd.decode(ODD, b"say " + b"".join(b"%d\n" % i for i in range(5_000)))
    assert len(odd.printed()) == 1_000


def test_what_mpg123_prints_about_an_mp3_cut_short_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    data = recording("MP3", samples=sound(seconds=8))
    with decoders() as pool:
        pool.decode(ODD, data[: len(data) // 2])
        (line,) = pool.printed()
    assert "Xing stream size" in line
    assert capfd.readouterr().err == ""


def test_no_process_is_started_where_nothing_is_decoded(odd: Decoders) -> None:
    assert odd._running == []


def test_a_few_media_are_decoded_by_one_process_and_many_by_several() -> None:
    with decoders(command=odd_decoders.command) as pool, ThreadPoolExecutor(4) as threads:
        pool.most = 2
        few = {int(row[0]) for row in threads.map(lambda data: pool.decode(ODD, data), [b"pid"] * 8)}
        assert len(few) == 1
        list(threads.map(lambda data: pool.decode(ODD, data), [b"pid"] * 3 * WORTH_ANOTHER))
        assert len(pool._running) == 2


def test_results_belong_to_the_media_they_are_of(odd: Decoders) -> None:
    media = [b"medium %d" % number for number in range(40)]
    with ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(lambda data: odd.decode(ODD, data), media))
    assert_array_equal(np.stack(rows), np.stack([odd_decoders.numbers(data) for data in media]))


def test_no_process_is_left_when_the_block_ends() -> None:
    with decoders(command=odd_decoders.command) as pool:
        process = pid(pool)
        assert is_there(process)
    assert not is_there(process)


def test_one_that_hangs_is_ended_too(named_pipe: Path) -> None:
    with ThreadPoolExecutor(1) as thread, decoders(command=odd_decoders.command) as pool:
        asked = thread.submit(reason, pool, b"hang " + os.fsencode(named_pipe))
        named_pipe.open("rb").close()
        (process,) = pool._running
        pool.stop()
        asked.result()
        assert not is_there(process.child.pid)
        assert reason(pool, b"more") == "nothing is decoded any more"
    assert pool._watch
    assert not pool._watch.is_alive()


PARENT = """
import sys
import odd_decoders
from engine.decoding.jobs import Job
from engine.decoding.limits import DecodingLimits
from engine.decoding.pool import decoders
command, seconds, *jobs = sys.argv[1:]
with decoders(DecodingLimits(max_time=float(seconds)), getattr(odd_decoders, command)) as pool:
    for job in jobs:
        pool.decode(Job("samples"), job.encode())
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("command", "seconds", "job"), [("command", "60", "show"), ("at_once", "0.2", "hang")]
)
def test_a_process_ends_by_itself_when_its_parent_is_killed(
    named_pipe: Path, command: str, seconds: str, job: str
) -> None:
    ours = os.pathsep.join(sys.path)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, command, seconds, f"{job} {named_pipe}"],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ours},
    )
    with named_pipe.open("rb") as pipe:
        parent.kill()
        parent.communicate()
        assert select([pipe], [], [], 60) == ([pipe], [], [])
        assert pipe.read() == b""  # nobody holds its other end any more


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\n"
        "from engine.decoding.jobs import Job\n"
        "from engine.decoding.pool import decoders\n"
        "with decoders() as pool:\n"
        "    print(pool.decode(Job('pixels', 64), b'P5 2 1 255 ab').shape)\n"
    )
    (tmp_path / "numpy").mkdir()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=env, cwd=tmp_path, check=False
    )
    assert (done.stdout, done.stderr) == ("once\n(1, 2, 3)\n", "")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["/no/such/python"], "no such file or directory"),
        ([sys.executable, "-c", "raise SystemExit('no numpy here')"], "no numpy here"),
    ],
)
def test_a_process_that_cannot_be_started_is_an_error_and_no_file_is_blamed(
    command: list[str], message: str
) -> None:
    with decoders(command=lambda limits: command) as pool, pytest.raises(UserError) as refused:
        pool.decode(ODD, b"data")
    assert not isinstance(refused.value, Unreadable)
    assert str(refused.value).lower() == f"cannot start a process that decodes media: {message}"
