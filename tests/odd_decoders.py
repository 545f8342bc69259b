"""Processes that decode as they are told by the bytes: some crash, hang or take all memory."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.decoding import worker
from engine.decoding.limits import DecodingLimits
from engine.errors import Unreadable

WIDTH = 8
CODE = "import sys; sys.path[:] = sys.argv[2:]; import odd_decoders; odd_decoders.main()"

kept: list[object] = []


def command(limits: DecodingLimits, code: str = CODE) -> list[str]:
    """Return the command of a process that decodes oddly."""
    tests = str(Path(__file__).parent)
    return [sys.executable, "-c", code, json.dumps(asdict(limits)), *sys.path, tests]


def at_once(limits: DecodingLimits) -> list[str]:
    """Return the command of one that ends as soon as its time is up, whoever watches."""
    return command(
        limits, CODE.replace("odd_decoders.main", "odd_decoders.worker.GRACE = 0; odd_decoders.main")
    )


def numbers(data: bytes) -> NDArray[np.float32]:
    """Return what comes of bytes that say nothing odd (WIDTH,)."""
    seed = int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
    return np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)


def main() -> None:
    """Serve a job that does what the first word of the bytes says, of the rest."""
    worker.serve({"samples": lambda data, side, limits: decoded(data)})


def decoded(data: bytes) -> NDArray[Any]:
    word, _, rest = data.partition(b" ")
    return ODD[word](rest) if word in ODD else numbers(data)


def kill(how: bytes) -> NDArray[Any]:
    """Say the words that follow the name of a signal, and die of that."""
    name, _, words = how.partition(b" ")
    os.write(2, words)
    os.kill(os.getpid(), signal.Signals[name.decode()])
    return numbers(name)


def show(path: bytes) -> NDArray[Any]:
    """Open a named pipe, as whoever waits at its other end sees, and keep it open while the process lives."""
    kept.append(Path(os.fsdecode(path)).open("wb"))  # noqa: SIM115
    return pid(path)


def hang(path: bytes) -> NDArray[Any]:
    if path:
        show(path)
    while True:
        time.sleep(3600)


def take(size: bytes) -> NDArray[Any]:
    return np.array([len(bytearray(int(size)))])


def keep(size: bytes) -> NDArray[Any]:
    kept.append(bytearray(int(size)))
    return pid(size)


def pid(data: bytes) -> NDArray[Any]:
    return np.array([os.getpid()])


def say(words: bytes) -> NDArray[Any]:
    os.write(1, words + b" on stdout\n")
    os.write(2, words + b" on stderr\n")
    return numbers(words)


def refuse(reason: bytes) -> NDArray[Any]:
    raise Unreadable(reason.decode())


def fail(reason: bytes) -> NDArray[Any]:
    raise AttributeError(reason.decode())


ODD: Mapping[bytes, Callable[[bytes], NDArray[Any]]] = {
    b"kill": kill,
    b"show": show,
    b"hang": hang,
    b"take": take,
    b"keep": keep,
    b"pid": pid,
    b"say": say,
    b"refuse": refuse,
    b"fail": fail,
}
