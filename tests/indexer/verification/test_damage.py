from pathlib import Path

from engine.errors import Damaged, UserError
from indexer.verification.damage import Verification, told


def test_an_error_of_a_file_is_told_with_what_mends_it() -> None:
    problem = told(Damaged(Path("a"), "it is cut"), "head", "takes its copy")
    assert (problem.path, problem.what, str(problem.mend)) == (
        "a",
        "it is cut",
        "`verify repair` takes its copy",
    )


def test_another_error_is_told_as_it_is() -> None:
    problem = told(UserError("b is newer"), "head", "takes its copy")
    assert (problem.path, problem.what, str(problem.mend)) == ("", "", "b is newer")


def test_nothing_wrong_is_ok() -> None:
    assert Verification([], [], [], 0.0).ok
