import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import worlds
from engine.backbones import builtin
from engine.errors import UserError
from engine.ingest.setup import WorkspaceOptions
from engine.ranking import parse
from engine.ranking.query import Part, text_input
from engine.types import Hit, PolicyName
from indexer.serving import index as indexing
from indexer.serving import search
from indexer.serving.search import Answers, Index
from indexer.shards import shard as shards

POLICIES: Sequence[PolicyName] = ("reindex", "no-reindex", "matched")


@contextmanager
def opened(root: Path, policy: PolicyName | None = None) -> Iterator[Answers]:
    with search.open_index(root / ".mneme", policy=policy) as answers:
        yield answers


def ask(
    root: Path, text: str = "a dog and a star", *, to: str | None = None, k: int = 200, task: str = "all"
) -> list[Hit]:
    with opened(root) as answers:
        return answers.ask([text_input(text)], to, k, task=task, merge="raw").hits


def refusal(root: Path, *, to: str | None = None, task: str = "all") -> str:
    with pytest.raises(UserError) as caught:
        ask(root, to=to, task=task)
    return str(caught.value)


def picture(number: int = 0) -> Part:
    return Part("image", worlds.rows("sky")[number].image)


def test_a_known_task_answers_with_its_items_only(trained: Path) -> None:
    found = ask(trained, task="life")
    assert len(found) == 30
    assert all("life" in hit.tasks and hit.task == "life" for hit in found)


def test_a_known_task_answers_with_the_scores_of_its_own_shard(trained: Path) -> None:
    everything = {hit.id: hit.score for hit in ask(trained) if hit.tasks == ("places",)}
    assert everything == {hit.id: hit.score for hit in ask(trained, task="places")}


def test_an_item_of_two_tasks_is_listed_once(trained: Path) -> None:
    found = ask(trained)
    assert len(found) == len({hit.id for hit in found}) == 89


def test_an_item_of_two_tasks_names_both(trained: Path) -> None:
    assert sorted(hit.tasks for hit in ask(trained) if len(hit.tasks) > 1) == [("life", "sky")]


def test_an_item_of_two_tasks_counts_with_its_better_score(trained: Path) -> None:
    (one,) = (hit for hit in ask(trained) if len(hit.tasks) > 1)
    alone = [hit.score for task in ("sky", "life") for hit in ask(trained, task=task) if hit.id == one.id]
    assert one.score == max(alone)
    assert alone[0] != alone[1]


def test_ranks_count_from_1_without_a_gap(trained: Path) -> None:
    assert [hit.rank for hit in ask(trained)] == list(range(1, 90))


def test_k_hits_are_the_first_k_of_all(trained: Path) -> None:
    assert ask(trained, k=7) == ask(trained)[:7]


def test_a_hit_names_the_head_that_embedded_it(trained: Path) -> None:
    assert {hit.task: hit.head for hit in ask(trained)} == {"sky": 1, "life": 2, "places": 3}


def test_a_text_asks_for_images_unless_told(trained: Path) -> None:
    assert {hit.modality for hit in ask(trained)} == {"image"}


def test_a_picture_asks_for_texts_unless_told(trained: Path) -> None:
    with opened(trained) as answers:
        found = answers.index.search([picture()], "text", 5)
    assert {hit.modality for hit in found} == {"text"}


def test_more_like_this_finds_the_item_itself_first(trained: Path) -> None:
    text = worlds.rows("places")[3].text
    (first, *_) = ask(trained, text, to="text", task="places")
    assert (first.text, round(first.score, 6)) == (text, 1)


def test_a_batch_of_parts_of_opposite_weight_is_refused(trained: Path) -> None:
    with opened(trained) as answers, pytest.raises(UserError, match="cancel each other out"):
        answers.index.search([picture(), replace(picture(), weight=-1.0)], "text", 3)


def answers_of(index: Index, task: str) -> list[list[tuple[str, float]]]:
    return [
        [(hit.id, hit.score) for hit in index.search([picture(n)], "text", 90, task=task)] for n in range(5)
    ]


@pytest.mark.parametrize("task", ["all", "sky"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_override_answers_what_a_workspace_of_that_policy_answers(
    trained: Path, tmp_path: Path, policy: PolicyName, task: str
) -> None:
    changed = worlds.copied(trained, tmp_path)
    worlds.index(changed, trained / "sky.npz", policy=policy)
    assert answers_under(trained, policy, task) == answers_under(changed, None, task)


def answers_under(root: Path, policy: PolicyName | None, task: str = "all") -> list[list[tuple[str, float]]]:
    with opened(root, policy) as answers:
        return answers_of(answers.index, task)


def test_the_policies_answer_differently(trained: Path) -> None:
    assert answers_under(trained, "reindex") != answers_under(trained, "no-reindex")


def test_a_policy_override_writes_nothing(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    before = worlds.bytes_below(root)
    answers_under(root, "reindex")
    assert worlds.bytes_below(root) == before


def test_training_changes_no_answer_until_the_next_index(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    before = ask(root)
    worlds.learn(root, "sky")
    assert ask(root) == before
    worlds.index(root, trained / "sky.npz")
    assert ask(root) != before


@pytest.mark.parametrize("policy", POLICIES)
def test_training_changes_no_answer_of_an_override_until_the_next_index(
    trained: Path, tmp_path: Path, policy: PolicyName
) -> None:
    root = worlds.copied(trained, tmp_path)
    before = answers_under(root, policy)
    worlds.learn(root, "sky")
    assert answers_under(root, policy) == before


def test_training_a_new_task_does_not_bring_it_into_the_answers(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz")
    before = [(hit.id, hit.score) for hit in ask(tmp_path)]
    worlds.learn(tmp_path, "life", trained / "life.npz")
    assert [(hit.id, hit.score) for hit in ask(tmp_path)] == before


@pytest.mark.parametrize("policy", POLICIES)
def test_an_item_that_training_found_gone_is_left_out_and_nothing_breaks(
    tmp_path: Path, policy: PolicyName
) -> None:
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 12))
    worlds.learn(tmp_path, "sky", source)
    worlds.index(tmp_path, source)
    worlds.learn(tmp_path, "sky")
    worlds.index(tmp_path, source)
    worlds.save(source, worlds.rows("sky", 11))
    worlds.learn(tmp_path, "sky", source)
    with opened(tmp_path, policy) as answers:
        assert len(answers.index.search([picture()], "text", 90)) == 11


def test_an_override_leaves_out_what_training_found_gone(trained: Path, tmp_path: Path) -> None:
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 12))
    worlds.learn(tmp_path, "sky", source)
    worlds.index(tmp_path, source)
    worlds.learn(tmp_path, "life", trained / "life.npz")
    worlds.index(tmp_path, trained / "life.npz")
    worlds.save(source, worlds.rows("sky", 11))
    worlds.learn(tmp_path, "sky", source)
    with opened(tmp_path, "reindex") as answers:
        assert len(answers.index.search([picture()], "text", 90, task="sky")) == 11


def test_an_unknown_task_is_refused_with_those_there_are(trained: Path) -> None:
    assert refusal(trained, task="skies") == "no task 'skies' in the index; tasks are: sky, life, places"


def test_a_modality_nobody_indexed_is_refused_with_those_there_are(trained: Path) -> None:
    assert refusal(trained, to="depth") == (
        "no depth in the index; the index holds: image, text (choose one with `to`)"
    )


def test_a_text_query_without_pictures_to_find_is_one_line(tmp_path: Path) -> None:
    words = tmp_path / "words.csv"
    words.write_text("text\none\ntwo\n")
    indexing.index(tmp_path / ".mneme", [words], WorkspaceOptions(["builtin"]))
    assert refusal(tmp_path) == "no image in the index; the index holds: text (choose one with `to`)"


def test_an_empty_workspace_says_what_to_run(tmp_path: Path) -> None:
    worlds.learn(tmp_path, "sky", worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 4)))
    assert refusal(tmp_path) == "nothing is indexed yet: run `mneme index SOURCE`"


def test_questions_of_a_dash_are_the_lines_that_hold_something() -> None:
    asked = list(parse.read("-", {}, [], ["a dog\n", "\n", "  \n", "a star"]))
    assert [one.data for [one] in asked] == [b"a dog", b"a star"]


def test_a_file_that_exists_is_asked_with_and_not_its_name(tmp_path: Path) -> None:
    file = tmp_path / "dog.png"
    file.write_bytes(b"pixels")
    [[one]] = parse.read(str(file), {}, [], [])
    assert (one.modality, one.data) == ("image", b"pixels")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("dog.jpg", "no such file: dog.jpg (to search for the words: `text`)"),
        (None, "nothing to look for: give a text or a file, or `image`, `audio`, `text`"),
        ("  ", "blank text"),
    ],
)
def test_a_question_that_means_nothing_is_one_line(what: str | None, message: str) -> None:
    with pytest.raises(UserError) as caught:
        list(parse.read(what, {}, [], []))
    assert str(caught.value) == message


def test_a_file_that_is_no_medium_is_no_question(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(UserError, match=r"notes.txt is a file, but no medium that can be read"):
        list(parse.read(str(tmp_path / "notes.txt"), {}, [], []))


def test_a_text_longer_than_a_file_name_may_be_is_a_text() -> None:
    [[one]] = parse.read("dog " * 2000, {}, [], [])
    assert one.modality == "text"


def test_a_text_part_is_what_the_backbone_makes_of_it(trained: Path) -> None:
    reader = builtin.load()
    text = worlds.rows("sky")[1].text
    features = reader.encode("text", [reader.prepare("text", text.encode())])[0]
    with opened(trained) as answers:
        direct = answers.index.search([Part("text", np.asarray(features))], "image", 9, merge="raw")
    assert direct == ask(trained, text, k=9)


def test_how_many_are_asked_for_changes_neither_order_nor_probability(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SAMPLE", 8)
    with opened(trained) as answers:
        found = {k: answers.index.search([picture()], "image", k, merge="routed") for k in (1, 3, 20, 200)}
    told = {k: [(hit.id, hit.log_p) for hit in hits] for k, hits in found.items()}
    assert all(held == told[200][:k] for k, held in told.items())


SWITCHING = """
import sys
from pathlib import Path
from engine.ingest.setup import WorkspaceOptions
from indexer.serving.index import index
root, source = map(Path, sys.argv[1:])
index(root, [source], WorkspaceOptions(), policy="reindex")
index(root, [source], WorkspaceOptions())  # which clears what was replaced away
"""


def test_a_reader_whose_shards_were_replaced_reads_the_manifest_again(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    told = [sys.executable, "-c", SWITCHING, str(root / ".mneme"), str(trained / "sky.npz")]
    with opened(root) as answers:
        subprocess.run(told, check=True, capture_output=True)
        found = answers.index.search([picture()], "image", 5)
    assert {hit.head for hit in found} == {3}


def test_a_reader_whose_router_was_replaced_reads_the_manifest_again(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    more = worlds.save(tmp_path / "more.npz", worlds.rows("sky", 10, start=30))
    told = [sys.executable, "-c", SWITCHING, str(root / ".mneme"), str(more)]
    with opened(root) as answers:
        routers = answers.index.workspace.routers
        before = set(routers.iterdir())
        subprocess.run(told, check=True, capture_output=True)
        assert not before & set(routers.iterdir())
        assert answers.index.infer([picture()], "image").task == "sky"
