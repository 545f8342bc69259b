"""What many tests are given: a backbone that reads any bytes at once with its store and loader, and `mneme`."""

import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

import cli
import worlds
from commands import Completed
from engine.backbones import Features, Prepared
from engine.decoding import pool
from engine.decoding.jobs import Decode, here
from engine.decoding.limits import DecodingLimits
from engine.decoding.process import Process, command, start
from engine.errors import Unreadable
from engine.ingest.encoding import Loader
from engine.storage.store import Store
from engine.types import Modality

WIDTH = 8


@dataclass
class FakeBackbone:
    """Features are drawn from the bytes' digest; bytes that begin with `broken` are refused.

    Attributes:
        read: what was prepared, in the order in which it was asked for.
    """

    spec: str = "fake"
    id: str = "fake-1"
    aligned: bool = True
    digest: str = ""
    read: list[bytes] = field(default_factory=list)

    @property
    def widths(self) -> Mapping[Modality, int]:
        return dict.fromkeys(("image", "text", "audio"), WIDTH)

    def prepare(self, modality: Modality, data: bytes, decode: Decode = here) -> Prepared:
        self.read.append(data)
        if data.startswith(b"broken"):
            raise Unreadable("broken on purpose")
        seed = int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
        return np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)

    def encode(self, modality: Modality, batch: Sequence[Prepared]) -> Features:
        return np.stack([np.asarray(row, np.float32) for row in batch])


@pytest.fixture(scope="session", autouse=True)
def kept_decoders() -> Iterator[None]:
    """Keep processes that decode for the next test that wants such ones: starting one takes half a second."""
    kept: list[Process] = []
    close = Process.close

    def kept_or_started(limits: DecodingLimits, arguments: Sequence[str]) -> Process:
        alike = [process for process in kept if process.child.args == arguments and process.is_usable()]
        for process in alike[:1]:
            kept.remove(process)
        return alike[0] if alike else start(limits, arguments)

    def keep_or_close(process: Process) -> None:
        if process.is_ready and process.is_usable() and process.child.args == command(process.limits):
            kept.append(process)
        else:
            close(process)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pool, "start", kept_or_started)
        patched.setattr(Process, "close", keep_or_close)
        yield
    for process in kept:
        process.close()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace of three tasks, each learned and then indexed; to be read only."""
    return worlds.trained(tmp_path_factory.getbasetemp())


@pytest.fixture
def world(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of that workspace, to be changed."""
    return worlds.copied(trained, tmp_path)


@pytest.fixture
def backbone() -> FakeBackbone:
    return FakeBackbone()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", readonly=False) as opened:
        yield opened


@pytest.fixture
def loader(store: Store, backbone: FakeBackbone) -> Loader:
    return Loader(store, lambda modality: backbone)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Completed]:
    """Return a function that runs `mneme` with arguments, in an empty folder, and says what came of it."""

    def mneme(*arguments: str | Path, stdin: bytes = b"") -> Completed:
        monkeypatch.setattr(sys, "argv", ["mneme", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="ascii", newline="\n"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        return Completed(int(left.value.code or 0), *capsys.readouterr())

    monkeypatch.delenv("MNEME_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    return mneme
