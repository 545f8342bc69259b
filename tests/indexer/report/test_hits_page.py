import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from engine.types import Hit
from indexer.report import hits_page

HIT = Hit(2, 0.51234, "0" * 32, "text", "<sky>", ("<sky>",), None, "<b>a moon</b>", 1)


@pytest.fixture
def picture(tmp_path: Path) -> Hit:
    """A hit whose picture can be read."""
    path = tmp_path / "red.png"
    Image.new("RGB", (40, 30), "red").save(path)
    return replace(HIT, modality="image", path=str(path), text=None)


def written(folder: Path, *answers: tuple[str, list[Hit]]) -> str:
    hits_page.write(folder / "hits.html", answers)
    return (folder / "hits.html").read_text()


def test_a_page_holds_its_pictures_and_their_names(tmp_path: Path, picture: Hit) -> None:
    page = written(tmp_path, ("red", [picture]))

    assert 'src="data:image/jpeg;base64,' in page
    assert f"<p>{picture.path}</p>" in page


def test_a_hit_says_its_rank_cosine_and_task(tmp_path: Path) -> None:
    assert "<small>2 · 0.512 · &lt;sky&gt;</small>" in written(tmp_path, ("moon", [HIT]))


def test_a_page_runs_nothing_that_a_text_says(tmp_path: Path) -> None:
    page = written(tmp_path, ("<script>", [HIT]))

    assert "<p>&lt;b&gt;a moon&lt;/b&gt;</p>" in page
    assert "<script>" not in page


def test_every_query_has_its_title_and_its_hits_in_their_order(tmp_path: Path) -> None:
    page = written(tmp_path, ("one", [HIT, replace(HIT, text="a sun")]), ("two", []))

    assert re.findall("<h1>(.*?)</h1>|<p>([^<]*)</p>", page) == [
        ("one", ""),
        ("", "&lt;b&gt;a moon&lt;/b&gt;"),
        ("", "a sun"),
        ("two", ""),
    ]


def test_a_picture_that_has_gone_leaves_its_name(tmp_path: Path) -> None:
    page = written(
        tmp_path, ("gone", [replace(HIT, modality="image", path=str(tmp_path / "gone.png"), text=None)])
    )

    assert "gone.png" in page
    assert "<img" not in page


def test_a_text_from_a_file_is_not_taken_for_a_picture(tmp_path: Path, picture: Hit) -> None:
    assert "<img" not in written(tmp_path, ("red", [replace(picture, modality="text")]))
