import argparse
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import policies
from benchmarks.papers.tables import Row
from benchmarks.policies import STREAMS, Stream
from studies import spec


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "scenes"
    folder.mkdir()
    rows = [{"id": f"r{n}", "task": f"t{n // 10}", "text": f"word {n}"} for n in range(20)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "tasks.json").write_text(json.dumps({"order": ["t0", "t1"]}))
    return folder


def test_a_cut_pack_has_the_same_rows_in_five_tasks_of_one_size(pack: Path, tmp_path: Path) -> None:
    found = policies.cut(pack, tmp_path / "cut")
    rows = [json.loads(line) for line in (found / "metadata.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} == {f"r{n}" for n in range(20)}
    assert Counter(row["task"] for row in rows) == {f"part{n}": 4 for n in range(5)}


def test_the_cut_is_the_same_every_time(pack: Path, tmp_path: Path) -> None:
    one, other = (policies.cut(pack, tmp_path / name) / "metadata.jsonl" for name in ("one", "other"))
    assert one.read_text() == other.read_text()


def test_the_sweep_asks_every_policy_and_merge_of_methods_that_go_on(pack: Path, tmp_path: Path) -> None:
    given = argparse.Namespace(methods=["finetune", "joint", "experts"], seeds=2, epochs=3)
    path = tmp_path / "spec.toml"
    path.write_text(policies._spec(pack, ["t0", "t1"], Stream("scenes", 10, "pair"), given))
    runs = spec.load(path).runs
    asked = {run.method: tuple(run.setting.policies) for run in runs}
    assert asked == {
        "finetune": policies.POLICIES,
        "joint": ("reindex",),
        "experts": ("matched", "auto"),
    }
    assert {tuple(run.setting.merges) for run in runs} == {("raw", "routed")}
    assert len(runs) == 6


def rows(table: str, **means: float) -> list[Row]:
    names = {"re": "reindex", "no": "no-reindex", "matched": "matched", "auto": "auto"}
    return [
        Row(table, f"finetune, {names[name]}", seed, {"recall": mean + seed / 100})
        for name, mean in means.items()
        for seed in (0, 1)
    ]


def test_auto_is_held_beside_the_best_fixed_policy() -> None:
    found = list(policies.gaps(rows("text to image, task known", re=0.3, no=0.5, matched=0.4, auto=0.45)))
    (auto,) = (gap for gap in found if gap["first"] == "finetune, auto")
    assert (auto["second"], auto["difference"]) == ("finetune, no-reindex", -0.05)


def test_a_run_gives_a_row_for_every_policy_and_merge() -> None:
    one = {"query": "text", "target": "image", "policy": "auto", "final": 0.5, "forgetting": None}
    run = {
        "method": "ewc",
        "seed": 1,
        "results": [
            {**one, "merge": "routed", "task_known": False},
            {**one, "merge": None, "task_known": True},
        ],
    }
    assert [(row.table, row.method) for row in policies.rows_of(run)] == [
        ("text to image, task unknown", "ewc, auto, routed"),
        ("text to image, task known", "ewc, auto"),
    ]


def test_every_stream_names_a_way_to_judge() -> None:
    assert {(stream.k, stream.relevance) for stream in STREAMS.values()} == {(10, "pair"), (1, "label")}
