import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import odd_decoders
from engine.backbones import Features, Prepared
from engine.decoding.jobs import Decode, Job, here
from engine.decoding.pool import Decoders, decoders
from engine.ids import item_id
from engine.ingest.encoding import CHUNK, Loader
from engine.ingest.ingest import ingest
from engine.storage.store import Store
from engine.types import Modality, Skipped


@dataclass(frozen=True)
class OddBackbone:
    """Features are what a process makes of a sound that tells it what to do."""

    spec: str = "odd"
    id: str = "odd-1"
    aligned: bool = True
    digest: str = ""

    @property
    def widths(self) -> Mapping[Modality, int]:
        return {"audio": odd_decoders.WIDTH}

    def prepare(self, modality: Modality, data: bytes, decode: Decode = here) -> Prepared:
        return decode(Job("samples"), data)

    def encode(self, modality: Modality, batch: Sequence[Prepared]) -> Features:
        return np.stack([np.asarray(row, np.float32) for row in batch])


@pytest.fixture
def odd() -> Iterator[Decoders]:
    with decoders(command=odd_decoders.command) as pool:
        yield pool


def loading(store: Store, pool: Decoders) -> Loader:
    return Loader(store, lambda modality: OddBackbone(), decoders=pool)


def sounds(folder: Path, *contents: bytes) -> Path:
    """Return a folder of files 000.wav, 001.wav and so on."""
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(contents):
        (folder / f"{number:03d}.wav").write_bytes(content)
    return folder


def test_a_file_that_crashes_its_decoder_is_skipped_and_all_others_land_as_their_own(
    store: Store, odd: Decoders, tmp_path: Path
) -> None:
    whole = [b"sound %d" % number for number in range(9)]
    source = sounds(tmp_path / "sounds", *whole[:4], b"kill SIGSEGV", *whole[4:])
    report = ingest(loading(store, odd), source)
    assert report.skipped == [Skipped(str(source / "004.wav"), "the decoder crashed (SIGSEGV)")]
    assert report.added == len(whole)
    for data in whole:
        found = store.features([item_id("audio", data)], "odd-1")
        assert_array_equal(found[0], odd_decoders.numbers(data))


def test_what_a_decoder_prints_is_a_note(store: Store, odd: Decoders, tmp_path: Path) -> None:
    source = sounds(tmp_path / "sounds", b"say odd", b"short")
    notes = [*map(str, ingest(loading(store, odd), source).told)]
    assert notes == ["a decoder says: odd on stdout", "a decoder says: odd on stderr"]


def test_a_second_run_starts_no_process(store: Store, odd: Decoders, tmp_path: Path) -> None:
    source = sounds(tmp_path / "sounds", b"one", b"two")
    ingest(loading(store, odd), source)
    (source / "one.wav").write_bytes(b"one")  # a copy has to be read, but not to be decoded
    with decoders(command=odd_decoders.command) as pool:
        report = ingest(loading(store, pool), source)
        assert (report.unchanged, report.added, pool._running) == (2, 1, [])


def test_an_interrupt_does_not_wait_for_what_is_being_decoded(
    store: Store, odd: Decoders, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    hanging = b"hang " + os.fsencode(tmp_path / "pipe")
    source = sounds(tmp_path / "sounds", hanging, *(b"%d" % number for number in range(CHUNK)))

    def interrupt(done: int, total: int) -> None:
        if done == CHUNK:
            (tmp_path / "pipe").open("rb").close()  # waits until one hangs
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(loading(store, odd), source, progress=interrupt)
    assert odd._running == []
