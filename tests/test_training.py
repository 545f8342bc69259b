"""`mneme train` as people use it: chains, wrong settings, interrupts."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import worlds
from commands import Completed, Run


@pytest.fixture
def sky(tmp_path: Path) -> Path:
    return worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 20))


def train(run: Run, *more: str | Path) -> Completed:
    return run("train", *more, "-t", "sky", "--epochs", "2", "--head", "linear", "--lr", "0.01")


def untouched(run: Run) -> bool:
    told = run("status", "--json")
    return told.status == 1 or told.json["lessons"] == []


def test_a_chain_of_methods_is_recorded(run: Run, sky: Path) -> None:
    told = train(run, sky, "--method", "dns+ewc", "--set", "ewc.weight=10", "--json")
    assert told.json["method"] == "dns+ewc"


def test_every_epoch_tells_its_loss_and_the_drift_of_old_tasks(run: Run, tmp_path: Path, sky: Path) -> None:
    train(run, sky)
    life = worlds.save(tmp_path / "life.npz", worlds.rows("life", 20))
    told = run("train", life, "-t", "life", "--epochs", "3", "--json")
    assert [set(epoch["drift"]["sky"]) for epoch in told.json["epochs"]] == [{"image", "text"}] * 3


def test_the_log_of_a_head_holds_a_line_for_every_epoch(run: Run, tmp_path: Path, sky: Path) -> None:
    train(run, sky)
    lines = (tmp_path / ".mneme/heads/v0001/log.jsonl").read_text().splitlines()
    assert [set(json.loads(line)) for line in lines] == [
        {"loss", "val_loss", "val_recall", "drift", "kept", "interrupted"}
    ] * 2


def test_a_guard_that_was_not_there_from_the_first_lesson_on_says_so(run: Run, sky: Path) -> None:
    train(run, sky)
    told = run("train", "-t", "sky", "--epochs", "1", "--method", "ewc")
    assert told.err == "note: ewc knows nothing of the lessons before, which were trained without it\n"


def test_a_guard_that_was_there_from_the_first_lesson_on_says_nothing(run: Run, sky: Path) -> None:
    train(run, sky, "--method", "ewc")
    assert run("train", "-t", "sky", "--epochs", "1", "--method", "ewc").err == ""


# wrong settings


def test_an_unknown_method_is_wrong_usage(run: Run, sky: Path) -> None:
    told = train(run, sky, "--method", "dns+magic")
    assert (told.status, told.out, told.err.count("\n")) == (2, "", 1)
    assert "'magic' is not one of finetune, joint" in told.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "replay", "--set", "replay.size=0"], "replay.size must be at least 1, not 0: "),
        (["--method", "gem", "--set", "gem.size=0"], "gem.size must be at least 1, not 0: "),
        (["--loss", "fabind", "--set", "fabind.anchor=audio"], "no modality 'audio' to anchor on; "),
        (["--batch-size", "1"], "--batch-size must be at least 2, not 1: a row needs negatives"),
        (["--warmup", "2"], "--warmup must be from 0 to 1, a share of all steps, not 2.0"),
        (["--method", "ewc", "--protect", "audio"], "no modality 'audio' to protect"),
        (["--method", "sam", "--set", "sam.size=3"], "no hyper-parameter 'sam.size' here; valid are: "),
        (["--method", "joint+experts"], "joint and experts each say what to train on: choose one"),
        (["--protect", "text"], "--protect says which branch ewc or mas guards: add one of them to --method"),
    ],
)
def test_a_wrong_setting_is_one_line_and_no_lesson(
    run: Run, sky: Path, options: list[str], message: str
) -> None:
    told = train(run, sky, *options)
    assert (told.status, told.out, told.err.count("\n")) == (1, "", 1)
    assert told.err.startswith(f"error: {message}")
    assert untouched(run)


def test_igm_on_branches_of_two_widths_is_one_line_and_no_lesson(run: Run, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    depth, image = (draw.normal(size=(20, width)).astype(np.float32) for width in (6, 8))
    np.savez(tmp_path / "two.npz", depth=depth, image=image)
    told = train(run, tmp_path / "two.npz", "--method", "igm")
    assert (told.status, told.err.count("\n")) == (1, 1)
    assert told.err.startswith("error: igm needs branches of one width")
    assert untouched(run)


def test_features_that_are_no_numbers_are_one_line_and_no_lesson(run: Run, tmp_path: Path, sky: Path) -> None:
    rows = worlds.rows("sky", 20)
    rows[3].image[2] = np.nan
    told = train(run, worlds.save(tmp_path / "nan.npz", rows))
    assert "nan" in told.err.lower() or "no number" in told.err
    assert told.err.count("\n") == 1


def test_a_task_of_texts_alone_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"texts": ["a dog"]}\n{"texts": ["a cat"]}\n')
    told = run("train", tmp_path / "texts.jsonl", "-t", "sky")
    assert told.status == 1
    assert told.err.endswith("error: task 'sky' holds text only: training needs pairs of two modalities\n")


# interrupts


def interrupted(run: Run, sky: Path, monkeypatch: pytest.MonkeyPatch, *, epoch: int) -> Completed:
    """Train nine epochs, somebody pressing Ctrl-C while an epoch is on its way."""
    from training import loop

    steps: Callable[..., float] = loop._steps
    met = [0]

    def impatient(*given: object) -> float:
        met[0] += 1
        if met[0] == epoch:
            raise KeyboardInterrupt
        return steps(*given)

    monkeypatch.setattr(loop, "_steps", impatient)
    return run("train", sky, "-t", "sky", "--epochs", "9", "--head", "linear", "--json")


def test_an_interrupt_records_the_epochs_that_are_done(
    run: Run, sky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = interrupted(run, sky, monkeypatch, epoch=4)
    assert (told.status, len(told.json["epochs"]), told.err) == (130, 3, "interrupted\n")
    assert len(run("status", "--json").json["lessons"]) == 1


def test_an_interrupt_before_an_epoch_is_done_records_nothing(
    run: Run, sky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = interrupted(run, sky, monkeypatch, epoch=1)
    assert (told.status, told.out, told.err) == (130, "", "interrupted\n")
    assert untouched(run)


ANNOUNCING = """
import signal
import sys

import cli
from training import lesson

signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever started the tests may ignore


def announcing(head, data, objective, settings, on_epoch, train_task=lesson.train_task):
    def announce(number, epoch):
        on_epoch(number, epoch)
        if number == 0:
            print("an epoch is done", flush=True)

    return train_task(head, data, objective, settings, announce)


lesson.train_task = announcing
cli.main()
"""


def test_a_real_interrupt_of_a_real_process_records_a_lesson(tmp_path: Path) -> None:
    sky = worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 40))
    options = ["-t", "sky", "--epochs", "1000000", "--head", "linear", "-w", str(tmp_path)]
    command = [sys.executable, "-c", ANNOUNCING, "train", str(sky), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "an epoch is done\n"
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert len(worlds.opened(tmp_path).manifest.history.lessons) == 1
