from functools import partial

import torch
from torch.testing import assert_close

from batches import batch_of, unit
from engine.heads.head import Head
from training.gradient import Batch, loss_gradient
from training.losses.gram import pmrl
from training.losses.matching import completed, with_scorer

ALL = ["audio", "image", "text"]


def make_head() -> Head:
    head = Head("linear", 5)
    for modality in ALL:
        head.add_branch(modality, 5)
    return head


def two() -> Batch:
    """Return rows of pictures and texts only."""
    return batch_of(unit(modalities=("image", "text")))


def test_a_modality_that_a_batch_lacks_is_absent_from_all_its_rows() -> None:
    batch = two()
    z, whole = completed(batch.features, batch, ALL)
    assert not whole.present["audio"].any()
    assert whole.item["audio"].tolist() == [-1] * 6
    assert z["audio"].shape == z["text"].shape


def test_a_modality_that_nobody_brings_does_not_change_the_other_terms() -> None:
    batch = two()
    alone = pmrl(batch.features, batch)
    assert_close(pmrl(*completed(batch.features, batch, ALL)), alone)


def test_the_scorer_learns_from_batches_of_fewer_modalities_than_the_head_has() -> None:
    head = make_head()
    found = loss_gradient(head, with_scorer(head, pmrl))(two())
    assert found.by_name["losses.pmrl audio image text.0.weight"].any()


def test_a_branch_that_a_batch_lacks_gets_no_gradient() -> None:
    head = make_head()
    assert "layers.audio.weight" not in loss_gradient(head, with_scorer(head, pmrl))(two()).by_name


def test_without_its_weight_the_matching_term_leaves_the_scorer_alone() -> None:
    head = make_head()
    found = loss_gradient(head, with_scorer(head, partial(pmrl, match_weight=0.0)))(two())
    assert not any(name.startswith("losses.") for name in found.by_name)


def test_a_later_modality_gets_a_scorer_of_its_own_width() -> None:
    head = Head("linear", 5)
    for modality in ("image", "text"):
        head.add_branch(modality, 5)
    with_scorer(head, pmrl)
    head.add_branch("audio", 5)
    with_scorer(head, pmrl)
    assert set(head.losses) == {"pmrl image text", "pmrl audio image text"}
    assert head.get_parameter("losses.pmrl audio image text.0.weight").shape == torch.Size([5, 15])
