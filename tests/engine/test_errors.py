import pytest

from engine.errors import InvalidSetting, Setting, Unreadable, UserError


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (Setting("lr"), "`lr`"),
        (Setting("device", "cpu"), "`device=cpu`"),
        (Setting("policy", command="reindex"), "`reindex policy`"),
        (Setting("task", "sky", command="train SOURCE"), "`train SOURCE task=sky`"),
    ],
)
def test_a_setting_stands_in_a_message_by_its_name_in_python(setting: Setting, text: str) -> None:
    assert str(setting) == text


def test_the_message_of_an_invalid_setting_begins_with_its_name() -> None:
    error = InvalidSetting("batch_size", "must be at least 2, not 1")
    assert (str(error), error.settings) == (
        "`batch_size` must be at least 2, not 1",
        (Setting("batch_size"),),
    )


def test_an_error_names_no_setting_unless_it_is_given_one() -> None:
    assert (UserError("no").settings, Unreadable("no").settings, Unreadable("no").path) == ((), (), None)
