"""mneme in Python: what a person should know although nothing failed is a warning at the line that called."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import mneme
from commands import Run, colours
from engine.errors import UserError
from engine.types import TrainSettings

ONE_EPOCH = TrainSettings("sky", form="linear", epochs=1)
WAITING = (
    "lesson 4 (sky) is not served yet: `mneme reindex` serves it, or `mneme index SOURCE`; "
    "until then answers are as before"
)


def notes_of(call: Callable[[], object]) -> list[str]:
    """Return the notes that a call raises; each is a Note, and points at the line of the call in this file."""
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        call()
    line = call.__code__.co_firstlineno
    assert {(one.category, one.filename, one.lineno) for one in raised} <= {(mneme.Note, __file__, line)}
    return [str(one.message) for one in raised]


def test_what_goes_without_a_hitch_raises_no_warning(world: Path) -> None:
    opened = mneme.open(world)
    assert notes_of(lambda: opened.index(world / "sky.npz")) == []
    assert notes_of(lambda: opened.search("a dog")) == []
    assert notes_of(lambda: opened.evaluate()) == []
    assert notes_of(lambda: opened.status()) == []


def test_a_column_that_is_not_read_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "words.jsonl").write_text('{"captoin": "a dog", "text": "a cat"}\n')
    opened = mneme.open(tmp_path)
    notes = notes_of(lambda: opened.index(tmp_path / "words.jsonl", backbone="builtin"))
    assert notes == ["column 'captoin' is not read; did you mean 'caption'?"]


def test_that_clip_is_not_to_be_had_and_what_that_means_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    folder, opened = colours(tmp_path / "colours", "red", "blue"), mneme.open(tmp_path)
    notes = notes_of(lambda: opened.index(folder))
    assert notes == [
        "CLIP is not to be had: HF_HUB_OFFLINE is set; builtin encodes instead, which knows no words until a "
        "lesson teaches it some: `train SOURCE task=NAME`"
    ]
    chance = ["these modalities share no space before the first `mneme train`; hits are chance"]
    assert notes_of(lambda: opened.search("a red picture")) == chance
    assert notes_of(lambda: opened.search(folder / "red.png", to="image")) == []


def test_words_that_are_a_files_or_folders_name_are_searched_as_words_which_is_a_note(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(colours(world / "pictures", "red").parent)
    opened = mneme.open(world)
    assert notes_of(lambda: opened.search("pictures/red.png")) == [
        "pictures/red.png is a file here; searched as words: to search by it pass Path(...)"
    ]
    assert notes_of(lambda: opened.search("pictures")) == ["pictures is a folder here; searched as words"]


def test_a_lesson_that_is_not_served_yet_is_a_note_until_it_is(world: Path) -> None:
    opened = mneme.open(world)
    assert notes_of(lambda: opened.train("sky", settings=ONE_EPOCH)) == [WAITING]
    assert notes_of(lambda: opened.search("a dog")) == [WAITING]
    assert notes_of(lambda: opened.index(world / "sky.npz")) == []
    assert notes_of(lambda: opened.search("a dog")) == []


def test_the_first_lesson_of_all_is_served_by_an_index_alone(trained: Path, tmp_path: Path, run: Run) -> None:
    opened, source = mneme.open(tmp_path), trained / "sky.npz"
    notes = notes_of(lambda: opened.train("sky", source=source, settings=ONE_EPOCH))
    assert notes == ["lesson 1 (sky) is not served yet: `mneme index SOURCE` serves it"]
    assert run("train", "-t", "sky", "--epochs", "1").out.endswith(
        "\nnext: lesson 2 (sky) is not served yet: `mneme index SOURCE` serves it\n"
    )


def test_settings_of_another_task_teach_nothing(world: Path) -> None:
    with pytest.raises(UserError, match=r"^the task to teach is 'life', but the settings are of 'sky'$"):
        mneme.open(world).train("life", settings=ONE_EPOCH)


def test_rows_are_removed_as_by_the_command_line_and_files_that_are_still_there_are_a_note(
    tmp_path: Path,
) -> None:
    folder, opened = colours(tmp_path / "colours", "red", "blue"), mneme.open(tmp_path)
    opened.index(folder, backbone="builtin")
    present = f"what this row was read from is still there: `mneme index {folder}` brings it back"
    assert notes_of(lambda: opened.remove(folder / "red.png", dry_run=True)) == [present]
    assert opened.status().items == {"image": 2, "text": 2}
    assert notes_of(lambda: opened.remove(folder / "red.png")) == [present]
    assert opened.status().items == {"image": 1, "text": 1}


def test_to_remove_nothing_in_particular_is_an_error(world: Path) -> None:
    with pytest.raises(mneme.UserError, match="say what is to go: an item's id, a file or folder, `task=T`"):
        mneme.open(world).remove()


def test_the_status_is_what_the_command_line_prints(trained: Path, run: Run) -> None:
    status, printed = mneme.open(trained).status(), run("status", "-w", trained, "--json").json
    assert [task.task for task in status.tasks] == [task["task"] for task in printed["tasks"]]
    assert (status.items, status.bytes) == (printed["items"], printed["bytes"])


def test_how_sources_are_read_is_given_as_a_value(tmp_path: Path) -> None:
    opened, rows = mneme.open(tmp_path), tmp_path / "words.jsonl"
    rows.write_text("".join(f'{{"text": "dog {number}"}}\n' for number in range(40)))
    few = mneme.SourceOptions(limits=mneme.Limits(max_rows=2))
    with pytest.raises(mneme.UserError, match="max_rows"):
        opened.index(rows, backbone="builtin", reading=few)
    opened.index(rows, backbone="builtin")
    rows.write_text('{"text": "dog 0"}\n')
    with pytest.raises(mneme.UserError, match="allow_mass_delete"):
        opened.index(rows)
    assert opened.index(rows, allow_mass_delete=True).removed == 39


def test_the_limits_of_a_query_are_given_as_a_value(tmp_path: Path) -> None:
    folder, opened = colours(tmp_path / "colours", "red", "blue"), mneme.open(tmp_path)
    opened.index(folder, backbone="builtin")
    with pytest.raises(mneme.UserError, match="max_pixels"):
        opened.search(folder / "red.png", to="image", limits=mneme.DecodingLimits(max_pixels=1))
