import json
from pathlib import Path

import numpy as np
import pytest
import typer

import cli
import mneme
import worlds
from commands import Completed, Run, colours, is_one_line

HIT = {
    "format",
    "query",
    "rank",
    "score",
    "log_p",
    "id",
    "modality",
    "task",
    "tasks",
    "path",
    "paths",
    "text",
    "head",
    "row",
    "rows",
}


# what stands in the page on the command line


def test_index_prints_the_keys_it_promises(run: Run, trained: Path) -> None:
    result = run("index", trained / "sky.npz", "--json")
    assert result.status == 0
    assert set(result.json) == {
        "format",
        "tasks",
        "added",
        "updated",
        "moved",
        "removed",
        "unchanged",
        "kept",
        "left",
        "notes",
        "skipped",
        "items",
        "shards_built",
        "seconds",
    }
    assert (result.json["tasks"], result.json["added"], result.json["shards_built"]) == (["sky"], 30, 2)


def test_a_second_index_does_nothing(run: Run, trained: Path) -> None:
    run("index", trained / "sky.npz")
    again = run("index", trained / "sky.npz", "--json").json
    assert (again["added"], again["updated"], again["removed"], again["unchanged"]) == (0, 0, 0, 30)
    assert again["shards_built"] == 0


def test_a_renamed_folder_is_said_to_have_moved_and_its_hits_exist(run: Run, tmp_path: Path) -> None:
    colours(tmp_path / "alps", "red", "green", "blue")
    run("index", "alps", "--backbone", "builtin")
    (tmp_path / "alps").rename(tmp_path / "tyrol")
    (tmp_path / "tyrol/blue.png").unlink()
    (tmp_path / "tyrol/blue.txt").unlink()
    foreseen = run("index", "tyrol", "--dry-run")
    result = run("index", "tyrol")
    assert result.out.startswith("0 added, 0 updated, 2 moved, 0 removed, 0 unchanged, 0 skipped; 0 shards")
    assert foreseen.out.split(";")[0] == f"would be: {result.out.split(';')[0]}"
    assert result.err == (
        f"note: rows of {tmp_path / 'alps'}, which is no more, that were not found again: 1; to drop them: "
        f"`mneme remove --source {tmp_path / 'alps'}`\n"
    )
    run("remove", "--source", "alps")
    hits = run("query", "tyrol/red.png", "--to", "image", "--task", "alps", "--json").lines
    assert [hit["paths"] for hit in hits] == [[hit["path"]] for hit in hits]
    assert {hit["path"] for hit in hits} == {str(tmp_path / f"tyrol/{name}.png") for name in ("red", "green")}


def test_a_folder_that_was_emptied_is_dropped_where_that_is_allowed(run: Run, tmp_path: Path) -> None:
    folder = colours(tmp_path / "two words", "red", "green", "blue")
    run("index", folder, "--backbone", "builtin")
    for file in folder.iterdir():
        file.unlink()
    assert run("index", folder).err == (
        f"error: nothing to read in {folder}, and 3 rows of it are indexed: is a disk not mounted? To drop them "
        f"run again with --allow-mass-delete, or run `mneme remove --source '{folder}'`\n"
    )
    done = run("index", folder, "--allow-mass-delete").out
    assert done.startswith("0 added, 0 updated, 3 removed, 0 unchanged, 0 skipped; 0 shards")
    assert run("status", "--json").json["items"] == {}


def test_a_hit_names_a_living_copy_before_the_one_that_is_gone(run: Run, tmp_path: Path) -> None:
    for name in ("alps", "tyrol"):
        run("index", colours(tmp_path / name, "red", "green"), "--backbone", "builtin")
    (tmp_path / "alps/red.png").unlink()
    gone, living = (str(tmp_path / f"{name}/red.png") for name in ("alps", "tyrol"))
    (hit, *_) = run("query", "--image", living, "--to", "image", "--task", "alps", "--json").lines
    assert (hit["path"], hit["paths"]) == (living, [living, gone])


def test_a_dry_run_says_what_would_be_added_and_leaves_no_workspace(
    run: Run, trained: Path, tmp_path: Path
) -> None:
    assert run("index", trained / "sky.npz", "--dry-run", "--json").json["added"] == 30
    assert not (tmp_path / ".mneme").exists()


def train(run: Run, source: Path, *more: str) -> Completed:
    return run("train", source, "-t", "sky", "--epochs", "2", "--head", "linear", *more)


def test_train_prints_the_keys_it_promises(run: Run, trained: Path) -> None:
    result = train(run, trained / "sky.npz", "--json", "--seed", "7")
    assert set(result.json) == {
        "format",
        "task",
        "lesson",
        "head",
        "parent",
        "method",
        "kept",
        "loss",
        "seed",
        "epochs",
        "seconds",
    }
    assert {
        key: result.json[key] for key in ("task", "lesson", "head", "parent", "method", "loss", "seed")
    } == {
        "task": "sky",
        "lesson": 1,
        "head": 1,
        "parent": 0,
        "method": "finetune",
        "loss": "infonce",
        "seed": 7,
    }
    assert [set(epoch) for epoch in result.json["epochs"]] == [
        {"loss", "val_loss", "val_recall@10", "drift"}
    ] * 2


def test_train_says_null_where_there_is_nothing_to_measure(run: Run, tmp_path: Path) -> None:
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 6))
    epochs = train(run, source, "--json").json["epochs"]
    assert {(epoch["val_loss"], epoch["val_recall@10"]) for epoch in epochs} == {(None, None)}


def test_query_prints_one_object_a_line_with_the_keys_it_promises(run: Run, trained: Path) -> None:
    result = run("query", "a dog and a cat", "-w", trained, "-k", "4", "--json")
    assert {frozenset(line) for line in result.lines} == {frozenset(HIT)}
    assert [(line["query"], line["rank"]) for line in result.lines] == [(0, 1), (0, 2), (0, 3), (0, 4)]


def test_query_prints_rank_score_task_and_text_for_people(run: Run, trained: Path) -> None:
    (first, *_) = run("query", "a dog and a cat", "-w", trained, "--to", "text").out.splitlines()
    rank, score, task, text, *probability = first.split("\t")
    assert (rank, task in worlds.TASKS, text.startswith("a ")) == ("1", True, True)
    assert -1 <= float(score) <= 1
    assert [float(part.removeprefix("p ")) <= 1 for part in probability] == [True]


def test_evaluate_prints_the_keys_it_promises(run: Run, trained: Path) -> None:
    result = run("evaluate", "-w", trained, "--json")
    assert set(result.json) == {
        "format",
        "tasks",
        "lessons",
        "references",
        "results",
        "comparisons",
        "causes",
    }
    promised = {
        "policy",
        "merge",
        "query",
        "target",
        "task_known",
        "k",
        "matrix",
        "final",
        "forgetting",
        "bwt",
        "queries",
        "chance",
    }
    assert all(set(result) > promised for result in result.json["results"])


def test_evaluate_prints_20_lines_for_people_unless_all_are_asked_for(run: Run, trained: Path) -> None:
    few = run("evaluate", "-w", trained, "--all", "--policy", "matched").out.splitlines()
    lines = run("evaluate", "-w", trained).out.splitlines()
    assert (len(lines), lines[-1]) == (20, "36 rows more: --all")
    assert len(few) == 1 + 18


def test_evaluate_takes_the_policies_it_is_given(run: Run, trained: Path) -> None:
    result = run("evaluate", "-w", trained, "--policy", "matched", "--k", "2", "--json")
    assert {(r["policy"], r["k"]) for r in result.json["results"]} == {("matched", 2)}


def test_evaluate_prints_a_line_for_each_matrix_for_people(run: Run, trained: Path) -> None:
    header, *lines = run("evaluate", "-w", trained, "--k", "5").out.splitlines()
    assert header.split()[:3] == ["policy", "query", "target"]
    assert len(lines) == 18


def test_evaluate_writes_a_csv_beside(run: Run, trained: Path, tmp_path: Path) -> None:
    run("evaluate", "-w", trained, "--k", "5", "--csv", tmp_path / "out.csv")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 19


@pytest.mark.parametrize(
    "written", [("query", "a dog", "--html"), ("evaluate", "--policy", "matched", "--csv")]
)
def test_a_file_that_is_asked_for_is_written_where_its_link_leads(
    run: Run, trained: Path, tmp_path: Path, written: tuple[str, ...]
) -> None:
    (tmp_path / "out").symlink_to("disk")
    (tmp_path / "disk").touch(mode=0o600)
    assert run(*written, "out", "-w", trained).status == 0
    assert (tmp_path / "out").is_symlink()
    assert ((tmp_path / "disk").stat().st_mode & 0o777, (tmp_path / "disk").stat().st_size > 0) == (
        0o600,
        True,
    )


def test_reindex_says_what_it_built_and_rollback_what_is_served_again(
    run: Run, trained: Path, tmp_path: Path
) -> None:
    root = worlds.copied(trained, tmp_path)
    done = run("reindex", "--policy", "reindex", "-w", root, "--json").json
    assert set(done) == {"format", "policy", "policies", "shards_built", "shards", "seconds", "unsure"}
    assert (done["policy"], done["shards_built"], done["shards"]) == ("reindex", 4, 6)
    assert run("status", "-w", root, "--json").json["policy"] == "reindex"
    assert run("rollback", "-w", root, "--json").json["policy"] == "no-reindex"


def test_a_dry_run_of_reindex_says_what_it_would_cost_and_bring(run: Run, trained: Path) -> None:
    result = run("reindex", "--policy", "auto", "--dry-run", "-w", trained, "--json").json
    keys = {"policy", "policies", "items", "bytes", "seconds", "recall", "overlap", "choices"}
    assert set(result) == {"format"} | keys
    cost, chosen, recall = run("reindex", "--policy", "auto", "--dry-run", "-w", trained).out.split("\n\n")
    assert cost.startswith(f"{result['items']} items to embed")
    assert chosen.split()[:2] == ["task", "own"]
    assert recall.split()[:2] == ["query", "target"]


def test_an_inferred_task_is_named_with_its_probability(run: Run, trained: Path) -> None:
    text = worlds.rows("life")[0].text
    result = run("query", text, "-w", trained, "--task", "auto", "--json")
    assert result.err.startswith("task: life (probability ")
    assert {line["task"] for line in result.lines} == {"life"}


def test_an_index_can_be_asked_as_it_stood_after_a_lesson(run: Run, trained: Path) -> None:
    first = run("query", "a dog and a cat", "-w", trained, "--at", "1", "-k", "99", "--json").lines
    assert {line["task"] for line in first} == {"sky"}
    named = run("query", "a dog and a cat", "-w", trained, "--at", "sky", "-k", "99", "--json").lines
    assert named == first


def test_hits_by_probability_are_ordered_by_log_p(run: Run, trained: Path) -> None:
    lines = run("query", "a dog and a cat", "-w", trained, "--merge", "routed", "--json").lines
    assert [line["log_p"] for line in lines] == sorted((line["log_p"] for line in lines), reverse=True)
    raw = run("query", "a dog and a cat", "-w", trained, "--merge", "raw", "--json").lines
    assert {line["log_p"] for line in raw} == {None}


def test_status_prints_the_keys_it_promises(run: Run, trained: Path) -> None:
    content = run("status", "-w", trained, "--json").json
    assert set(content) == {
        "format",
        "tasks",
        "items",
        "heads",
        "lessons",
        "shards",
        "policy",
        "backbone",
        "bytes",
    }
    assert content["tasks"][0] == {
        "task": "sky",
        "head": 1,
        "items": {"image": 30, "text": 30},
        "features": True,
    }
    assert set(content["shards"][0]) == {"task", "modality", "head", "rows", "bytes"}
    assert content["heads"][0] == {"head": 0, "parent": None, "task": None, "method": None, "loss": None}
    assert content["heads"][2] == {
        "head": 2,
        "parent": 1,
        "task": "life",
        "method": "finetune",
        "loss": "infonce",
    }


def test_status_counts_distinct_items(run: Run, trained: Path) -> None:
    assert run("status", "-w", trained, "--json").json["items"] == {"image": 89, "text": 90}


def test_status_names_every_task_for_people(run: Run, trained: Path) -> None:
    out = run("status", "-w", trained).out
    assert [line.split()[:2] for line in out.splitlines()[-3:]] == [
        ["sky", "v0001"],
        ["life", "v0002"],
        ["places", "v0003"],
    ]


def test_methods_lists_every_loss_and_method_with_its_defaults(run: Run) -> None:
    listed = {one["name"]: one for one in run("methods", "--json").json["methods"]}
    assert {"infonce", "triplet", "finetune", "joint", "joint-intra", "experts"} <= set(listed)
    assert listed["triplet"]["options"]["triplet.margin"] == 0.05


def test_methods_of_one_name_tells_of_that_one(run: Run) -> None:
    assert run("methods", "triplet").out.startswith("triplet (loss): Bidirectional ranking loss")


def test_a_hyper_parameter_can_be_set(run: Run, trained: Path) -> None:
    wide = train(run, trained / "sky.npz", "--json", "--loss", "triplet", "--set", "triplet.margin=9")
    assert wide.json["epochs"][0]["loss"] > 10


# asking


def test_known_tasks_and_policies_can_be_chosen(run: Run, trained: Path) -> None:
    result = run("query", "a dog", "-w", trained, "-t", "life", "--policy", "reindex", "--json")
    assert {(line["task"], line["head"]) for line in result.lines} == {("life", 3)}


def test_a_dash_reads_one_query_a_line(run: Run, trained: Path) -> None:
    result = run("query", "-", "-w", trained, "-k", "2", "--json", stdin=b"a dog\n\na star\n")
    assert [(line["query"], line["rank"]) for line in result.lines] == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_each_answer_to_a_dash_says_which_query_it_answers(run: Run, trained: Path) -> None:
    lines = run("query", "-", "-w", trained, "-k", "2", stdin=b"a dog\n\na star\n").out.splitlines()
    assert [lines[0], lines[3], len(lines)] == ["1: a dog", "2: a star", 6]


def test_a_dash_reads_utf_8_whatever_the_locale(run: Run, trained: Path) -> None:
    result = run("query", "-", "-w", trained, "-k", "1", stdin="un café\n".encode())
    assert (result.status, result.err) == (0, "")


def test_a_line_that_is_no_utf_8_is_one_line(run: Run, trained: Path) -> None:
    result = run("query", "-", "-w", trained, stdin=b"caf\xe9\n")
    assert is_one_line(result, 1, "text holds a lone surrogate, which is no character")


def test_an_empty_stream_of_queries_has_no_answers(run: Run, trained: Path) -> None:
    assert run("query", "-", "-w", trained) == Completed(0, "", "")


def test_paths_prints_the_paths_alone(run: Run, tmp_path: Path) -> None:
    folder = colours(tmp_path / "colours", "red", "blue")
    run("index", folder, "--backbone", "builtin")
    result = run("query", "a red picture", "--paths")
    assert sorted(result.out.splitlines()) == [str(folder / "blue.png"), str(folder / "red.png")]


def test_paths_prints_texts_where_there_is_no_path(run: Run, trained: Path) -> None:
    result = run("query", "a dog", "--to", "text", "-w", trained, "--paths", "-k", "1")
    assert result.out.startswith("a ")
    assert "\t" not in result.out


def test_a_picture_is_asked_with_by_its_path(run: Run, tmp_path: Path) -> None:
    folder = colours(tmp_path / "colours", "red", "blue")
    run("index", folder, "--backbone", "builtin")
    (hit,) = run("query", folder / "red.png", "--to", "image", "-k", "1", "--json").lines
    assert (hit["path"], hit["text"], round(hit["score"], 6)) == (str(folder / "red.png"), None, 1)


def test_a_lowest_score_leaves_out_what_is_below(run: Run, trained: Path) -> None:
    scores = [line["score"] for line in run("query", "a dog", "-w", trained, "-k", "9", "--json").lines]
    bar = (scores[3] + scores[4]) / 2
    result = run("query", "a dog", "-w", trained, "-k", "9", "--json", "--min-score", str(bar))
    assert [line["score"] for line in result.lines] == scores[:4]


def test_an_item_opposite_to_the_query_is_not_lost(run: Run, tmp_path: Path) -> None:
    pictures = np.stack([row.image for row in worlds.rows("sky", 40)])
    np.savez(tmp_path / "opposites.npz", image=np.concatenate([pictures, -pictures]))
    run("index", tmp_path / "opposites.npz", "--backbone", "text=builtin")
    result = run("query", "anything", "-k", "100", "--json")
    assert len(result.lines) == 80


def test_the_workspace_is_found_from_below_like_git(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = worlds.copied(trained, tmp_path)
    (root / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(root / "deep" / "er")
    assert run("query", "a dog", "-k", "1").status == 0


def test_the_environment_names_a_workspace(run: Run, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNEME_WORKSPACE", str(trained))
    assert run("query", "a dog", "-k", "1").status == 0


def test_hits_that_are_chance_are_called_so_once(run: Run, trained: Path) -> None:
    run("index", trained / "sky.npz")
    result = run("query", "-", "-k", "1", stdin=b"a dog\na star\n")
    note = "note: these modalities share no space before the first `mneme train`; hits are chance\n"
    assert (result.status, result.err) == (0, note)


# exit statuses


def test_wrong_usage_is_one_line_and_status_2(run: Run) -> None:
    result = run("query", "--colour", "red")
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert "--colour" in result.err


def test_a_query_of_several_words_without_quotes_is_told_so(run: Run) -> None:
    told = run("query", "a", "red", "tram", "-k", "3")
    assert (told.status, told.err.count("\n")) == (2, 1)
    assert told.err.endswith(' (a text of several words wants quotes: mneme query "a red tram")\n')


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "a dog", "-k", "0"],
        ["query", "a dog", "-k", "many"],
        ["query", "a dog", "--policy", "best"],
        ["index"],
        ["train"],
        ["tarin"],
        ["evaluate", "--merge", "best"],
    ],
    ids=" ".join,
)
def test_usage_errors_have_status_2_and_no_traceback(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)


def test_an_interrupt_is_one_line_and_has_status_130(
    run: Run, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(root: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("indexer.serving.status.status", interrupted)
    result = run("status", "-w", trained)
    assert (result.status, result.out, result.err) == (130, "", "interrupted\n")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_goes_to_stdout_and_is_no_error(run: Run, option: str) -> None:
    result = run("query", option)
    assert (result.status, result.err) == (0, "")
    assert "--min-score" in result.out


def test_mneme_alone_is_its_help(run: Run) -> None:
    assert run() == run("--help")


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version") == (0, f"mneme {mneme.__version__}\n", "")


# what reaches a terminal

EVIL = "red \x1b[31m alarm \x07\u202e"


def test_control_characters_of_a_text_are_never_printed_raw(run: Run, tmp_path: Path) -> None:
    (tmp_path / "words.jsonl").write_text(json.dumps({"text": EVIL}) + "\n")
    run("index", "words.jsonl", "--backbone", "builtin")
    lines, paths = run("query", "red", "--to", "text"), run("query", "red", "--to", "text", "--paths")
    assert lines.out.endswith("\t" + r"red \x1b[31m alarm \x07\u202e" + "\n")
    assert paths.out == r"red \x1b[31m alarm \x07\u202e" + "\n"


def test_control_characters_of_a_text_are_escaped_in_json(run: Run, tmp_path: Path) -> None:
    (tmp_path / "words.jsonl").write_text(json.dumps({"text": EVIL}) + "\n")
    run("index", "words.jsonl", "--backbone", "builtin")
    result = run("query", "red", "--to", "text", "--json")
    assert result.lines[0]["text"] == EVIL
    assert result.out.rstrip("\n").isprintable()


def test_control_characters_of_a_query_are_never_printed_raw(run: Run, trained: Path) -> None:
    result = run("query", "red\x1b[31m.png", "-w", trained)
    assert result.err == "error: no such file: red\\x1b[31m.png (to search for the words: --text)\n"


def test_control_characters_of_a_file_name_are_never_printed_raw(run: Run, tmp_path: Path) -> None:
    folder = colours(tmp_path / "colours", "red")
    (folder / "\x1b[31m\n.png").write_bytes(b"")
    result = run("index", folder, "--backbone", "builtin")
    assert result.err == f"skipped {folder}/\\x1b[31m\\n.png: empty file\n"


def test_nothing_but_results_goes_to_stdout(run: Run, tmp_path: Path) -> None:
    folder = colours(tmp_path / "colours", "red", "blue")
    (folder / "blue.png").write_bytes(b"")
    assert len(run("index", folder, "--backbone", "builtin", "--json").out.splitlines()) == 1


def test_what_succeeds_without_a_hitch_is_silent_on_stderr(run: Run, trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    results = [
        run("index", trained / "sky.npz", "-w", root),
        run("query", "a dog", "-w", root),
        run("evaluate", "-w", root),
        run("train", "-t", "sky", "--epochs", "1", "-w", root),
        run("status", "-w", root),
    ]
    assert [(result.status, result.err) for result in results] == [(0, "")] * 5


def test_a_first_index_that_fails_leaves_no_workspace(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run("index", tmp_path / "empty", "--backbone", "builtin")
    assert not (tmp_path / ".mneme").exists()


def test_training_without_source_makes_no_workspace(run: Run, tmp_path: Path) -> None:
    result = run("train", "-t", "sky")
    assert is_one_line(result, 1, f"no workspace at {tmp_path / '.mneme'}: give a SOURCE to make one")
    assert not (tmp_path / ".mneme").exists()


def test_a_file_named_on_stdin_is_found_where_its_line_ends_as_on_windows(run: Run, tmp_path: Path) -> None:
    folder = colours(tmp_path / "colours", "red", "blue")
    run("index", folder, "--backbone", "builtin")
    (hit,) = run(
        "query", "-", "--to", "image", "-k", "1", "--json", stdin=f"{folder}/red.png\r\n".encode()
    ).lines
    assert (hit["path"], round(hit["score"], 6)) == (str(folder / "red.png"), 1)


def test_a_dash_takes_no_other_inputs(run: Run, trained: Path) -> None:
    result = run("query", "-", "--text", "a dog", "-w", trained)
    assert is_one_line(result, 1, "- reads whole queries from stdin: leave out --image, --audio and --text")


def test_a_wide_space_is_printed_as_it_is() -> None:
    assert cli.printable("赤い\u3000船 \u202e\x1b") == "赤い\u3000船 \\u202e\\x1b"


# completion


def test_tasks_of_the_workspace_here_are_completed(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    assert (cli.complete_task("s"), cli.complete_task("")) == (["sky"], ["life", "places", "sky"])
    monkeypatch.chdir(tmp_path)
    assert cli.complete_task("") == []


def test_chains_of_methods_are_completed() -> None:
    assert cli.complete_method("dns") == ["dns", "dns-exact"]
    assert cli.complete_method("dns-exact+ew") == ["dns-exact+ewc"]


def test_every_option_that_names_a_task_or_a_method_is_completed(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    group = typer.main.get_command(cli.app)
    assert isinstance(group, typer.core.TyperGroup)
    completed = {
        (name, option.name): [item.value for item in option.shell_complete(typer.Context(command), begun)]
        for name, command in group.commands.items()
        for option in command.params
        for begun in {"task": ["li"], "method": ["dns+ig"]}.get(option.name or "", [])
    }
    assert completed == {
        **{(name, "task"): ["life"] for name in ("index", "train", "query", "remove")},
        ("train", "method"): ["dns+igm"],
    }
