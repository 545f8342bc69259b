from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import UserError
from engine.types import Hit
from indexer.report import hits_page

HIT = Hit(1, 0.5, "0" * 32, "text", "sky", ("sky",), None, "<b>a moon</b>", 1)


def test_a_page_holds_its_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    hit = replace(HIT, modality="image", path=str(tmp_path / "red.png"), text=None)
    hits_page.write(tmp_path / "hits.html", [("red", [hit])])
    assert 'src="data:image/jpeg;base64,' in (tmp_path / "hits.html").read_text()


def test_a_page_runs_nothing_that_a_text_says(tmp_path: Path) -> None:
    hits_page.write(tmp_path / "hits.html", [("<script>", [HIT])])
    written = (tmp_path / "hits.html").read_text()
    assert "&lt;b&gt;a moon&lt;/b&gt;" in written
    assert "<script>" not in written


def test_a_picture_that_has_gone_leaves_its_name(tmp_path: Path) -> None:
    hit = replace(HIT, modality="image", path=str(tmp_path / "gone.png"), text=None)
    hits_page.write(tmp_path / "hits.html", [("gone", [hit])])
    written = (tmp_path / "hits.html").read_text()
    assert "gone.png" in written
    assert "<img" not in written


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^cannot write "):
        hits_page.write(tmp_path / "no" / "hits.html", [])
