import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import streams
from benchmarks.streams import STREAMS, Stream


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "scenes"
    folder.mkdir(parents=True)
    rows = [
        {"id": f"r{n}", "task": f"t{n // 40}", "split": "val" if n % 5 == 0 else "train", "text": f"word {n}"}
        for n in range(80)
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "tasks.json").write_text(json.dumps({"order": ["t0", "t1"]}))
    return folder.parent


def dealt(name: str, data: Path, to: Path) -> tuple[list[dict[str, str]], list[str]]:
    source, tasks = streams.prepare(STREAMS[name], data, to)
    return [json.loads(line) for line in (source / "metadata.jsonl").read_text().splitlines()], tasks


def test_a_pack_cut_at_random_has_the_same_rows_in_five_tasks_of_one_size(data: Path, tmp_path: Path) -> None:
    rows, tasks = dealt("scenes-at-random", data, tmp_path / "cut")
    assert {row["id"] for row in rows} == {f"r{n}" for n in range(80)}
    assert Counter(row["task"] for row in rows) == dict.fromkeys(tasks, 16)


def test_a_pack_is_dealt_the_same_way_every_time(data: Path, tmp_path: Path) -> None:
    assert dealt("scenes-at-random", data, tmp_path / "a") == dealt("scenes-at-random", data, tmp_path / "b")


def test_few_are_20_to_train_on_and_5_to_validate(data: Path, tmp_path: Path) -> None:
    rows, _ = dealt("scenes-few", data, tmp_path / "few")
    counts = Counter((row["task"], row["split"]) for row in rows)
    assert counts == {("t0", "train"): 20, ("t0", "val"): 5, ("t1", "train"): 20, ("t1", "val"): 5}


def test_sevenths_come_round_after_round_and_keep_their_domain(data: Path, tmp_path: Path) -> None:
    rows, tasks = dealt("scenes-49", data, tmp_path / "many")
    assert tasks[:4] == ["t0-0", "t1-0", "t0-1", "t1-1"]
    assert {row["task"] for row in rows} == set(tasks)
    assert all(row["task"][:2] == f"t{int(row['id'][1:]) // 40}" for row in rows)


def test_another_order_asks_for_the_same_tasks(data: Path, tmp_path: Path) -> None:
    stream = Stream("scenes", 10, "pair", (1, 0))
    assert streams.prepare(stream, data, tmp_path) == (data / "scenes", ["t1", "t0"])


def test_every_stream_says_how_it_is_judged() -> None:
    assert {(stream.k, stream.relevance) for stream in STREAMS.values()} == {(10, "pair"), (1, "label")}
