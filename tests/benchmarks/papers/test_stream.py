import json
from pathlib import Path

import pytest

from benchmarks.papers import stream


def test_an_array_is_read_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHUNK", 3)
    entries = [{"n": n, "text": "a, ]} b"} for n in range(5)]
    (tmp_path / "a.json").write_text(json.dumps(entries, indent=1) + "\n")
    assert list(stream.each(tmp_path / "a.json", dict)) == entries


def test_an_empty_array_has_no_entries(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(" [ ]")
    assert list(stream.each(tmp_path / "a.json", dict)) == []
