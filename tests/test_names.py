"""Names of tasks and modalities of any script and length, from a features file to files and back."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

import worlds
from commands import Run
from engine.errors import UserError
from engine.ingest.setup import WorkspaceOptions
from engine.types import MethodName, TrainSettings
from evaluations import evaluated
from indexer.evaluation import trec
from indexer.evaluation.protocol import EvalSettings
from indexer.serving import export, reindex
from indexer.serving.wanted import ServingRequest
from training import lesson

LONG = "深度" * 100
MODALITIES = ("a", "a-b", "b-c", "c", LONG, "x/y.z = w+")
TASKS = ("Sky", "sky", "con", "図" * 200)
METHODS: Sequence[MethodName] = ("dns", "dns", "derpp", "derpp")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace of odd names, a lesson a task; to be read only."""
    root, draw = tmp_path_factory.mktemp("odd"), np.random.default_rng(0)
    base = draw.normal(size=(40, 8))
    arrays = {m: (base + draw.normal(0, 0.1, base.shape)).astype(np.float32) for m in MODALITIES}
    splits = ["train"] * 28 + ["test"] * 12
    np.savez(root / "odd.npz", task=[TASKS[n % 4] for n in range(40)], split=splits, **arrays)  # type: ignore[arg-type]
    for task, method in zip(TASKS, METHODS, strict=True):
        settings = TrainSettings(task, method, form="linear", epochs=1, batch_size=4)
        lesson.learn(root / ".mneme", [root / "odd.npz"], WorkspaceOptions(), settings)
    worlds.index(root, root / "odd.npz", policy="aligned")
    return root


def test_every_shard_has_a_folder_of_its_own_where_case_is_not_told_apart(odd: Path) -> None:
    paths = [shard.path for shard in worlds.opened(odd).manifest.served.shards]
    groups = {path.rpartition("/")[0].lower() for path in paths}
    assert len(groups) == len(TASKS) * len(MODALITIES)
    assert max(len(part) for path in paths for part in path.split("/")) <= 60


def test_an_export_tells_every_name_as_it_is(odd: Path, tmp_path: Path) -> None:
    exported = export.export(odd / ".mneme", tmp_path / "out").files
    assert {(file.task, file.modality) for file in exported} == {(t, m) for t in TASKS for m in MODALITIES}
    assert len({file.file.lower() for file in exported}) == len(exported)
    assert {unquote(f.file.partition(".")[0]) for f in exported if f.task == "sky"} == {"sky"}


def test_runs_are_listed_with_every_name_as_it_is(odd: Path, tmp_path: Path) -> None:
    with evaluated(odd, EvalSettings(("matched",), ("raw",), (1,), details=False)) as evaluation:
        trec.write(evaluation, tmp_path)
        directions = {(trial.query, trial.target) for trial in evaluation.trials}
    runs = json.loads((tmp_path / "manifest.json").read_bytes())["runs"]
    assert {(run["query"], run["target"]) for run in runs} == directions
    assert {target for _, target in directions} == set(MODALITIES)
    assert ("x/y.z = w%2B", "a-b") in directions  # a + joins the parts of a query
    assert {path.name for path in tmp_path.glob("*.run")} == {run["file"] for run in runs}
    lines = [line.split() for path in tmp_path.glob("*.run") for line in path.read_text().splitlines()]
    assert {len(line) for line in lines} == {6}
    assert {line[5] for line in lines} == {run["tag"] for run in runs}
    assert {unquote(line[0].partition(":")[0]) for line in lines} == set(TASKS)


def test_a_direction_that_may_be_one_of_two_is_refused(odd: Path) -> None:
    with pytest.raises(UserError) as caught:
        reindex.reindex(odd / ".mneme", ServingRequest(None, {"a-b-c": "matched"}))
    assert str(caught.value) == "direction 'a-b-c' may be a-b%2Dc or a%2Db-c: write it like that"


def test_a_direction_is_given_its_policy_alone(odd: Path, tmp_path: Path, run: Run) -> None:
    root = worlds.copied(odd, tmp_path)
    arguments = ("--policy", "a%2Db-c=matched", "--policy", f"x/y.z = w+-{LONG}=matched")
    told = run("reindex", *arguments, "-w", root, "--json")
    assert told.json["policies"] == {"a%2Db-c": "matched", f"x/y.z = w+-{LONG}": "matched"}
    served = worlds.opened(root).manifest.served.directions
    own = {(one.query, one.target) for one in served if one.policy == "matched"}
    assert own == {("a-b", "c"), ("x/y.z = w+", LONG)}


def test_a_plain_name_of_two_directions_that_a_workspace_has_from_before_holds_for_both(
    odd: Path, tmp_path: Path
) -> None:
    root = worlds.copied(odd, tmp_path)
    workspace = worlds.opened(root)
    served = replace(workspace.manifest.served, policies={"a-b-c": "matched"})
    workspace.with_manifest(replace(workspace.manifest, served=served))
    worlds.index(root, odd / "odd.npz")
    directions = worlds.opened(root).manifest.served.directions
    own = {(one.query, one.target) for one in directions if one.policy == "matched"}
    assert own == {("a-b", "c"), ("a", "b-c")}


def test_shards_stay_in_folders_that_were_called_otherwise(odd: Path, tmp_path: Path) -> None:
    root = worlds.copied(odd, tmp_path)
    workspace = worlds.opened(root)
    served = workspace.manifest.served
    before = tuple(replace(shard, path=shard.path.replace("~", "-")) for shard in served.shards)
    for old, now in zip(before, served.shards, strict=True):
        (workspace.shards / old.path).parent.mkdir(parents=True, exist_ok=True)
        (workspace.shards / now.path).rename(workspace.shards / old.path)
    workspace.with_manifest(replace(workspace.manifest, served=replace(served, shards=before)))
    assert worlds.index(root, odd / "odd.npz").shards_built == 0
    assert worlds.opened(root).manifest.served.shards == before
