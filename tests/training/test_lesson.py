from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import worlds
from engine.errors import UserError
from engine.heads import files as heads
from engine.ingest.setup import WorkspaceOptions
from engine.types import MethodName, TrainSettings
from training import lesson

SETTINGS = TrainSettings("sky", form="linear", epochs=1, lr=0.02, batch_size=16)


@pytest.fixture
def sky(tmp_path: Path) -> Path:
    """Return a features file of one small task."""
    return worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 12))


def learn(root: Path, settings: TrainSettings = SETTINGS, *sources: Path) -> lesson.Outcome:
    return lesson.learn(root / ".mneme", sources, WorkspaceOptions(), settings)[0]


def refusal(root: Path, settings: TrainSettings, *sources: Path) -> str:
    with pytest.raises(UserError) as caught:
        learn(root, settings, *sources)
    return str(caught.value)


def tensors(root: Path, version: int) -> dict[str, Tensor]:
    return heads.read(worlds.opened(root).head(version))[0].state_dict()


def record(root: Path, version: int) -> heads.Record:
    return heads.read_record(worlds.opened(root).head(version))


def head_bytes(root: Path, version: int = 1) -> bytes:
    return (worlds.opened(root).head(version) / "head.safetensors").read_bytes()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, sky: Path) -> None:
    learn(tmp_path / "one", SETTINGS, sky)
    learn(tmp_path / "other", SETTINGS, sky)
    assert head_bytes(tmp_path / "one") == head_bytes(tmp_path / "other")


def test_the_same_seed_gives_the_same_bytes_with_dropout(tmp_path: Path, sky: Path) -> None:
    learn(tmp_path / "one", replace(SETTINGS, form="mlp"), sky)
    torch.rand(1)
    learn(tmp_path / "other", replace(SETTINGS, form="mlp"), sky)
    assert head_bytes(tmp_path / "one") == head_bytes(tmp_path / "other")


def test_where_the_source_lies_leaves_no_trace(tmp_path: Path) -> None:
    for place in ("one", "other/place"):
        (tmp_path / place).mkdir(parents=True)
        learn(tmp_path / place, SETTINGS, worlds.save(tmp_path / place / "sky.npz", worlds.rows("sky", 300)))
    first, second = (worlds.bytes_below(worlds.opened(tmp_path / p).head(1)) for p in ("one", "other/place"))
    assert first == second


def test_another_seed_gives_other_bytes(tmp_path: Path, sky: Path) -> None:
    learn(tmp_path / "one", SETTINGS, sky)
    learn(tmp_path / "other", replace(SETTINGS, seed=1), sky)
    assert head_bytes(tmp_path / "one") != head_bytes(tmp_path / "other")


def test_a_lesson_is_appended_to_the_history(tmp_path: Path, sky: Path) -> None:
    learn(tmp_path, SETTINGS, sky)
    learn(tmp_path, replace(SETTINGS, form=None))
    lessons = worlds.opened(tmp_path).manifest.history.lessons
    assert [(lesson.number, lesson.task, lesson.head) for lesson in lessons] == [(1, "sky", 1), (2, "sky", 2)]


def reference(root: Path, settings: TrainSettings) -> lesson.Outcome:
    return lesson.learn(root / ".mneme", [], WorkspaceOptions(), settings, reference=True)[0]


def test_a_reference_stands_beside_the_history(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    before = worlds.opened(root).manifest
    reference(root, replace(SETTINGS, method="joint"))
    after = worlds.opened(root).manifest
    assert (after.history, after.served) == (before.history, before.served)
    (kept,) = after.references
    assert (kept.method, kept.task, kept.after, kept.head, kept.alone) == ("joint", "sky", 3, 4, False)
    assert kept.seconds > 0


def test_a_lesson_after_a_reference_starts_from_the_lesson_before_and_takes_a_head_of_its_own(
    trained: Path, tmp_path: Path
) -> None:
    root = worlds.copied(trained, tmp_path)
    reference(root, replace(SETTINGS, method="experts"))
    outcome = learn(root, replace(SETTINGS, form=None))
    assert (outcome.lesson.number, outcome.lesson.head, outcome.parent) == (4, 5, 3)


def test_a_reference_of_experts_knows_its_own_task_alone(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    reference(root, replace(SETTINGS, method="experts"))
    assert [reference.alone for reference in worlds.opened(root).manifest.references] == [True]


def test_every_setting_is_recorded_beside_the_head(tmp_path: Path, sky: Path) -> None:
    settings = replace(SETTINGS, loss="triplet", options={"triplet.margin": "0.1"}, seed=4)
    learn(tmp_path, settings, sky)
    assert record(tmp_path, 1).settings == replace(settings, modalities=("image", "text"))


def test_a_log_holds_a_line_for_each_epoch(tmp_path: Path, sky: Path) -> None:
    learn(tmp_path, replace(SETTINGS, epochs=3), sky)
    log = worlds.opened(tmp_path).head(1) / "log.jsonl"
    assert len(log.read_text().splitlines()) == 3


def test_a_lost_lesson_leaves_history_and_heads_as_they_were(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    before = worlds.bytes_below(root)
    refused = refusal(root, replace(SETTINGS, form=None, lr=1e30))
    assert refused.endswith("nothing was kept; try a smaller `lr`")
    assert worlds.bytes_below(root) == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (replace(SETTINGS, batch_size=1), "`batch_size` must be at least 2, not 1: a row needs negatives"),
        (replace(SETTINGS, epochs=0), "`epochs` must be at least 1, not 0"),
        (replace(SETTINGS, lr=0.0), "`lr` must be above 0, not 0.0"),
        (replace(SETTINGS, lr=float("nan")), "`lr` must be above 0, not nan"),
        (replace(SETTINGS, weight_decay=-1.0), "`weight_decay` must be at least 0, not -1.0"),
        (replace(SETTINGS, weight_decay=float("nan")), "`weight_decay` must be at least 0, not nan"),
        (replace(SETTINGS, patience=-1), "`patience` must be at least 0, not -1"),
        (replace(SETTINGS, seed=2**70), f"`seed` must be from 0 to {2**63 - 1}, not {2**70}"),
        (replace(SETTINGS, temperature=0.0), "temperature must be above 0, not 0.0"),
        (
            replace(SETTINGS, modalities=("image",)),
            "`modalities` names image only: training needs pairs of two modalities",
        ),
        (
            replace(SETTINGS, modalities=("image", "depth")),
            "no pair of task 'sky' holds depth; they hold: image, text",
        ),
        (
            replace(SETTINGS, options={"tripplet.margin": "1"}),
            "no hyper-parameter 'tripplet.margin' here; valid are: infonce.temperature, infonce.anchor",
        ),
        (
            replace(SETTINGS, loss="triplet", options={"triplet.margin": "wide"}),
            "triplet.margin takes a number, not 'wide'",
        ),
        (
            replace(SETTINGS, loss="triplet", options={"triplet.k": "1.5"}),
            "triplet.k takes a whole number, not '1.5'",
        ),
        (
            replace(SETTINGS, loss="triplet", options={"triplet.mine": "some"}),
            "triplet.mine is one of all, topk, hardest, semihard, not 'some'",
        ),
    ],
)
def test_a_bad_setting_is_one_line(sky: Path, tmp_path: Path, settings: TrainSettings, message: str) -> None:
    assert refusal(tmp_path, settings, sky) == message


def test_a_refused_lesson_leaves_no_head_folder(sky: Path, tmp_path: Path) -> None:
    refusal(tmp_path, replace(SETTINGS, options={"triplet.margin": "1"}), sky)
    assert not (tmp_path / ".mneme/heads").exists()


def test_a_margin_that_is_set_reaches_the_loss(sky: Path, tmp_path: Path) -> None:
    wide = replace(SETTINGS, loss="triplet", options={"triplet.margin": "10.0"})
    narrow = replace(SETTINGS, loss="triplet", options={"triplet.margin": "0.1"})
    gap = learn(tmp_path / "a", wide, sky).epochs[0].loss - learn(tmp_path / "b", narrow, sky).epochs[0].loss
    assert gap > 10


def test_the_temperature_reaches_infonce(sky: Path, tmp_path: Path) -> None:
    cold = learn(tmp_path / "a", replace(SETTINGS, temperature=0.01), sky)
    hot = learn(tmp_path / "b", replace(SETTINGS, temperature=10.0), sky)
    assert cold.epochs[0].loss != pytest.approx(hot.epochs[0].loss)


def test_a_temperature_that_is_set_by_name_is_recorded_as_the_temperature(sky: Path, tmp_path: Path) -> None:
    done = learn(tmp_path, replace(SETTINGS, options={"infonce.temperature": "0.5"}), sky)
    assert (done.settings.temperature, done.settings.options) == (0.5, {})


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_finetune_starts_from_its_parent(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    done = learn(root, replace(SETTINGS, form=None, lr=1e-9))
    assert done.parent == 3
    assert distance(tensors(root, 4), tensors(root, 3)) < 1e-6


@pytest.mark.parametrize("method", ["experts", "joint", "joint-intra"])
def test_experts_and_joint_start_from_the_initialisation(
    trained: Path, tmp_path: Path, method: MethodName
) -> None:
    root = worlds.copied(trained, tmp_path)
    done = learn(root, replace(SETTINGS, method=method, lr=1e-9))
    assert done.parent == 0
    assert float((tensors(root, 4)["layers.image.weight"] - torch.eye(8)).abs().max()) < 1e-6


def test_a_later_head_of_another_form_is_refused(tmp_path: Path, sky: Path) -> None:
    learn(tmp_path, SETTINGS, sky)
    assert refusal(tmp_path, replace(SETTINGS, form="mlp")) == (
        "head v0001 is linear, and a later head has its parent's form: leave `form` and `shared_top` out, "
        "or start anew with `method=experts`"
    )


def test_a_later_head_with_a_shared_top_is_refused(tmp_path: Path, sky: Path) -> None:
    learn(tmp_path, SETTINGS, sky)
    assert refusal(tmp_path, replace(SETTINGS, shared_top=True)).startswith("head v0001 is linear, and")


def test_naming_the_parents_form_again_is_no_error(tmp_path: Path, sky: Path) -> None:
    learn(tmp_path, SETTINGS, sky)
    assert learn(tmp_path, SETTINGS).lesson.head == 2


def test_a_head_that_starts_anew_may_have_another_form(tmp_path: Path, sky: Path) -> None:
    learn(tmp_path, SETTINGS, sky)
    learn(tmp_path, replace(SETTINGS, method="experts", form="mlp"))
    assert record(tmp_path, 2).form == "mlp"


def test_the_head_folder_that_a_crash_left_is_overwritten(tmp_path: Path, sky: Path) -> None:
    orphan = tmp_path / ".mneme/heads/v0001"
    orphan.mkdir(parents=True)
    (orphan / "rubbish").write_text("half a head")
    learn(tmp_path, SETTINGS, sky)
    assert not (orphan / "rubbish").exists()
    assert record(tmp_path, 1).version == 1


def depth(tmp_path: Path) -> Path:
    """Return a features file that brings a modality of another width."""
    rows = worlds.rows("life", 12)
    path = tmp_path / "depth.npz"
    np.savez(
        path,
        depth=np.random.default_rng(0).normal(size=(12, 5)),
        text=[row.text for row in rows],
        task=["life"] * 12,
        split=["train"] * 12,
    )
    return path


def test_a_late_modality_gets_a_branch(tmp_path: Path, sky: Path) -> None:
    learn(tmp_path, SETTINGS, sky)
    learn(tmp_path, replace(SETTINGS, task="life", form=None), depth(tmp_path))
    assert record(tmp_path, 2).widths == {"depth": 5, "image": 8, "text": 512}


def test_a_late_modality_leaves_the_other_branches_alone(tmp_path: Path, sky: Path) -> None:
    learn(tmp_path, SETTINGS, sky)
    learn(tmp_path, replace(SETTINGS, task="life", form=None), depth(tmp_path))
    name = "layers.image.weight"
    assert torch.equal(tensors(tmp_path, 2)[name], tensors(tmp_path, 1)[name])


@pytest.mark.parametrize(("seeds", "alike"), [((5, 5), True), ((5, 6), False)])
def test_a_late_branch_is_initialised_from_the_seed_of_its_lesson(
    tmp_path: Path, sky: Path, seeds: tuple[int, int], alike: bool
) -> None:
    late = replace(SETTINGS, task="life", form=None, lr=1e-9)
    for seed, root in zip(seeds, (tmp_path / "one", tmp_path / "other"), strict=True):
        learn(root, replace(SETTINGS, form="mlp"), sky)
        learn(root, replace(late, seed=seed), depth(tmp_path))
    first, second = (
        tensors(root, 2)["layers.depth.0.weight"] for root in (tmp_path / "one", tmp_path / "other")
    )
    assert torch.allclose(first, second, atol=1e-4) == alike


def test_a_rare_modality_is_not_moved_by_batches_that_lack_it(tmp_path: Path) -> None:
    path, rows = tmp_path / "sky.npz", worlds.rows("sky", 12)
    deep = np.full((12, 5), np.nan)
    deep[3] = 1.0
    np.savez(
        path,
        image=np.stack([row.image for row in rows]),
        depth=deep,
        text=[row.text for row in rows],
        split=["train"] * 12,
    )
    learn(tmp_path, replace(SETTINGS, batch_size=6, weight_decay=0.0), path)
    step = tensors(tmp_path, 1)["layers.depth.weight"] - torch.eye(5)
    assert float(step.abs().max()) == pytest.approx(SETTINGS.lr, rel=1e-3)  # one step of Adam


def test_training_touches_no_shard(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    before = worlds.bytes_below(root / ".mneme/shards")
    learn(root, replace(SETTINGS, form=None))
    assert worlds.bytes_below(root / ".mneme/shards") == before
