import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from conftest import WIDTH, FakeBackbone
from engine.errors import Unreadable, UserError
from engine.heads.embedder import Embedder
from engine.ranking import query
from engine.ranking.query import Input, Part
from engine.storage.manifest import BackboneRecord, Manifest
from engine.storage.workspace import Workspace
from engine.types import Modality

X, Y = np.eye(2, WIDTH, dtype=np.float32)


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    encoders = {modality: BackboneRecord("fake", "fake-1", WIDTH) for modality in ("image", "text")}
    return Embedder(Workspace(tmp_path, Manifest(WIDTH, True, encoders)))


def composed(embedder: Embedder, *parts: Part) -> NDArray[np.float32]:
    (row,) = query.compose(embedder, 0, parts)
    return np.asarray(row, np.float32)


# inputs


@pytest.mark.parametrize(
    ("text", "weight", "words"),
    [
        ("beach", 1, "beach"),
        ("2:beach", 2, "beach"),
        ("-1:people", -1, "people"),
        ("+0.5:at night", 0.5, "at night"),
        ("2: a beach \n", 2, "a beach"),
        ("2:10:30 by the clock", 2, "10:30 by the clock"),
        ("2:two\nlines", 2, "two\nlines"),
        ("note: beach", 1, "note: beach"),
        ("2:", 1, "2:"),
        ("2 :beach", 1, "2 :beach"),
        ("cafe\u0301", 1, "caf\u00e9"),
    ],
)
def test_a_text_may_be_weighted(text: str, weight: float, words: str) -> None:
    assert query.text_input(text) == Input("text", words.encode(), weight)


@pytest.mark.parametrize("text", ["0:sea", "-0.0:sea"])
def test_a_text_that_would_have_no_say_is_a_user_error(text: str) -> None:
    with pytest.raises(UserError, match=f"^a text of weight 0 has no say in a query: '{text}'$"):
        query.text_input(text)


@pytest.mark.parametrize("text", ["", " ", "2: "])
def test_a_blank_text_is_a_user_error(text: str) -> None:
    with pytest.raises(UserError, match=r"^blank text$"):
        query.text_input(text)


def test_a_file_is_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    assert query.file_input("image", tmp_path / "a.jpg") == Input("image", b"photo", name="a.jpg")


def test_a_file_that_cannot_be_read_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        query.file_input("image", tmp_path / "a.jpg")
    assert str(raised.value) == f"cannot read {tmp_path / 'a.jpg'}: no such file or directory"


def test_inputs_are_encoded_each_by_its_modality(backbone: FakeBackbone) -> None:
    parts = query.encode([Input("image", b"photo"), Input("text", b"beach", -2)], lambda modality: backbone)
    assert [(part.modality, part.weight) for part in parts] == [("image", 1), ("text", -2)]
    assert backbone.read == [b"photo", b"beach"]


def test_an_input_that_cannot_be_decoded_is_a_user_error(backbone: FakeBackbone) -> None:
    with pytest.raises(UserError) as raised:
        query.encode([Input("image", b"broken")], lambda modality: backbone)
    assert str(raised.value) == "the image of the query cannot be used: broken on purpose"


def test_a_modality_that_no_backbone_reads_is_a_user_error() -> None:
    def none(modality: Modality) -> FakeBackbone:
        raise Unreadable(f"no backbone reads {modality}")

    with pytest.raises(UserError, match=r"^the audio of the query cannot be used: no backbone reads audio$"):
        query.encode([Input("audio", b"sound")], none)


def test_the_bytes_of_an_input_are_what_its_backbone_makes_features_of(backbone: FakeBackbone) -> None:
    (part,) = query.encode([Input("text", b"beach")], lambda modality: backbone)
    assert_allclose(part.features, backbone.encode("text", [backbone.prepare("text", b"beach")])[0])


# what a command line says


def parsed(
    argument: str | None, *, files: Mapping[Modality, list[Path]] | None = None, texts: Sequence[str] = ()
) -> list[Input]:
    """Return the one query that is asked."""
    (inputs,) = query.parse_queries(argument, files or {}, texts, [])
    return inputs


def test_the_queries_of_a_dash_are_the_lines_that_hold_something() -> None:
    queries = list(query.parse_queries("-", {}, [], ["a dog\r\n", "\n", "  \n", "a star"]))
    assert [given.data for [given] in queries] == [b"a dog", b"a star"]


def test_a_line_is_read_only_when_its_query_is_wanted() -> None:
    lines = iter(["a dog\n", "a star\n"])
    next(query.parse_queries("-", {}, [], lines))
    assert list(lines) == ["a star\n"]


@pytest.mark.parametrize(("texts", "files"), [(["sea"], {}), ([], {"image": [Path("a.jpg")]})])
def test_a_dash_takes_no_other_inputs(texts: list[str], files: dict[str, list[Path]]) -> None:
    with pytest.raises(UserError, match=r"^- reads whole queries from stdin: leave out"):
        list(query.parse_queries("-", files, texts, ["a dog"]))


def test_a_query_holds_the_argument_then_files_then_weighted_texts(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    assert parsed("2:dog", files={"image": [tmp_path / "a.jpg"]}, texts=["-1:sea"]) == [
        Input("text", b"2:dog"),
        Input("image", b"photo", name="a.jpg"),
        Input("text", b"sea", -1.0),
    ]


def test_a_file_that_exists_is_searched_with_and_not_its_name(tmp_path: Path) -> None:
    file = tmp_path / "dog.png"
    file.write_bytes(b"pixels")
    assert parsed(str(file)) == [Input("image", b"pixels", name="dog.png")]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("dog.jpg", "no such file: dog.jpg (to search for the words: `text`)"),
        (None, "nothing to look for: give a text or a file, or `image`, `audio`, `text`"),
        ("  ", "blank text"),
    ],
)
def test_an_argument_that_means_nothing_is_one_line(argument: str | None, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parsed(argument)
    assert str(caught.value) == message


def test_a_file_that_is_no_medium_is_no_query(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(UserError, match=r"notes.txt is a file, but no medium that can be read"):
        parsed(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize("name", ["pipe.jpg", "pipe.jsonl", "pipe"])
def test_what_exists_and_is_no_regular_file_is_no_query(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError) as caught:
        parsed(str(tmp_path / name))
    assert str(caught.value) == f"{tmp_path / name} is not a regular file (to search for the words: `text`)"


def test_a_link_to_a_device_is_no_query(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"x.jpg is not a regular file"):
        parsed(str(tmp_path / "x.jpg"))


def test_a_folder_that_is_called_as_a_medium_is_no_query(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(UserError, match=r"x.jpg is a folder \(to search for the words: `text`\)$"):
        parsed(str(tmp_path / "x.jpg"))


def test_a_medium_that_cannot_be_looked_at_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").symlink_to("x.jpg")
    with pytest.raises(UserError, match=r"^cannot read .*x.jpg: too many levels of symbolic links$"):
        parsed(str(tmp_path / "x.jpg"))


def test_words_that_are_a_folders_name_are_words_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parsed("photos") == [Input("text", b"photos")]
    assert [str(told) for told in query.as_words("photos")] == ["photos is a folder here; searched as words"]


@pytest.mark.parametrize("text", ["a dog", "dog " * 2000, "a\0b", "dog.jpg"])
def test_words_that_are_no_files_name_are_told_nothing(text: str) -> None:
    assert query.as_words(text) == []


def test_a_text_longer_than_a_file_name_may_be_is_a_text() -> None:
    (given,) = parsed("dog " * 2000)
    assert given.modality == "text"


TEXT, IMAGE = Input("text", b"a dog"), Input("image", b"photo", name="a.jpg")


@pytest.mark.parametrize(
    ("inputs", "to", "target"),
    [
        ([TEXT, TEXT], None, "image"),
        ([IMAGE], None, "text"),
        ([TEXT, IMAGE], None, "text"),
        ([TEXT], "audio", "audio"),
    ],
)
def test_texts_look_for_images_and_all_else_for_texts_unless_told(
    inputs: list[Input], to: Modality | None, target: Modality
) -> None:
    assert query.target_of(inputs, to) == target


def test_the_title_of_a_query_names_texts_and_files() -> None:
    assert query.title([TEXT, IMAGE]) == "a dog + a.jpg"


# composition


def test_a_query_of_one_part_is_its_embedding(embedder: Embedder) -> None:
    assert_allclose(composed(embedder, Part("text", 3 * X)), X)


def test_a_composed_query_is_of_unit_length(embedder: Embedder) -> None:
    assert_allclose(composed(embedder, Part("text", X), Part("image", Y)), (X + Y) / 2**0.5, rtol=1e-6)


def test_parts_are_summed_as_embeddings_not_as_features(embedder: Embedder) -> None:
    assert_allclose(composed(embedder, Part("text", 100 * X), Part("image", Y)), (X + Y) / 2**0.5, rtol=1e-6)


def test_a_weight_pulls_the_query(embedder: Embedder) -> None:
    assert_allclose(
        composed(embedder, Part("text", X, 2.0), Part("text", Y)), (2 * X + Y) / 5**0.5, rtol=1e-6
    )


def test_a_negative_weight_turns_the_query_away(embedder: Embedder) -> None:
    assert_allclose(composed(embedder, Part("text", X), Part("text", Y, -1.0)), (X - Y) / 2**0.5, rtol=1e-6)


def test_parts_that_cancel_each_other_are_a_user_error(embedder: Embedder) -> None:
    with pytest.raises(UserError) as raised:
        composed(embedder, Part("text", X), Part("text", X, -1.0))
    assert str(raised.value) == "the parts of the query cancel each other out: change their weights"


def test_a_query_of_zero_features_is_zero_not_nan(embedder: Embedder) -> None:
    assert np.array_equal(composed(embedder, Part("text", 0 * X)), 0 * X)
