import contextlib
import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import UserError
from studies.demo import demo


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a small demo, and what it said."""
    folder, said = tmp_path_factory.mktemp("demo"), io.StringIO()
    with contextlib.redirect_stdout(said):
        demo.run(folder, per_task=20)
    return folder, said.getvalue()


def test_the_demo_draws_its_hits(done: tuple[Path, str]) -> None:
    with Image.open(done[0] / "hits.png") as sheet:
        assert sheet.width > 1000


def test_the_demo_ends_with_the_forgetting_of_every_policy(done: tuple[Path, str]) -> None:
    table = done[1].partition("$ mneme evaluate")[2]

    policies = {line.split()[0] for line in table.splitlines() if "known" in line}

    assert policies == {"reindex", "no-reindex", "matched"}


def test_the_demo_leaves_a_folder_of_other_things_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear all")

    with pytest.raises(UserError, match="not empty and not an earlier demo"):
        demo.run(tmp_path)


def test_the_demo_leaves_a_report_with_its_own_pictures(done: tuple[Path, str]) -> None:
    assert "data:image/jpeg;base64," in (done[0] / demo.REPORT).read_text(encoding="utf-8")


def test_without_what_its_report_needs_the_demo_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(UserError, match=r"^a report needs matplotlib: run `pip install 'mneme\[report\]'`$"):
        demo.run(tmp_path / "demo")

    assert not (tmp_path / "demo").exists()
