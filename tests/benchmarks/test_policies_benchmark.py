import argparse
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import policies, streams
from benchmarks.papers.tables import Row
from benchmarks.streams import STREAMS, Stream
from studies.sweeps import spec


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
    source, tasks = streams.made(STREAMS[name], data, to)
    return [json.loads(line) for line in (source / "metadata.jsonl").read_text().splitlines()], tasks


def test_a_pack_cut_at_random_has_the_same_rows_in_five_tasks_of_one_size(data: Path, tmp_path: Path) -> None:
    rows, tasks = dealt("scenes-at-random", data, tmp_path / "cut")
    assert {row["id"] for row in rows} == {f"r{n}" for n in range(80)}
    assert Counter(row["task"] for row in rows) == dict.fromkeys(tasks, 16)


def test_a_pack_is_dealt_the_same_way_every_time(data: Path, tmp_path: Path) -> None:
    assert dealt("scenes-at-random", data, tmp_path / "a") == dealt("scenes-at-random", data, tmp_path / "b")


def test_few_are_20_to_train_on_and_5_to_validate(data: Path, tmp_path: Path) -> None:
    rows, _ = dealt("scenes-few", data, tmp_path / "few")
    found = Counter((row["task"], row["split"]) for row in rows)
    assert found == {("t0", "train"): 20, ("t0", "val"): 5, ("t1", "train"): 20, ("t1", "val"): 5}


def test_sevenths_come_round_after_round_and_keep_their_domain(data: Path, tmp_path: Path) -> None:
    rows, tasks = dealt("scenes-49", data, tmp_path / "many")
    assert tasks[:4] == ["t0-0", "t1-0", "t0-1", "t1-1"]
    assert {row["task"] for row in rows} == set(tasks)
    assert all(row["task"][:2] == f"t{int(row['id'][1:]) // 40}" for row in rows)


def test_another_order_asks_for_the_same_tasks(data: Path, tmp_path: Path) -> None:
    stream = Stream("scenes", 10, "pair", (1, 0))
    assert streams.made(stream, data, tmp_path) == (data / "scenes", ["t1", "t0"])


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("finetune", policies.POLICIES),
        ("joint", ("reindex",)),
        ("experts", ("matched", "auto")),
        ("ewc", policies.TELLING),
    ],
)
def test_a_sweep_asks_what_its_method_is_meant_for(
    method: str, asked: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    given = argparse.Namespace(seeds=2, others=1, epochs=3)
    path = tmp_path / "spec.toml"
    path.write_text(policies._spec(data / "scenes", ["t0", "t1"], STREAMS["scenes"], method, given))
    runs = spec.load(path).runs
    assert {(run.method, tuple(run.setting.policies)) for run in runs} == {(method, asked)}
    assert {tuple(run.setting.merges) for run in runs} == {("raw", "routed")}
    assert len(runs) == (2 if method in policies.USUAL else 1)


def test_with_many_tasks_no_map_is_fitted_for_every_two_heads(data: Path, tmp_path: Path) -> None:
    given, path = argparse.Namespace(seeds=1, others=1, epochs=3), tmp_path / "spec.toml"
    tasks = [f"t{n}" for n in range(49)]
    path.write_text(policies._spec(data / "scenes", tasks, STREAMS["scenes"], "finetune", given))
    assert [tuple(run.setting.policies) for run in spec.load(path).runs] == [policies.TELLING]


def rows(table: str, **means: float) -> list[Row]:
    names = {"re": "reindex", "no": "no-reindex", "matched": "matched", "auto": "auto"}
    return [
        Row(table, f"finetune, {names[name]}", seed, {"recall": mean + seed / 100})
        for name, mean in means.items()
        for seed in (0, 1)
    ]


def hits(table: str, **found: list[int]) -> policies.Hits:
    names = {"re": "reindex", "no": "no-reindex", "matched": "matched", "auto": "auto"}
    return {(table, f"finetune, {names[name]}"): {0: [ranks], 1: [ranks]} for name, ranks in found.items()}


def test_auto_is_held_beside_the_best_fixed_policy() -> None:
    table = "text to image, task known"
    asked = hits(table, re=[0, 0], no=[1, 1], matched=[0, 2], auto=[0, 9])
    found = list(policies.gaps(asked, rows(table, re=0.3, no=0.5, matched=0.4, auto=0.45)))
    (auto,) = (gap for gap in found if gap["first"] == "finetune, auto")
    assert (auto["second"], auto["difference"]) == ("finetune, no-reindex", -0.5)


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


def test_only_queries_that_were_asked_count_and_rank_0_is_nothing_found() -> None:
    one = {"query": "text", "target": "image", "policy": "auto", "merge": None, "task_known": True}
    run = {"method": "ewc", "seed": 1, "results": [{**one, "ranks": [[], [0, 3]]}]}
    found = policies.hits_of([run])
    first, second = policies._shared(*[found["text to image, task known", "ewc, auto"]] * 2)
    assert [held.tolist() for held in (*first, *second)] == [[[False, True]], [[False, True]]]


def test_every_stream_names_a_way_to_judge() -> None:
    assert {(stream.k, stream.relevance) for stream in STREAMS.values()} == {(10, "pair"), (1, "label")}
