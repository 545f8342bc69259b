from collections import Counter
from pathlib import Path

import pytest

from engine.ingest.encoding import Loader
from engine.ingest.ingest import ingest
from engine.ingest.matching import hashed_split


def test_the_split_of_a_key_is_what_it_always_was() -> None:
    counts = Counter(hashed_split(f"r{number}") for number in range(1000))  # 80, 10 and 10 % of many
    assert counts == {"train": 796, "val": 98, "test": 106}


@pytest.mark.parametrize("name", ["cafe\u0301", " photos ", "two\u00a0words"])
def test_a_source_whose_name_is_spelled_otherwise_than_its_task_is_of_that_task(
    loader: Loader, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for picture in ("a", "b"):
        (folder / f"{picture}.jpg").write_text(f"photo {picture}")
    ingest(loader, folder)
    (folder / "a.jpg").unlink()
    report = ingest(loader, folder)
    assert (report.unchanged, report.removed, report.told) == (1, 1, [])
