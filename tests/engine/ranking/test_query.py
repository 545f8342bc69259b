from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from conftest import WIDTH, FakeBackbone
from engine.errors import Unreadable, UserError
from engine.heads.embedder import Embedder
from engine.ranking import query
from engine.ranking.fusion import NO_SCORE, Candidates, Scores
from engine.ranking.query import Asked, Input, Part
from engine.storage.manifest import BackboneRecord, Manifest
from engine.storage.rows import StoredRow
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import Item, Modality, ShardKey

A, B, C = (f"{number:032x}" for number in range(3))
X, Y = np.eye(2, WIDTH, dtype=np.float32)


@dataclass
class FakeShard:
    """A shard that always offers the same; it keeps what it was asked."""

    key: ShardKey
    scores: list[float]
    ids: list[str]
    asked: int = 0

    def search(self, queries: NDArray[np.float32], k: int) -> Candidates:
        self.asked = k
        return Candidates(np.array([self.scores[:k]]), np.array([self.ids[:k]]).astype(np.bytes_))

    def log_partition(self, queries: NDArray[np.float32], tau: float, best: Scores) -> Scores:
        return np.array([np.log(np.exp(np.array(self.scores) / tau).sum())])


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    encoders = {modality: BackboneRecord("fake", "fake-1", WIDTH) for modality in ("image", "text")}
    return Embedder(Workspace(tmp_path, Manifest(WIDTH, True, encoders)))


def asked(task: str, scores: list[float], ids: list[str], head: int = 0) -> Asked:
    return Asked(FakeShard(ShardKey(task, "image", head, head), scores, ids), X[None])


def put(store: Store, id: str, *tasks: str, path: str | None = None, text: str | None = None) -> None:
    files = {"image": path} if path else {}
    with store.writing() as txn:
        txn.put_item(Item(id, "image", text=text))
        for task in tasks:
            txn.put_row(StoredRow("/s", id, task, True, "train", (), {"image": (id,)}, files))


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


# ranking and hits


def test_every_shard_is_asked_for_as_many_as_are_wanted() -> None:
    shard = FakeShard(ShardKey("sky", "image", 0, 0), [0.9, 0.8, 0.7], [A, B, C])
    ranking = query.rank([Asked(shard, X[None])], 2)
    assert shard.asked == 2
    assert ranking.ids.tolist() == [[A.encode(), B.encode()]]


def test_a_hit_says_where_it_was_found(store: Store) -> None:
    put(store, A, "sky", path="/a.jpg")
    put(store, B, "life", "sky", text="b")
    shards = [asked("sky", [0.5], [A], head=1), asked("life", [0.75], [B], head=2)]
    first, second = query.hits(query.rank(shards, 5), shards, store)
    assert (first.rank, first.score, first.id, first.task, first.tasks) == (
        1,
        0.75,
        B,
        "life",
        ("life", "sky"),
    )
    assert (first.path, first.text, first.head) == (None, "b", 2)
    assert (second.rank, second.path, second.task, second.head) == (2, "/a.jpg", "sky", 1)


def test_hits_below_the_least_score_are_left_out(store: Store) -> None:
    put(store, A, "sky")
    put(store, B, "sky")
    shards = [asked("sky", [0.5, 0.25], [A, B])]
    found = query.hits(query.rank(shards, 5), shards, store, min_score=0.3)
    assert [hit.id for hit in found] == [A]


def test_places_without_a_candidate_are_no_hits(store: Store) -> None:
    shards = [asked("sky", [NO_SCORE], [""])]
    assert query.hits(query.rank(shards, 5), shards, store) == []


def test_an_item_that_was_removed_since_the_shard_was_built_is_no_hit(store: Store) -> None:
    put(store, B, "sky")
    shards = [asked("sky", [0.9, 0.5], [A, B])]
    (hit,) = query.hits(query.rank(shards, 5), shards, store)
    assert (hit.id, hit.rank) == (B, 1)


# by probability


def guess(*log_p: float) -> query.TaskPosterior:
    return query.TaskPosterior(["sky", "life"][: len(log_p)], np.array([log_p]))


def test_a_hit_by_probability_says_how_likely_it_is(store: Store) -> None:
    put(store, A, "sky")
    put(store, B, "sky")
    shards = [asked("sky", [0.5, 0.4], [A, B])]
    found = query.hits(query.rank(shards, 5, guess(0.0)), shards, store)
    assert [hit.score for hit in found] == [0.5, 0.4]
    assert [np.exp(hit.log_p or 0) for hit in found] == pytest.approx(
        [1 / (1 + np.exp(-0.1 / 0.07)), 1 / (1 + np.exp(0.1 / 0.07))]
    )


def test_a_hit_by_cosine_has_no_probability(store: Store) -> None:
    put(store, A, "sky")
    shards = [asked("sky", [0.5], [A])]
    assert query.hits(query.rank(shards, 5), shards, store)[0].log_p is None


def test_the_likelihoods_of_all_items_sum_to_one() -> None:
    shards = [asked("sky", [0.5, 0.4], [A, B]), asked("life", [0.9], [C])]
    found = query.rank(shards, 5, guess(np.log(0.25), np.log(0.75)))
    assert found.log_p is not None
    assert np.exp(found.log_p).sum() == pytest.approx(1)


def test_two_shards_of_one_task_share_its_probability() -> None:
    whole = [asked("sky", [0.5, 0.4], [A, B]), asked("life", [0.9], [C])]
    split = [asked("sky", [0.5], [A]), asked("sky", [0.4], [B]), asked("life", [0.9], [C])]
    one, two = (query.rank(shards, 5, guess(-1.0, -0.5)) for shards in (whole, split))
    assert one.ids.tolist() == two.ids.tolist()
    assert one.log_p is not None
    assert two.log_p is not None
    assert one.log_p == pytest.approx(two.log_p)
