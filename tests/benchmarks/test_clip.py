import argparse
import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from PIL import Image

import clips
from benchmarks import clip, clip_measure
from benchmarks.policies import POLICIES
from engine.errors import UserError
from engine.evaluation import metrics
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings

COLOURS = ("red", "green", "blue", "white", "black", "orange", "purple", "yellow")


def pack(folder: Path, tasks: tuple[str, ...] = ("warm", "cold")) -> Path:
    """Write a pack of plain pictures: half of each task's are for training, half for testing."""
    folder.mkdir()
    rows = []
    for number, colour in enumerate(COLOURS):
        task = tasks[number % len(tasks)]
        Image.new("RGB", (32, 32), colour).save(folder / f"{colour}.png")
        split = "train" if number < 4 else "test"
        rows.append({"image": f"{colour}.png", "text": f"a {colour} picture", "task": task, "split": split})
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is left of measuring a pack on a tiny CLIP."""
    folder = tmp_path_factory.mktemp("clip")
    backbone = f"open_clip:{clips.CLIP}/{clips.weights(folder)}"
    given = ["--backbone", backbone, "--methods", "finetune", "--k", "1", "--out", str(folder)]
    few = ["--seeds", "1", "--epochs", "1", "--jobs", "1", "--device", "cpu"]
    clip.main([str(pack(folder / "colours")), *given, *few])
    found: dict[str, Any] = json.loads((folder / "clip-colours.json").read_bytes())
    return found


def test_zero_shot_search_stands_beside_every_policy_and_merge(facts: dict[str, Any]) -> None:
    found = {(row["table"], row["method"]) for row in facts["rows"]}
    names = ["zero-shot", *(f"finetune, {policy}" for policy in POLICIES)]
    ways = ["image to text", "text to image"]
    known = set(product((f"{way}, task known" for way in ways), names))
    merged = [f"{name}, {merge}" for name in names for merge in ("raw", "routed")]
    assert found == known | set(product((f"{way}, task unknown" for way in ways), merged))


def test_what_training_gains_over_zero_shot_search_is_told(facts: dict[str, Any]) -> None:
    told = {(one["first"], one["second"]) for one in facts["differences"]}
    assert {("finetune, matched", "zero-shot"), ("finetune, matched, raw", "zero-shot, raw")} <= told


def test_the_figures_say_on_which_backbone_and_tasks(facts: dict[str, Any]) -> None:
    assert (facts["backbone"].partition("/")[0], facts["tasks"]) == ("open_clip:mneme-tiny", "warm, cold")


def test_the_default_without_a_network_is_one_line_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(clip_measure, "measure", None)
    with pytest.raises(SystemExit) as stop:
        clip.main([str(pack(tmp_path / "colours"))])
    assert re.fullmatch(
        r"error: cannot download open_clip ViT-B-32/laion2b_s34b_b79k: HF_HUB_OFFLINE is set; .*",
        str(stop.value.code),
    )


def test_tasks_come_in_the_order_of_first_appearance(tmp_path: Path) -> None:
    assert clip_measure.tasks_of(pack(tmp_path / "colours", ("warm", "cold", "bare"))) == [
        "warm",
        "cold",
        "bare",
    ]


def test_tasks_json_says_another_order(tmp_path: Path) -> None:
    folder = pack(tmp_path / "colours")
    (folder / "tasks.json").write_text('{"order": ["cold", "warm"]}')
    assert clip_measure.tasks_of(folder) == ["cold", "warm"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ('{"text": "no task"}', "tasks.json or in every row: KeyError"),
        ("[1]", "tasks.json or in every row: TypeError"),
        ("{", "tasks.json or in every row: JSONDecodeError"),
        ("", "has no tasks"),
    ],
)
def test_a_pack_that_does_not_say_its_tasks_is_one_line(tmp_path: Path, rows: str, reason: str) -> None:
    (tmp_path / "metadata.jsonl").write_text(rows)
    with pytest.raises(UserError, match=reason):
        clip_measure.tasks_of(tmp_path)


def test_a_pack_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^cannot read .*gone/metadata.jsonl: no such file or directory$"):
        clip_measure.tasks_of(tmp_path / "gone")


def test_zero_shot_is_what_evaluation_calls_so(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_measure, "MERGES", ())
    given = argparse.Namespace(k=1, relevance="pair", seeds=2)
    found = list(clip_measure.untrained(trained / ".mneme", given))
    with open_evaluation(trained / ".mneme", EvalSettings()) as opened:
        (known,) = (
            result.zero_shot
            for result in opened.results()
            if (result.policy, result.query, result.target, result.k) == ("matched", "text", "image", 1)
            and result.task_known
        )
    assert known is not None
    shown = [row for row in found if (row.table, row.method) == ("text to image, task known", "zero-shot")]
    assert [row.seed for row in shown] == [0, 1]
    assert {row.figures["recall"] for row in shown} == {metrics.final([known])}
