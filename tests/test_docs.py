"""Every `mneme` command that the documents show is run, in the order shown."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

import cli
from docs.sources import renewed
from engine.media import MEANING, Flag
from studies.demo import pictures
from studies.sweeps import runner, toml_file
from studies.sweeps.spec import Spec

ROOT = Path(__file__).parents[1]
SHOWING = ["README.md", "docs/guide.md", "docs/methods.md", "docs/policies.md"]
LINKING = [*SHOWING, "CONTRIBUTING.md", "docs/architecture.md", "docs/indexing.md", "docs/reliability.md"]


def commands(document: str) -> list[list[str]]:
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("mneme ")]
    return [shlex.split(line.partition(" | ")[0], comments=True) for line in lines]


@pytest.mark.parametrize("document", SHOWING)
def test_every_command_shown_runs(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pictures.render(tmp_path / "pictures", per_task=12)
    for command in commands(document):
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 0, (command, capsys.readouterr().err)


@pytest.mark.parametrize("document", ["README.md", "docs/guide.md"])
def test_nothing_is_asked_before_a_lesson_that_was_indexed_has_taught_it_words(document: str) -> None:
    names = [command[1] for command in commands(document)]
    assert "train" in names[: names.index("query")]
    assert names[names.index("train") :].index("index") < names[names.index("train") :].index("query")


def test_the_sweep_shown_is_one_that_can_be_made(tmp_path: Path) -> None:
    text = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "SPEC.toml").write_text(shown, encoding="utf-8")
    (tmp_path / "pictures").mkdir()
    assert len(toml_file.load(tmp_path / "SPEC.toml").runs) == 9


def test_the_sweep_shown_in_python_is_one_that_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    (shown,) = (
        code
        for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        if "sweeps" in code
    )
    made: list[Spec] = []

    def run(spec: Spec, out: Path, *, jobs: int) -> runner.SweepSummary:
        made.append(spec)
        return runner.SweepSummary(out, len(spec.runs), (), 0.0, ())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "run", run)
    exec(compile(shown, "guide.md", "exec"), {})
    assert [(len(spec.runs), len(spec.steps)) for spec in made] == [(6, 3)]


@pytest.mark.parametrize("document", LINKING)
def test_documents_link_only_to_files_that_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [link for link in links if not ((ROOT / document).parent / link).exists()]
    assert missing == []


def test_the_page_on_indexing_says_what_is_read_and_said_of_each_form_of_source() -> None:
    page = (ROOT / "docs/indexing.md").read_text(encoding="utf-8")
    assert page == renewed(page), "run python -m docs.sources"


ARCHITECTURE = runpy.run_path(str(ROOT / "docs/architecture.py"))


def test_the_picture_of_the_architecture_is_as_it_is_drawn() -> None:
    assert (ROOT / "docs/architecture.svg").read_text(encoding="utf-8") == ARCHITECTURE["draw"]()


def test_the_page_of_the_architecture_says_what_the_code_says() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert page == ARCHITECTURE["renewed"](page), "run python docs/architecture.py"


def test_the_ways_that_are_shown_lead_through_functions_that_exist() -> None:
    hops = {
        (file, function) for way in ARCHITECTURE["traced"]().values() for file, (_, function) in way.items()
    }
    gone = {(file, function) for file, function in hops if not is_defined(ROOT / file, function)}
    assert gone == set(), "run python -m benchmarks.paths, then python docs/architecture.py"


def is_defined(file: Path, function: str) -> bool:
    names = set(re.findall(r"^\s*(?:def|class) (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)) | {
        "<lambda>"
    }
    return set(function.split(".")) <= names


@pytest.mark.parametrize("flag", MEANING)
def test_the_page_on_indexing_says_what_to_do_about_each_flag(flag: Flag) -> None:
    notes = (ROOT / "docs/indexing.md").read_text(encoding="utf-8").partition("## What the notes mean")[2]
    assert f"{MEANING[flag].partition(';')[0]}" in notes
