from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import apart
import worlds
from engine.backbones import builtin
from engine.errors import UserError, Vanished
from engine.ingest.setup import WorkspaceOptions
from engine.ranking import query
from engine.ranking.query import Part, text_input
from engine.types import AllTasks, Hit, KnownTask, PolicyName
from indexer.routing import slda
from indexer.serving import index as indexing
from indexer.serving import reindex, search
from indexer.serving.search import LikeliestTask, QueryScope, Searcher
from indexer.serving.snapshot import ServedSnapshot
from indexer.serving.wanted import ServingRequest
from indexer.shards import files as shards
from indexer.shards import gpu
from indexer.shards import shard as shard_module
from indexer.shards.shard import Shard

POLICIES: Sequence[PolicyName] = ("reindex", "no-reindex", "matched")
RAW, ROUTED = AllTasks("raw"), AllTasks("routed")
A, B = (f"{number:032x}" for number in range(2))


@contextmanager
def opened(root: Path, policy: PolicyName | None = None) -> Iterator[Searcher]:
    with search.open_searcher(root / ".mneme", policy=policy) as searcher:
        yield searcher


def ask(
    root: Path,
    text: str = "a dog and a star",
    *,
    to: str | None = None,
    k: int = 200,
    scope: QueryScope = RAW,
) -> list[Hit]:
    with opened(root) as searcher:
        return searcher.search([text_input(text)], to, k, scope).hits


def refusal(root: Path, *, to: str | None = None, scope: QueryScope = RAW) -> str:
    with pytest.raises(UserError) as caught:
        ask(root, to=to, scope=scope)
    return str(caught.value)


def picture(number: int = 0) -> Part:
    return Part("image", worlds.rows("sky")[number].image)


def test_a_known_task_answers_with_its_items_only(trained: Path) -> None:
    hits = ask(trained, scope=KnownTask("life"))
    assert len(hits) == 30
    assert all("life" in hit.tasks and hit.task == "life" for hit in hits)


def test_a_known_task_answers_with_the_scores_of_its_own_shard(trained: Path) -> None:
    everything = {hit.id: hit.score for hit in ask(trained) if hit.tasks == ("places",)}
    assert everything == {hit.id: hit.score for hit in ask(trained, scope=KnownTask("places"))}


def test_an_item_of_two_tasks_is_listed_once(trained: Path) -> None:
    hits = ask(trained)
    assert len(hits) == len({hit.id for hit in hits}) == 89


def test_an_item_of_two_tasks_names_both(trained: Path) -> None:
    assert sorted(hit.tasks for hit in ask(trained) if len(hit.tasks) > 1) == [("life", "sky")]


def test_an_item_of_two_tasks_counts_with_its_better_score(trained: Path) -> None:
    (shared,) = (hit for hit in ask(trained) if len(hit.tasks) > 1)
    alone = [
        hit.score
        for task in ("sky", "life")
        for hit in ask(trained, scope=KnownTask(task))
        if hit.id == shared.id
    ]
    assert shared.score == max(alone)
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
    with opened(trained) as searcher:
        hits = searcher.nearest([picture()], "text", 5, RAW)
    assert {hit.modality for hit in hits} == {"text"}


def test_more_like_this_finds_the_item_itself_first(trained: Path) -> None:
    text = worlds.rows("places")[3].text
    (first, *_) = ask(trained, text, to="text", scope=KnownTask("places"))
    assert (first.text, round(first.score, 6)) == (text, 1)


def test_a_batch_of_parts_of_opposite_weight_is_refused(trained: Path) -> None:
    with opened(trained) as searcher, pytest.raises(UserError, match="cancel each other out"):
        searcher.nearest([picture(), replace(picture(), weight=-1.0)], "text", 3, RAW)


def test_less_than_one_hit_cannot_be_wanted(trained: Path) -> None:
    with opened(trained) as searcher, pytest.raises(UserError, match=r"^k must be at least 1, not 0$"):
        searcher.nearest([picture()], "text", 0, RAW)
    assert len(ask(trained, k=1)) == 1


def test_hits_below_the_least_cosine_are_left_out(trained: Path) -> None:
    hits = ask(trained)
    with opened(trained) as searcher:
        above = searcher.search([text_input("a dog and a star")], None, 200, RAW, min_score=hits[4].score)
    assert above.hits == hits[:5]


# where to look


def test_a_scope_is_named_as_the_command_line_names_it(trained: Path) -> None:
    with opened(trained) as searcher:
        assert searcher.scope("sky", "routed") == KnownTask("sky")
        assert searcher.scope("auto") == LikeliestTask()
        assert [searcher.scope("all", merge) for merge in ("raw", "routed")] == [RAW, ROUTED]


def test_all_tasks_are_merged_by_cosine_before_any_lesson_and_routed_from_then_on(
    trained: Path, tmp_path: Path
) -> None:
    worlds.index(tmp_path, trained / "sky.npz", trained / "life.npz")
    with opened(tmp_path) as searcher:
        assert searcher.scope("all") == searcher.all_tasks() == RAW
    worlds.learn(tmp_path, "sky")
    with opened(tmp_path) as searcher:
        assert searcher.all_tasks() == RAW
    worlds.index(tmp_path, trained / "sky.npz")
    with opened(tmp_path) as searcher:
        assert searcher.scope("all") == searcher.all_tasks() == ROUTED


def test_hits_of_all_tasks_have_a_probability_where_they_are_routed_alone(trained: Path) -> None:
    assert all(hit.log_p is None for hit in ask(trained, scope=RAW))
    assert all(hit.log_p is None for hit in ask(trained, scope=KnownTask("sky")))
    assert all(hit.log_p is not None for hit in ask(trained, scope=ROUTED))


def test_a_single_task_needs_no_router(tmp_path: Path) -> None:
    worlds.index(tmp_path, worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 12)))
    assert all(hit.log_p is None for hit in ask(tmp_path, scope=ROUTED))


def test_the_likeliest_task_is_searched_and_named(trained: Path) -> None:
    with opened(trained) as searcher:
        parts = query.encode([text_input("a dog and a cat")], searcher.backbones.of)
        inferred = searcher.infer_task(parts, "image")
    assert inferred.task == "life"
    with opened(trained) as searcher:
        result = searcher.search([text_input("a dog and a cat")], None, 9, LikeliestTask())
    assert result.inferred == inferred
    assert result.hits == ask(trained, "a dog and a cat", k=9, scope=KnownTask("life"))


def test_a_task_that_is_known_is_not_inferred(trained: Path) -> None:
    with opened(trained) as searcher:
        assert searcher.search([text_input("a dog")], None, 9, KnownTask("sky")).inferred is None


def test_the_probability_of_a_task_is_what_the_router_says(trained: Path) -> None:
    with opened(trained) as searcher:
        inferred = searcher.infer_task([picture()], "image")
        log_p = searcher.snapshot.router("image").log_p(picture().features[None], worlds.TASKS)
    assert inferred.task == "sky"
    assert inferred.probability == pytest.approx(np.exp(log_p.max()))


def test_a_part_that_is_subtracted_has_no_say_in_the_task(trained: Path) -> None:
    other = Part("image", worlds.rows("places")[2].image, -2.0)
    with opened(trained) as searcher:
        alone, both = (
            searcher.infer_task([picture()], "text"),
            searcher.infer_task([picture(), other], "text"),
        )
        added = searcher.infer_task([picture(), replace(other, weight=0.1)], "text")
        subtracted = searcher.infer_task([replace(picture(), weight=-1.0)], "text")
    assert both == alone == subtracted
    assert added != alone


def test_training_changes_no_answer_until_the_next_index(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    before = ask(root)
    worlds.learn(root, "sky")
    assert ask(root) == before
    worlds.index(root, trained / "sky.npz")
    assert ask(root) != before


def test_training_a_new_task_does_not_bring_it_into_the_answers(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz")
    before = [(hit.id, hit.score) for hit in ask(tmp_path)]
    worlds.learn(tmp_path, "life", trained / "life.npz")
    assert [(hit.id, hit.score) for hit in ask(tmp_path)] == before


@pytest.mark.parametrize("policy", POLICIES)
def test_an_item_that_training_found_gone_is_whole_until_the_next_index(
    tmp_path: Path, policy: PolicyName
) -> None:
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 12))
    worlds.learn(tmp_path, "sky", source)
    worlds.index(tmp_path, source)
    worlds.learn(tmp_path, "sky")
    worlds.index(tmp_path, source)
    worlds.save(source, worlds.rows("sky", 11))
    worlds.learn(tmp_path, "sky", source)
    with opened(tmp_path, policy) as searcher:
        hits = searcher.nearest([picture()], "text", 90, RAW)
        assert (len(hits), {hit.tasks for hit in hits}) == (12, {("sky",)})
    worlds.index(tmp_path, source)
    with opened(tmp_path, policy) as searcher:
        assert len(searcher.nearest([picture()], "text", 90, RAW)) == 11


def test_an_unknown_task_is_refused_with_those_there_are(trained: Path) -> None:
    assert (
        refusal(trained, scope=KnownTask("skies"))
        == "no task 'skies' in the index; tasks are: sky, life, places"
    )


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


def test_a_text_part_is_what_the_backbone_makes_of_it(trained: Path) -> None:
    backbone = builtin.load()
    text = worlds.rows("sky")[1].text
    features = backbone.encode("text", [backbone.prepare("text", text.encode())])[0]
    with opened(trained) as searcher:
        direct = searcher.nearest([Part("text", np.asarray(features))], "image", 9, RAW)
    assert direct == ask(trained, text, k=9)


def test_how_many_are_asked_for_changes_neither_order_nor_probability(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "SAMPLE", 8)
    with opened(trained) as searcher:
        results = {k: searcher.nearest([picture()], "image", k, ROUTED) for k in (1, 3, 20, 200)}
    ranked = {k: [(hit.id, hit.log_p) for hit in hits] for k, hits in results.items()}
    assert all(ranking == ranked[200][:k] for k, ranking in ranked.items())


def switch(root: Path, source: Path) -> None:
    indexing.index(root, [source], WorkspaceOptions(), policy="reindex")
    indexing.index(root, [source], WorkspaceOptions())  # which clears what was replaced away


def test_a_reader_whose_shards_were_replaced_reads_the_manifest_again(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    with opened(root) as searcher:
        assert apart.run(switch, root / ".mneme", trained / "sky.npz") == 0
        hits = searcher.nearest([picture()], "image", 5, ROUTED)
    assert {hit.head for hit in hits} == {3}


def test_a_reader_whose_router_was_replaced_reads_the_manifest_again(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    more = worlds.save(tmp_path / "more.npz", worlds.rows("sky", 10, start=30))
    with opened(root) as searcher:
        routers = searcher.snapshot.workspace.routers
        before = set(routers.iterdir())
        assert apart.run(switch, root / ".mneme", more) == 0
        assert not before & set(routers.iterdir())
        assert searcher.infer_task([picture()], "image").task == "sky"


def test_what_vanishes_again_is_an_error(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = list[int]()

    def vanished(*given: object) -> Shard:
        tries.append(1)
        raise Vanished(Path("gone"))

    monkeypatch.setattr(shards, "read", vanished)
    with opened(trained) as searcher, pytest.raises(Vanished, match="gone"):
        searcher.nearest([picture()], "image", 5, RAW)
    assert len(tries) == 2


def test_shards_and_routers_are_read_once_for_many_queries(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(trained) as searcher:
        first = searcher.nearest([picture()], "image", 5, ROUTED)
        monkeypatch.setattr(shards, "read", lambda *given: pytest.fail("read again"))
        monkeypatch.setattr(slda, "read", lambda *given: pytest.fail("read again"))
        assert searcher.nearest([picture()], "image", 5, ROUTED) == first


def test_after_a_refresh_the_new_state_is_searched(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    old = worlds.opened(root).manifest.served
    worlds.index(root, trained / "sky.npz", policy="reindex")
    with opened(root) as searcher:
        before = searcher.nearest([picture()], "image", 5, KnownTask("sky"))
        assert {hit.head for hit in before} == {3}
        workspace = worlds.opened(root)
        workspace.with_manifest(replace(workspace.manifest, served=old))
        assert searcher.nearest([picture()], "image", 5, KnownTask("sky")) == before
        searcher.refresh()
        assert {hit.head for hit in searcher.nearest([picture()], "image", 5, KnownTask("sky"))} == {1}


@pytest.mark.parametrize(
    ("device", "gpus", "copied"), [("cuda", 1, True), ("cuda", 0, False), ("cpu", 1, False)]
)
def test_shards_are_copied_to_the_gpus_that_are_there_where_these_are_to_be_used(
    trained: Path, monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, copied: bool
) -> None:
    moved = list[Shard]()

    def to_gpu(shard: Shard) -> Shard:
        moved.append(shard)
        return shard

    monkeypatch.setattr(gpu, "gpus", lambda: gpus)
    monkeypatch.setattr(gpu, "to_gpu", to_gpu)
    with opened(trained) as searcher:
        searcher.device = device
        searcher.nearest([picture()], "image", 5, KnownTask("sky"))
    assert bool(moved) == copied


# queries between modalities that share nothing yet


STRANGERS = ["these modalities share no space before the first `mneme train`; hits are chance"]


@pytest.mark.parametrize(("to", "notes"), [("image", STRANGERS), ("text", [])])
def test_before_any_lesson_a_note_says_of_modalities_that_share_no_space_that_hits_are_chance(
    trained: Path, tmp_path: Path, to: str, notes: list[str]
) -> None:
    worlds.index(tmp_path, trained / "sky.npz")
    with opened(tmp_path) as searcher:
        assert [*map(str, searcher.notes([text_input("a dog")], to))] == notes
        manifest = replace(searcher.snapshot.workspace.manifest, aligned=True)
        workspace = replace(searcher.snapshot.workspace, manifest=manifest)
        searcher.snapshot = ServedSnapshot(workspace, searcher.snapshot.embedder)
        assert searcher.notes([text_input("a dog")], to) == []
    with opened(trained) as searcher:
        assert searcher.notes([text_input("a dog")], to) == []


def test_a_note_says_that_a_lesson_waits_to_be_served(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    worlds.learn(root, "sky")
    with opened(root) as searcher:
        (note,) = searcher.notes([text_input("a dog")], None)
    assert str(note) == (
        "lesson 4 (sky) is not served yet: `mneme reindex` serves it, or `mneme index SOURCE`; "
        "until then answers are as before"
    )
    reindex.reindex(root / ".mneme", ServingRequest())  # as the note advises
    with opened(root) as searcher:
        assert searcher.notes([text_input("a dog")], None) == []
