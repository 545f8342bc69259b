import json

import pytest
import torch
from torch.nn.functional import normalize, one_hot

from benchmarks.papers import centrobind, centrobind_mixture, centrobind_spoken
from benchmarks.tables import Measurement, summary
from engine.types import Pair
from training.data.pairs import PairSet, collect
from training.losses.pairwise import strangers

TINY = centrobind_mixture.Size(train=600, held=300, pretraining=2, binding=60, decoding=60, batch=64)


def pairs_of(modalities: dict[str, list[int]]) -> PairSet:
    """Return pairs of one item of each modality, by the items' numbers."""
    columns = zip(*modalities.values(), strict=True)
    pairs = [
        Pair("", {m: (f"{number:015x}",) for m, number in zip(modalities, row, strict=True)}, "t", "test")
        for row in columns
    ]
    blank = torch.zeros(9, 1).numpy()
    return collect(pairs, sorted(modalities), lambda m, ids: blank[: len(ids)])


def separation(modality: str) -> float:
    """Return the variance between classes of the standardised rows, over four mixtures."""
    drawn = [centrobind_mixture.draw(4, 2000, seed) for seed in range(4)]
    means = torch.stack([torch.stack([d.x[modality][d.y == k].mean(0) for k in range(50)]) for d in drawn])
    return float(means.var(1).mean())


def test_the_worst_modality_of_a_mixture_tells_its_classes_apart_less_than_the_best() -> None:
    assert separation("x1") < separation("x4")


def test_the_anchor_of_fabind_stays_as_it_was_and_the_others_move() -> None:
    drawn, net = centrobind_mixture.draw(4, 300, 0), centrobind_mixture.encoders(4, 0)
    before = centrobind_mixture.embed(net, drawn.x)
    centrobind_mixture.train(net, drawn, centrobind_mixture.losses(net)["FABIND-X4"], (2, 64), 0)
    after = centrobind_mixture.embed(net, drawn.x)
    assert [m for m in after if torch.equal(after[m], before[m])] == ["x4"]


def test_centrobind_beats_no_binding_on_the_mean_of_single_modalities() -> None:
    rows = centrobind.mixed(centrobind.Job(0, 4, ("random",)), TINY)
    means = {row.method: row.figures["mean"] for row in rows}
    assert means["CentroBind"] > means["no binding"] + 0.02


def test_a_decoder_beside_another_reads_its_own_features() -> None:
    y = torch.arange(1000) % 50
    clear = one_hot(y, 50).float()
    blind = torch.randn(clear.shape, generator=torch.Generator().manual_seed(0))
    both = torch.stack([blind, clear]), y
    unseen = torch.stack([blind.flip(0), clear]), y
    good = [share > 0.9 for share in centrobind_mixture.decode(both, unseen, TINY, 0)]
    assert good == [False, True]


def test_a_text_of_two_pairs_finds_the_image_of_either() -> None:
    pairs = pairs_of({"image": [1, 2], "text": [3, 3]})
    z = {"image": torch.eye(2), "text": torch.eye(2)[1:]}
    assert centrobind_spoken.recall(z, pairs, ("text",), "image")[0] == 1.0


def test_a_text_of_two_pairs_is_asked_with_once() -> None:
    pairs = pairs_of({"image": [1, 2, 3], "text": [4, 4, 5]})
    z = {"image": torch.eye(3), "text": torch.eye(3)[[0, 1]]}
    assert centrobind_spoken.recall(z, pairs, ("text",), "image")[0] == 0.5


def test_a_query_of_two_modalities_is_their_centroid() -> None:
    pairs = pairs_of({"audio": [1, 2, 3], "image": [1, 2, 3], "text": [1, 2, 3]})
    east, north = torch.eye(2)
    between = normalize(east + north, dim=0)
    z = {
        "audio": torch.stack([east, east, north]),
        "image": torch.stack([north, east, north]),
        "text": torch.stack([between, east, north]),
    }
    assert centrobind_spoken.recall(z, pairs, ("audio", "image"), "text")[0] == 1.0


def test_pairs_of_another_task_are_negatives_too() -> None:
    pairs = pairs_of({"image": [1, 2], "text": [1, 2]})
    apart = PairSet(pairs.columns, torch.tensor([0, 1]))
    assert strangers(centrobind_spoken.together(apart).in_order(2)[0], ["image"])[0, 1]


def test_chance_is_the_expected_recall_of_a_random_order() -> None:
    pairs = pairs_of({"audio": [1, 2, 3, 4], "image": [5, 5, 6, 7], "text": [8, 8, 8, 8]})
    chance = centrobind_spoken.chance(pairs)
    assert chance["image to audio R@1"] == pytest.approx((2 / 4 + 1 / 4 + 1 / 4) / 3)
    assert chance["audio to text R@1"] == 1


def test_the_papers_own_means_stand_beside_ours() -> None:
    found = summary([Measurement("Table 3, random, M=4", "CentroBind", 0, {"mean": 0.4})], centrobind.paper())
    assert json.loads(json.dumps(found))[0]["figures"]["mean"]["paper"] == 0.3712
