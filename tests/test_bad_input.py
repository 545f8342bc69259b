"""What is wrong is told in one line, and nothing that is stored is lost."""

import os
from pathlib import Path

import numpy as np
import pytest

import worlds
from commands import Completed, Run, colours, is_one_line
from engine.storage import files
from engine.storage.writer import writing
from made_media import photo, recording, saved, sound


def train(run: Run, source: Path, *more: str) -> Completed:
    return run("train", source, "-t", "sky", "--epochs", "2", "--head", "linear", *more)


def test_a_missing_source_is_one_line(run: Run, tmp_path: Path) -> None:
    assert is_one_line(run("index", "gone"), 1, f"no such file or folder: {tmp_path / 'gone'}")


def test_a_missing_source_leaves_no_workspace(run: Run, tmp_path: Path) -> None:
    run("index", "gone")
    assert not (tmp_path / ".mneme/workspace.json").exists()


def test_an_empty_folder_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("index", "empty", "--backbone", "builtin")
    assert is_one_line(result, 1, f"nothing to read in {tmp_path / 'empty'}")


def test_a_truncated_picture_is_skipped_with_one_line(run: Run, tmp_path: Path) -> None:
    folder = colours(tmp_path / "colours", "red", "blue")
    (folder / "blue.png").write_bytes((folder / "blue.png").read_bytes()[:60])
    result = run("index", folder, "--backbone", "builtin", "--json")
    assert (result.status, result.json["added"], result.err.count("\n")) == (0, 1, 1)
    assert result.err.startswith(f"skipped {folder / 'blue.png'}: broken image: ")
    assert [set(one) for one in result.json["skipped"]] == [{"path", "line", "reason"}]


def test_quiet_does_not_name_what_was_skipped(run: Run, tmp_path: Path) -> None:
    folder = colours(tmp_path / "colours", "red", "blue")
    (folder / "blue.png").write_bytes(b"")
    assert run("index", folder, "--backbone", "builtin", "-q").err == ""


def test_a_wrong_row_is_skipped_with_file_and_line(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "words.jsonl"
    table.write_text('{"text": "one"}\n{"text": 2}\n{"text": "three"}\n')
    result = run("index", table, "--backbone", "builtin")
    assert (result.status, result.err) == (0, f"skipped {table} line 2: text is not a string\n")


def test_a_wrong_row_of_a_table_without_lines_is_skipped_as_a_row(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "rows.npz"
    np.savez(table, image=np.array([[1, 0], [np.nan, 1], [0, 1]]))
    result = run("index", table, "--json")
    assert result.err == f"skipped {table} row 2: image holds NaN or infinite numbers\n"
    assert [one["line"] for one in result.json["skipped"]] == [2]


def test_a_file_of_wrong_rows_alone_is_an_error_with_the_first_reason(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "words.jsonl"
    table.write_text('{"text": 1}\n{"text": 2}\n')
    result = run("index", table, "--backbone", "builtin")
    reason = f"nothing in {table} could be read: {table} line 1: text is not a string (2 skipped)"
    assert is_one_line(result, 1, reason)


def test_a_query_where_there_is_no_workspace_is_one_line(run: Run) -> None:
    result = run("query", "a dog")
    assert result.status == 1
    assert result.err.startswith("error: no workspace here or above; make one with `mneme index SOURCE`")


def test_a_text_query_on_a_workspace_without_pictures_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("text\none\ntwo\n")
    run("index", "words.csv", "--backbone", "builtin")
    message = "no image in the index; the index holds: text (choose one with --to)"
    assert is_one_line(run("query", "one"), 1, message)


def test_an_unknown_task_is_one_helpful_line(run: Run, trained: Path) -> None:
    result = run("query", "a dog", "-w", trained, "--task", "animal")
    assert is_one_line(result, 1, "no task 'animal' in the index; tasks are: sky, life, places")


def test_training_an_unknown_task_is_one_helpful_line(run: Run, trained: Path, tmp_path: Path) -> None:
    result = run("train", "-t", "animal", "-w", worlds.copied(trained, tmp_path))
    message = "no task 'animal' is stored; tasks are: life, places, sky (give a SOURCE that holds it)"
    assert is_one_line(result, 1, message)


def test_a_picture_that_is_not_there_is_one_line(run: Run, trained: Path) -> None:
    result = run("query", "dog.jpg", "-w", trained)
    assert is_one_line(result, 1, "no such file: dog.jpg (to search for the words: --text)")


def test_a_pipe_to_search_with_is_one_line(run: Run, trained: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dog.jpg")
    result = run("query", "dog.jpg", "-w", trained)
    assert is_one_line(result, 1, "dog.jpg is not a regular file (to search for the words: --text)")


def test_words_that_are_a_folders_name_are_searched_and_told(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    result = run("query", "photos", "-w", trained)
    assert (result.status, result.err) == (0, "note: photos is a folder here; searched as words\n")
    assert run("query", "--text", "photos", "-w", trained).err == ""


def test_a_truncated_picture_to_search_with_is_one_line(run: Run, tmp_path: Path) -> None:
    folder = colours(tmp_path / "colours", "red", "blue")
    run("index", folder, "--backbone", "builtin")
    (tmp_path / "half.png").write_bytes((folder / "red.png").read_bytes()[:60])
    result = run("query", "half.png")
    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
    assert result.err.startswith("error: the image of the query cannot be used: broken image: ")


def test_what_is_too_large_is_told_with_the_option_that_lets_it(run: Run, tmp_path: Path) -> None:
    folder, limits = tmp_path / "media", ("--max-pixels", "1000", "--max-seconds", "1")
    folder.mkdir()
    (folder / "photo.png").write_bytes(saved(photo()))
    (folder / "long.wav").write_bytes(recording("WAV", samples=sound(seconds=2)))
    result = run("index", folder, "--backbone", "builtin", *limits, "--json")
    too_large = "96 x 72 pixels; the limit is --max-pixels 1000, which can be raised"
    heard = "longer than is heard: only its start is; --max-seconds lets more be heard"
    assert [one["reason"] for one in result.json["skipped"]] == [too_large]
    assert result.json["notes"] == [f"1 file, {folder / 'long.wav'}: {heard}"]
    assert result.err.endswith(f"\nnote: {result.json['notes'][0]}\n")
    asked = run("query", folder / "photo.png", *limits)
    assert is_one_line(asked, 1, f"the image of the query cannot be used: {too_large}")


def test_a_workspace_of_a_newer_format_is_one_line(run: Run, trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    manifest = root / ".mneme/workspace.json"
    manifest.write_bytes(files.to_sealed_json({**files.read_json(manifest), "format": 99}))
    result = run("query", "a dog", "-w", root)
    assert is_one_line(result, 1, f"{manifest} has format 99; this mneme reads up to 4: upgrade mneme")


def test_another_backbone_than_the_recorded_one_is_one_line(run: Run, trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    result = run("index", trained / "sky.npz", "-w", root, "--backbone", "image=builtin")
    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
    assert result.err.startswith("error: this workspace's image backbone is features, not builtin")


def test_a_second_writer_is_one_line(run: Run, trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    with writing(root / ".mneme"):
        result = run("index", trained / "sky.npz", "-w", root)
    message = f"another mneme is writing to {root / '.mneme'}; wait until it ends (searching goes on)"
    assert is_one_line(result, 1, message)


def test_a_reader_does_not_wait_for_a_writer(run: Run, trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    with writing(root / ".mneme"):
        assert run("query", "a dog", "-w", root, "-k", "1").status == 0


def test_a_workspace_that_is_a_file_is_one_line(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("index", trained / "sky.npz", "-w", tmp_path / "file")
    assert result.status == 1
    assert result.err.startswith(f"error: cannot write to {tmp_path / 'file'}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("margin", "--set takes NAME=VALUE, not 'margin'"),
        (
            "margin=1",
            "no hyper-parameter 'margin' here; valid are: infonce.temperature, infonce.anchor",
        ),
        ("infonce.temperature=warm", "infonce.temperature takes a number, not 'warm'"),
    ],
)
def test_a_wrong_hyper_parameter_is_one_line(run: Run, trained: Path, given: str, message: str) -> None:
    assert is_one_line(train(run, trained / "sky.npz", "--set", given), 1, message)


def test_a_step_too_far_is_one_line_and_no_lesson(run: Run, trained: Path) -> None:
    result = train(run, trained / "sky.npz", "--lr", "1e30")
    assert result.status == 1
    assert result.err.endswith("nothing was kept; try a smaller --lr\n")
    assert run("status", "--json").json["lessons"] == []


@pytest.mark.parametrize("task", ["all", "auto", "..", "a\x1b[31m", ""])
def test_a_task_name_that_could_not_be_asked_for_is_one_line(
    run: Run, trained: Path, tmp_path: Path, task: str
) -> None:
    result = run("index", trained / "sky.npz", "--task", task, "-w", worlds.copied(trained, tmp_path))
    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)


def test_an_unknown_method_name_is_refused_with_those_there_are(run: Run) -> None:
    result = run("methods", "tripplet")
    assert result.err.startswith("error: no loss or method 'tripplet'; there are: triplet, infonce")


def test_a_csv_that_cannot_be_written_is_one_line(run: Run, trained: Path) -> None:
    result = run("evaluate", "-w", trained, "--csv", "gone/out.csv")
    assert (result.status, result.err) == (1, "error: cannot write gone/out.csv: no such file or directory\n")
    assert result.out.startswith("policy")  # what was computed is not lost


# policies


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["reindex", "--budget", "1%"],
            "--budget is for the policy partial: add --policy partial",
        ),
        (
            ["reindex", "--policy", "best"],
            "no policy 'best'; policies are: reindex, no-reindex, matched, aligned, ",
        ),
        (
            ["reindex", "--policy", "partial", "--budget", "0%"],
            "--budget takes a percentage above 0 and up to 100",
        ),
        (
            ["reindex", "--policy", "partial", "--budget", "200%"],
            "--budget takes a percentage above 0 and up to",
        ),
        (["rollback"], "nothing to return to: there was no `mneme reindex` since the last rollback"),
        (["query", "a dog", "--at", "9"], "no lesson '9'; lessons are: 1 (sky), 2 (life), 3 (places)"),
        (["query", "a dog", "--at", "sea"], "no lesson 'sea'; lessons are: 1 (sky), 2 (life), 3 (places)"),
        (
            ["evaluate", "--policy", "best"],
            "no policy 'best'; policies are: reindex, no-reindex, matched, aligned, ",
        ),
    ],
)
def test_what_no_policy_can_do_is_one_line(
    run: Run, trained: Path, arguments: list[str], message: str
) -> None:
    before = worlds.bytes_below(trained)
    result = run(*arguments, "-w", trained)
    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
    assert result.err.startswith(f"error: {message}")
    assert worlds.bytes_below(trained) == before


@pytest.mark.parametrize(
    "arguments", [["query", "a dog", "--merge", "best"], ["evaluate", "--merge", "best"]]
)
def test_an_unknown_merge_is_wrong_usage(run: Run, trained: Path, arguments: list[str]) -> None:
    result = run(*arguments, "-w", trained)
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "'raw', 'routed'" in result.err


# what the layers say of settings, as options of the command line


def test_a_row_that_no_backbone_reads_is_skipped_with_the_option_that_names_one(
    run: Run, tmp_path: Path
) -> None:
    folder = colours(tmp_path / "colours", "red")
    (folder / "hum.wav").write_bytes(b"hum")
    reason = "no backbone reads audio: name one with --backbone audio=SPEC"
    result = run("index", folder, "--backbone", "image=builtin", "--backbone", "text=builtin", "--json")
    assert result.err == f"skipped {folder / 'hum.wav'}: {reason}\n"
    assert result.json["skipped"] == [{"path": str(folder / "hum.wav"), "reason": reason, "line": None}]


def test_a_source_of_nothing_but_skipped_rows_is_refused_with_the_option_that_mends_the_first(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "sounds").mkdir()
    sound = tmp_path / "sounds/hum.wav"
    sound.write_bytes(b"hum")
    result = run("index", "sounds", "--backbone", "image=builtin")
    reason = "no backbone reads audio: name one with --backbone audio=SPEC (1 skipped)"
    assert is_one_line(result, 1, f"nothing in {sound.parent} could be read: {sound}: {reason}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "rows.npz", "--dim", "0"], "--dim must be at least 1, not 0"),
        (
            ["status"],
            "no workspace here or above; make one with `mneme index SOURCE`, or name one with --workspace DIR",
        ),
        (["status", "-w", "a"], "no workspace in a; make one there with `mneme index SOURCE --workspace a`"),
        (
            ["sweep", "rows.toml", "--resume"],
            "no sweep in sweep-rows to resume: leave --resume out to begin one",
        ),
    ],
)
def test_a_setting_is_called_by_the_option_of_the_command_line(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    worlds.save(tmp_path / "rows.npz", worlds.rows("sky"))
    (tmp_path / "rows.toml").write_text('[stream]\nsource = "rows.npz"\ntasks = ["sky"]\n')
    assert is_one_line(run(*arguments), 1, message)


def test_a_later_head_of_another_form_is_refused_with_the_options_to_leave_out(run: Run, world: Path) -> None:
    result = run("train", "-t", "sky", "--head", "mlp", "-w", world)
    assert result.err.endswith("leave --head and --shared-top out, or start anew with --method experts\n")


def test_the_removed_features_of_a_task_are_said_to_come_back_with_its_source(run: Run, world: Path) -> None:
    run("remove", "--features", "-t", "sky", "-w", world)
    message = "the features of task 'sky' were removed: give its source, `mneme train SOURCE --task sky`"
    assert is_one_line(run("train", "-t", "sky", "-w", world), 1, message)


def test_igm_over_branches_of_two_widths_advises_a_form_of_head_that_there_is(
    run: Run, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    depth, image = (draw.normal(size=(20, width)).astype(np.float32) for width in (6, 8))
    np.savez(tmp_path / "sky.npz", depth=depth, image=image)
    result = train(run, tmp_path / "sky.npz", "--method", "igm")
    assert result.err.endswith("take another method, or train the first head with --head mlp\n")
