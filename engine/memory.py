"""Memory that runs out where libraries cannot say so: they crash, end the process, or wait for ever."""

import ctypes
import mmap
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NoReturn

SCARCE = "error: no memory is left: end other programs or raise the limit (ulimit -v)"
OF_LAPACK = 64 << 20
"""Bytes: OpenBLAS takes 32 MiB for each thread that solves equations, once, and tries again and again."""
HARDLY_ANY = 128 << 20
"""Bytes of address space: fewer are too few for the next library."""
CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP")
"""The signals by which libraries end a process that gets no memory."""
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if sys.platform == "linux" else ()
INTERRUPTED = 130
"""The status of a process that an interrupt ended at once."""
PR_SET_PDEATHSIG = 1


def require(size: int) -> None:
    """Raise MemoryError where so many bytes cannot be had."""
    try:
        mmap.mmap(-1, size).close()
    except OSError:
        raise MemoryError from None


def is_limited() -> bool:
    """Say whether the system limits the address space of this process."""
    if sys.platform != "linux":
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def run_watched(run: Callable[[], object]) -> NoReturn:
    """Run in another process, and say in one line that memory was lacking where a library ended it for that.

    OpenBLAS takes least memory with one thread.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    heard, told = os.pipe()
    here = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until somebody handles them
    child = os.fork()
    if child == 0:
        os.close(heard)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        _end_with(here)
        _silence_libraries()
        sys.excepthook = _explain
        try:
            run()
            raise SystemExit
        finally:
            os.write(told, b".")
    os.close(told)
    for number in PASSED_ON:
        _pass_on(number, child)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    is_told = os.read(heard, 1) == b"." or status == INTERRUPTED
    if status < 0 and signal.Signals(-status).name not in CRASHES:
        raise SystemExit(128 - status)
    if status < 0 or not is_told:
        print(SCARCE, file=sys.stderr)
        status = 1
    raise SystemExit(status)


def _end_with(parent: int) -> None:
    """Let this process be killed when the one that started it is."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _silence_libraries() -> None:
    """Let nobody but Python print to stderr, where libraries say, more often than once, that they get no memory."""
    try:
        own = os.dup(2)
    except OSError:  # closed
        return
    stream = os.fdopen(own, "w", buffering=1)
    for name in ("stderr", "__stderr__"):
        setattr(sys, name, stream)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that nobody expected; where hardly any memory was left, that is what it comes of."""
    import resource

    status = os.open("/proc/self/status", os.O_RDONLY)
    peak = int(os.read(status, 1 << 16).partition(b"VmPeak:")[2].split()[0]) << 10  # it is told in KiB
    if peak + HARDLY_ANY > resource.getrlimit(resource.RLIMIT_AS)[0]:
        print(SCARCE, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _pass_on(number: signal.Signals, child: int) -> None:
    """Let a signal end the child; an interrupt reaches it by itself."""
    if signal.getsignal(number) is signal.SIG_IGN:
        return

    def end(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else end)
