import pytest

from engine.errors import UserError
from engine.sources.tables.columns import understood


def test_the_usual_names_are_taken_without_a_word() -> None:
    columns = understood(
        dict.fromkeys(["id", "task", "split", "labels", "text", "texts", "file_name", "image"])
    )
    assert dict(columns.parts) == {
        **{name: name for name in ("id", "task", "split", "labels", "text")},
        "texts": "text",
        "file_name": "file",
    }
    assert (columns.media, columns.notes) == ({"image": "image"}, [])


@pytest.mark.parametrize(
    ("name", "part", "usual"),
    [
        *(
            (name, "text", "text")
            for name in ("caption", "captions", "title", "alt", "Caption", " alt text ")
        ),
        *(
            (name, "file", "file_name")
            for name in (
                "filepath",
                "path",
                "filename",
                "image_path",
                "img",
                "Photo",
                "picture",
                "Image File",
            )
        ),
        *((name, "labels", "labels") for name in ("label", "category")),
    ],
)
def test_other_names_in_use_are_taken_with_a_note(name: str, part: str, usual: str) -> None:
    columns = understood({name: None})
    assert (dict(columns.parts), list(columns.notes)) == (
        {name: part},
        [f"column {name!r} is read as {usual}"],
    )


def test_beside_the_usual_name_another_is_a_field() -> None:
    columns = understood({"text": None, "title": None, "image": None, "path": None})
    assert (list(columns.parts), columns.is_field("title"), columns.is_field("path")) == (
        ["text"],
        True,
        True,
    )
    assert [note.partition(";")[0] for note in columns.notes] == [
        "kept as fields of their rows: 'title', 'path'"
    ]


def test_of_several_other_names_the_first_is_taken() -> None:
    assert understood({"title": None, "caption": None}).parts == {"caption": "text"}


def test_a_name_that_is_nearly_known_is_asked_about() -> None:
    assert understood({"captoin": None}).notes == ["column 'captoin' is not read; did you mean 'caption'?"]


def test_all_other_columns_are_fields_that_one_note_lists() -> None:
    columns = understood({"url": None, "taken": None})
    assert (columns.is_field("url"), columns.is_field("taken"), len(columns.notes)) == (True, True, 1)
    assert columns.notes[0].startswith(
        "kept as fields of their rows: 'url', 'taken'; columns that are read are: id,"
    )


def test_of_many_fields_ten_are_named() -> None:
    (note,) = understood(dict.fromkeys(f"column{n:02}" for n in range(12))).notes
    assert "'column09' and 2 more" in note


@pytest.mark.parametrize("name", ["image", "image_embedding", "image_emb", "image_features", "image_vectors"])
def test_a_column_of_vectors_is_a_modality(name: str) -> None:
    assert understood({name: 4}).vectors == {name: ("image", 4)}


def test_features_by_their_plain_name_come_first() -> None:
    columns = understood({"image": 4, "image_embedding": 8})
    assert columns.vectors == {"image": ("image", 4)}
    assert columns.notes == ["column 'image_embedding' is left out: 'image' holds features of that modality"]


def test_vectors_called_labels_are_labels() -> None:
    columns = understood({"image": 4, "labels": 3})
    assert (columns.vectors, columns.parts) == ({"image": ("image", 4)}, {"labels": "labels"})


def test_vectors_called_as_captions_are_a_modality_of_that_name() -> None:
    assert understood({"caption": 4}).vectors == {"caption": ("caption", 4)}


def test_vectors_whose_name_can_be_no_modality_are_a_user_error() -> None:
    with pytest.raises(UserError, match=r"^no modality can be called 'a\\nb': it must be 1 to 255 printable"):
        understood({"a\nb": 4})


def test_of_two_columns_of_vectors_of_one_modality_the_first_is_taken() -> None:
    columns = understood({"image_emb": 4, "image_features": 8})
    assert columns.vectors == {"image_emb": ("image", 4)}
    assert columns.notes == [
        "column 'image_features' is left out: 'image_emb' holds features of that modality"
    ]
    assert not columns.is_field("image_features")


@pytest.mark.parametrize("medium", ["image", "file_name", "image_path"])
def test_beside_media_a_list_of_numbers_is_a_field_unless_it_is_called_as_features_are(medium: str) -> None:
    columns = understood({medium: None, "text": None, "bbox": 4})
    assert (columns.vectors, columns.is_field("bbox")) == ({}, True)
    assert understood({medium: None, "image_embedding": 4, "depth": 4}).vectors == {
        "image_embedding": ("image", 4),
        "depth": ("depth", 4),
    }


@pytest.mark.parametrize("name", ["labels", "Labels", "category"])
def test_vectors_called_labels_in_any_case_are_labels(name: str) -> None:
    columns = understood({"image": 4, name: 3})
    assert (columns.vectors, columns.parts) == ({"image": ("image", 4)}, {name: "labels"})


def test_vectors_called_text_are_features_of_text() -> None:
    assert understood({"text": 4}).vectors == {"text": ("text", 4)}
