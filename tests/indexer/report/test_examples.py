import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
from PIL import Image

import worlds
from engine.storage.store import Store
from engine.types import Item, ItemId, PolicyName
from evaluations import SETTINGS, evaluated
from indexer.evaluation.runs import Trial
from indexer.report import examples
from indexer.report.regressions import Regression
from indexer.report.sections import Report

THREE_POLICIES = replace(SETTINGS, policies=("no-reindex", "reindex", "matched"), ks=(10,))
ASKED, RIGHT, THEN, NOW = (digit * 32 for digit in "abcd")
FALL = Regression("text", "image", "reindex", "<sky>", ASKED, RIGHT, 2, 9, THEN, NOW)


@pytest.fixture
def falling(monkeypatch: pytest.MonkeyPatch) -> dict[PolicyName, int]:
    """How many queries fall in each direction under each policy, for a test to say."""
    counts: dict[PolicyName, int] = {}

    def regressions(trial: Trial, policy: PolicyName, k: int) -> list[Regression]:
        fall = replace(FALL, query=trial.query, target=trial.target, policy=policy, before=k)
        return [replace(fall, after=30 - n) for n in range(counts.get(policy, 0))]

    monkeypatch.setattr(examples, "regressions", regressions)
    return counts


def section(root: Path, served: PolicyName = "no-reindex") -> str:
    """Return the section where a policy is served and `no-reindex`, `reindex` and `matched` are evaluated."""
    opened = worlds.opened(root)
    opened.with_manifest(replace(opened.manifest, served=replace(opened.manifest.served, policy=served)))
    with evaluated(root, THREE_POLICIES) as evaluation:
        return examples.section(Report(evaluation, []))


def test_every_direction_has_its_share_of_the_ten_that_are_shown(
    world: Path, falling: dict[PolicyName, int]
) -> None:
    falling["no-reindex"] = 7

    assert re.findall(r"</b>, (.*?): from rank (\d+) to (\d+)</p>", section(world)) == [
        (direction, "10", str(30 - n)) for direction in ("text to image", "image to text") for n in range(5)
    ]


@pytest.mark.parametrize(
    ("served", "policies", "words"),
    [
        ("matched", ("matched", "no-reindex", "reindex"), "matched, which is served"),
        ("matched", ("no-reindex", "reindex"), "no-reindex"),
        ("matched", ("reindex",), "reindex"),
        ("reindex", ("no-reindex", "reindex"), "reindex, which is served"),
        ("auto", ("no-reindex",), "no-reindex"),
    ],
)
def test_the_policy_that_is_served_is_shown_or_the_first_other_one_that_forgets(
    world: Path, falling: dict[PolicyName, int], served: PolicyName, policies: list[PolicyName], words: str
) -> None:
    falling |= dict.fromkeys(policies, 1)

    assert (
        f"among the first 10 when their task was taught, and fallen furthest since, under {words}; the"
        in section(world, served)
    )


def test_a_policy_that_is_not_evaluated_is_not_shown(world: Path, falling: dict[PolicyName, int]) -> None:
    falling |= {"auto": 1}

    assert "No query has lost a right item" in section(world, "auto")


def test_where_nothing_was_forgotten_a_line_says_so(world: Path, falling: dict[PolicyName, int]) -> None:
    page = section(world)

    assert "No query has lost a right item that it once found among its first 10." in page
    assert "<figure>" not in page


@dataclass
class FakeStore:
    """Items by their ids, none of which stands in a task."""

    items: Mapping[ItemId, Item]

    def item(self, id: ItemId) -> tuple[Item, tuple[str, ...]] | None:
        return (self.items[id], ()) if id in self.items else None


def card(*items: Item) -> str:
    return examples._card(cast(Store, FakeStore({item.id: item for item in items})), FALL)


def figures(card: str) -> list[tuple[str, str]]:
    """Return the caption and the content of every figure of a card."""
    return re.findall("<figure><figcaption>(.*?)</figcaption>(.*?)</figure>", card)


def test_a_card_says_whose_query_fell_how_far() -> None:
    assert "<p><b>&lt;sky&gt;</b>, text to image: from rank 2 to 9</p>" in card()


def test_a_card_shows_what_was_asked_what_is_right_and_what_stood_first() -> None:
    assert figures(card()) == [
        ("asked", ASKED),
        ("right", RIGHT),
        ("first when taught", THEN),
        ("first now", NOW),
    ]


def test_a_text_is_shown_as_it_is_written_and_not_whole_where_it_is_long() -> None:
    asked, right = Item(ASKED, "text", text="<b>a moon"), Item(RIGHT, "text", text="x" * 241)

    assert figures(card(asked, right))[:2] == [("asked", "&lt;b&gt;a moon"), ("right", "x" * 239 + "…")]


def test_a_picture_is_shown_where_it_can_be_read_and_else_its_name(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (40, 30), "red").save(path)

    contents = figures(card(Item(RIGHT, "image", (str(path),)), Item(THEN, "image", ("gone.png",))))

    assert contents[1][1].startswith('<img alt="" src="data:image/jpeg;base64,')
    assert contents[2] == ("first when taught", "gone.png")


def test_a_text_from_a_file_is_not_taken_for_a_picture_nor_a_sound(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (40, 30), "red").save(path)

    assert figures(card(Item(RIGHT, "audio", (str(path),))))[1] == ("right", str(path))


def test_features_without_a_file_are_shown_by_their_id() -> None:
    assert figures(card(Item(RIGHT, "image")))[1] == ("right", RIGHT)
