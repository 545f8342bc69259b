import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cli
import worlds
from engine.errors import UserError
from engine.ingest.report import IngestReport
from engine.ingest.setup import WorkspaceOptions
from engine.types import Skipped, TrainSettings
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings
from studies.sweeps import grid, runner, toml_file
from studies.sweeps.runner import Callbacks
from studies.sweeps.spec import Axes, Spec, Step
from training import lesson as lessons
from training.lesson import Outcome

TASKS = ("sky", "life")
AXES = """
[stream]
source = "all.npz"
tasks = ["sky", "life"]
[axes]
method = ["finetune", {name = "joint", method = "joint", last_only = true, policy = ["reindex"]}]
policy = ["reindex", "matched"]
head = ["mlp"]
seed = [0, 1]
[set]
epochs = 2
batch_size = 16
[evaluate]
k = [1]
"""
EVALUATION = EvalSettings(policies=["reindex", "matched"], ks=(1,))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a features file of two tasks and the spec of a sweep over them."""
    folder = tmp_path_factory.mktemp("source")
    worlds.save(folder / "all.npz", [row for task in TASKS for row in worlds.rows(task)])
    (folder / "study.toml").write_text(AXES)
    return folder


@pytest.fixture(scope="module")
def study(source: Path) -> Spec:
    return toml_file.load(source / "study.toml")


@pytest.fixture(scope="module")
def done(source: Path, study: Spec) -> Path:
    """The folder of a sweep that was made in one process; to be read only."""
    out = source / "done"
    runner.begin(study, out)
    runner.run(study, out)
    return out


def figures(out: Path) -> dict[str, Any]:
    """Return what every run came to, less how long it took."""
    records = {file.stem: json.loads(file.read_bytes()) for file in sorted((out / "results").glob("*.json"))}
    return {slug: {**record, "seconds": 0, "lesson_seconds": []} for slug, record in records.items()}


def matrices(record: dict[str, Any]) -> list[Any]:
    return [(r["policy"], r["merge"], r["query"], r["matrix"]) for r in record["results"]]


def by_hand(root: Path, source: Path, settings: TrainSettings, evaluate: EvalSettings) -> list[Any]:
    for task in TASKS:
        lessons.learn(root, [source], WorkspaceOptions(), replace(settings, task=task))
    with open_evaluation(root, evaluate) as evaluation:
        return [(r.policy, r.merge, r.query, r.matrix) for r in evaluation.results()]


def test_a_run_comes_to_what_training_and_evaluating_by_hand_come_to(
    done: Path, source: Path, tmp_path: Path
) -> None:
    settings = TrainSettings("", form="mlp", epochs=2, batch_size=16, seed=1)
    expected = by_hand(tmp_path / ".mneme", source / "all.npz", settings, EVALUATION)
    assert matrices(figures(done)["finetune_infonce_mlp_seed1"]) == expected


def test_where_the_last_lesson_counts_alone_it_comes_to_what_it_does_by_hand(
    done: Path, source: Path, tmp_path: Path
) -> None:
    settings = TrainSettings("", method="joint", form="mlp", epochs=2, batch_size=16)
    expected = by_hand(tmp_path / ".mneme", source / "all.npz", settings, EvalSettings(("reindex",), ks=(1,)))
    swept = matrices(figures(done)["joint_infonce_mlp_seed0"])
    assert [matrix[-1] for *_, matrix in swept] == [matrix[-1] for *_, matrix in expected]


def test_where_the_last_lesson_counts_alone_nothing_before_it_is_judged(done: Path) -> None:
    results = figures(done)["joint_infonce_mlp_seed0"]["results"]
    assert {(r["forgetting"], r["bwt"], r["plasticity"]) for r in results} == {(None, None, None)}
    assert [r["matrix"][0] for r in results] == [[None, None]] * len(results)


def test_the_lessons_before_a_last_one_that_counts_alone_are_of_one_epoch(done: Path) -> None:
    heads = done / "runs/joint_infonce_mlp_seed0/heads"
    epochs = [len((heads / name / "log.jsonl").read_text().splitlines()) for name in ("v0001", "v0002")]
    assert epochs == [1, 2]


def test_the_seeds_of_a_run_differ(done: Path) -> None:
    made = figures(done)
    assert matrices(made["finetune_infonce_mlp_seed0"]) != matrices(made["finetune_infonce_mlp_seed1"])


def test_the_tables_hold_every_training_policy_merge_and_direction(done: Path) -> None:
    rows = json.loads((done / "results.json").read_bytes())["rows"]
    names = ("method", "policy", "merge", "query", "target")
    keys = {tuple(row[name] for name in names) for row in rows}
    trained = [("finetune", "reindex"), ("finetune", "matched"), ("joint", "reindex")]
    directions = [("image", "text"), ("text", "image")]
    assert keys == {(*t, merge, *d) for t in trained for merge in (None, "raw") for d in directions}
    assert len(rows) == len(keys)


def test_all_tables_are_written(done: Path) -> None:
    assert {file.name for file in done.glob("table.*")} == {"table.md", "table.csv", "table.tex"}
    assert (done / "table.md").read_text().startswith("| method | policy | task | direction | R@1 |")


def test_a_record_says_how_long_each_lesson_took_and_what_chance_would_come_to(done: Path) -> None:
    (record, *_) = runner.read_records(done)
    assert len(record["lesson_seconds"]) == len(record["lessons"]) == 2
    assert 0 < sum(record["lesson_seconds"]) < record["seconds"]
    assert all(r["mean_chance"] == pytest.approx(sum(r["chance"]) / 2) for r in record["results"])


def test_records_come_in_the_order_of_their_files(done: Path) -> None:
    names = [(record["method"], record["seed"]) for record in runner.read_records(done)]
    assert names == [("finetune", 0), ("finetune", 1), ("joint", 0), ("joint", 1)]


def test_the_features_stand_on_disk_once(done: Path) -> None:
    stores = {(folder / "store/data.mdb").stat().st_ino for folder in (done / "runs").iterdir()}
    assert stores == {(done / "stored/store/data.mdb").stat().st_ino}


def copied(done: Path, to: Path) -> Path:
    return Path(shutil.copytree(done, to / "out", symlinks=True))


def test_a_resumed_sweep_makes_what_is_missing_and_nothing_else(
    done: Path, study: Spec, tmp_path: Path
) -> None:
    out = copied(done, tmp_path)
    (out / "results/finetune_infonce_mlp_seed1.json").unlink()
    progress: list[tuple[int, int]] = []
    runner.resume(study, out)
    runner.run(study, out, callbacks=Callbacks(runs=lambda made, all_: progress.append((made, all_))))
    assert progress == [(3, 4), (4, 4)]
    assert figures(out) == figures(done)
    assert (out / "results.json").read_bytes() == (done / "results.json").read_bytes()


def test_a_run_that_died_half_way_starts_over(done: Path, study: Spec, tmp_path: Path) -> None:
    out = copied(done, tmp_path)
    (out / "results/finetune_infonce_mlp_seed1.json").unlink()
    manifest = out / "runs/finetune_infonce_mlp_seed1/workspace.json"
    content = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**content, "lessons": content["lessons"][:1]}))
    runner.run(study, out)
    assert figures(out) == figures(done)


def test_what_is_stored_is_not_read_again(done: Path, study: Spec, tmp_path: Path) -> None:
    out = copied(done, tmp_path)
    gone = [Step(tmp_path / "gone.npz", task) for task in TASKS]
    assert runner.run(replace(study, steps=gone), out).runs == 4


def test_a_sweep_that_died_while_it_read_its_sources_reads_on(
    study: Spec, done: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    runner.begin(study, out)
    shutil.copytree(done / "stored", out / "stored")
    (out / "stored" / runner.INGESTED).unlink()
    runner.resume(study, out)
    runner.run(study, out)
    assert figures(out) == figures(done)


def test_what_a_crash_left_half_written_is_no_record(done: Path, study: Spec, tmp_path: Path) -> None:
    out = copied(done, tmp_path)
    (out / "results" / f".finetune_infonce_mlp_seed0.json.{'0' * 32}").write_text("{")
    runner.run(study, out)
    assert len(runner.read_records(out)) == 4


def test_a_sweep_is_begun_where_there_is_none_and_resumed_where_there_is(
    done: Path, study: Spec, tmp_path: Path
) -> None:
    runner.begin_or_resume(study, tmp_path / "out")
    assert (tmp_path / "out" / runner.SPEC).is_file()
    runner.begin_or_resume(study, done)


def test_rows_that_cannot_be_used_are_told(source: Path, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    rows = [{"text": "a", "task": "sky"}, {"image": "gone.jpg", "text": "b", "task": "sky"}]
    (tmp_path / "pack/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    skipped: list[Skipped] = []
    study = Spec([Step(tmp_path / "pack", "sky")], grid.runs(Axes(), {}, EvalSettings()), ["builtin"])
    runner.begin(study, tmp_path / "out")
    runner.run(study, tmp_path / "out", callbacks=Callbacks(skipped=skipped.extend))
    assert [Path(row.path).name for row in skipped] == ["gone.jpg"]


def refusal(begin: Any, study: Spec, out: Path) -> str:
    with pytest.raises(UserError) as caught:
        begin(study, out)
    return str(caught.value)


def test_a_folder_that_holds_something_is_not_begun_in(study: Spec, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear all")
    expected = f"{tmp_path} exists: go on there with `resume`, or give another `out`"
    assert refusal(runner.begin, study, tmp_path) == expected


def test_a_folder_that_cannot_be_made_is_told(study: Spec, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refusal(runner.begin, study, tmp_path / "file/out").startswith(
        f"cannot write to {tmp_path}/file/out: "
    )


def test_a_sweep_of_another_spec_is_not_resumed(done: Path, study: Spec) -> None:
    expected = f"{done} holds a sweep of another spec: give another `out`, or undo what was changed"
    assert refusal(runner.resume, replace(study, runs=study.runs[:2]), done) == expected


def test_there_must_be_a_sweep_to_resume(study: Spec, tmp_path: Path) -> None:
    expected = f"no sweep in {tmp_path} to resume: leave `resume` out to begin one"
    assert refusal(runner.resume, study, tmp_path) == expected


def test_a_run_that_cannot_be_made_is_told_and_the_next_is_tried(source: Path, tmp_path: Path) -> None:
    worlds.save(tmp_path / "all.npz", [*worlds.rows("sky"), worlds.rows("life", 1)[0]])
    shutil.copy(source / "study.toml", tmp_path)
    study, notes = toml_file.load_quick(tmp_path / "study.toml"), list[str]()
    runner.begin(study, tmp_path / "out")
    summary = runner.run(study, tmp_path / "out", callbacks=Callbacks(note=notes.append))
    why = "task 'life' has 1 train pairs that join image and text: at least 2 are needed"
    names = ["finetune, infonce, mlp, seed 0", "joint, infonce, mlp, seed 0"]
    assert (summary.failed, notes) == (names, [f"{name}: {why}" for name in names])


def test_a_sweep_whose_source_cannot_be_read_leaves_its_name_free(source: Path, tmp_path: Path) -> None:
    (tmp_path / "all.npz").write_bytes(b"no features")
    shutil.copy(source / "study.toml", tmp_path)
    study = toml_file.load(tmp_path / "study.toml")
    runner.begin(study, tmp_path / "out")
    with pytest.raises(UserError, match="cannot read"):
        runner.run(study, tmp_path / "out")
    runner.begin(study, tmp_path / "out")


def test_a_listener_that_fails_ends_the_processes(study: Spec, tmp_path: Path) -> None:
    def fail(made: int, all_: int) -> None:
        if made:
            raise InterruptedError

    runner.begin(study, tmp_path / "out")
    with pytest.raises(InterruptedError) as caught:  # and with it whatever stands in its traceback
        runner.run(study, tmp_path / "out", jobs=2, callbacks=Callbacks(runs=fail))
    assert (caught.type, multiprocessing.active_children()) == (InterruptedError, [])


def test_a_run_in_which_a_lesson_was_interrupted_is_not_made(
    study: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = lessons.learn

    def interrupted(*arguments: Any, device: str) -> tuple[Outcome, list[IngestReport]]:
        outcome, reports = learn(*arguments, device=device)
        last = replace(outcome.epochs[-1], interrupted=True)
        return replace(outcome, epochs=[*outcome.epochs[:-1], last]), reports

    monkeypatch.setattr(lessons, "learn", interrupted)
    runner.begin(study, tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        runner.run(study, tmp_path / "out")
    assert figures(tmp_path / "out") == {}


# the command


def mneme(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Run the command in this process; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["mneme", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return int(exit_.value.code or 0)


def test_the_command_prints_the_keys_it_promises(
    done: Path,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = copied(done, tmp_path)
    assert mneme(monkeypatch, "sweep", source / "study.toml", "--out", out, "--resume", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"format", "out", "runs", "seconds", "rows"}
    assert (printed["format"], printed["out"], printed["runs"]) == (1, str(out), 4)
    assert printed["rows"] == json.loads((done / "results.json").read_bytes())["rows"]


def test_the_command_prints_the_table_and_names_its_folder_after_the_spec(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert mneme(monkeypatch, "sweep", source / "study.toml", "--quick", "--jobs", "1") == 0
    assert capsys.readouterr().out == (tmp_path / "sweep-study/table.md").read_text()


def test_a_run_that_cannot_be_made_makes_the_command_fail_at_the_end(
    done: Path,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = copied(done, tmp_path)
    (out / "results/joint_infonce_mlp_seed1.json").unlink()
    (out / "stored/workspace.json").write_text('{"format": 99}')
    status = mneme(monkeypatch, "sweep", source / "study.toml", "--out", out, "--resume", "-q")
    printed = capsys.readouterr()
    assert status == 1
    assert printed.out.startswith("| method |")
    assert printed.err == (
        f"joint, infonce, mlp, seed 1: {out}/runs/joint_infonce_mlp_seed1/workspace.json has format 99; "
        "this mneme reads up to 4: upgrade mneme\n"
        "error: 1 of 4 runs failed; --resume tries them again\n"
    )


# sweeps in processes of their own, which stop themselves once the first run is made


def sweep_that(stops: str, out: Path, study: Path) -> "subprocess.Popen[str]":
    """Begin a sweep of two jobs, in a process group of its own, that stops when its first run is made.

    Its output is at an end once it and all its workers are.

    Args:
        stops: how, as code.
    """
    code = f"""
import os, signal
from dataclasses import replace
import cli
from studies.sweeps import runner

run_all = runner.run

def run_one(spec, out, *, callbacks, **options):
    def runs(made, total):
        callbacks.runs(made, total)
        if made == 1:
            {stops}
    return run_all(spec, out, callbacks=replace(callbacks, runs=runs), **options)

runner.run = run_one
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever began this test may ignore it
cli.main()
"""
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            code,
            "sweep",
            str(study),
            "--out",
            str(out),
            "--jobs",
            "2",
            "--device",
            "cpu",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_killed_sweep_leaves_no_process_and_comes_to_the_same_when_resumed(
    done: Path, study: Spec, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sweep = sweep_that("os.kill(os.getpid(), signal.SIGKILL)", out, source / "study.toml")
    sweep.communicate()
    assert sweep.returncode == -signal.SIGKILL
    assert not (out / "results.json").exists()
    runner.resume(study, out)
    runner.run(study, out)
    assert figures(out) == figures(done)


def test_an_interrupted_sweep_keeps_what_is_made_and_says_so_in_one_line(
    done: Path, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sweep = sweep_that("os.killpg(0, signal.SIGINT)", out, source / "study.toml")
    output = sweep.communicate()
    assert (sweep.returncode, *output) == (130, "", "interrupted\n")
    assert not (out / "results.json").exists()
    made = figures(out)
    assert made
    assert made.items() <= figures(done).items()
