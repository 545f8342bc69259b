"""The examples of CONTRIBUTING.md are put into the real registries, in the order shown, and used."""

import ast
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import worlds
from commands import Run
from training import methods

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n# (\S+\.py)(?:, in (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = BLOCK.findall(TEXT)


@pytest.fixture(autouse=True)
def contributed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write every example where it says it belongs."""
    written: dict[str, Any] = {}
    for file, place, code in BLOCKS:
        name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if not (ROOT / file).exists() and not place:
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        module = import_module(name)
        if not place:
            exec(compile(code, file, "exec"), written := dict(vars(module)))
            for attribute, value in written.items():
                monkeypatch.setattr(module, attribute, value, raising=False)
        elif isinstance(registry := getattr(module, place), dict):
            entries = eval("{" + code + "}", {**vars(module), **written})
            for key, value in entries.items():
                monkeypatch.setitem(registry, key, value)
        else:
            monkeypatch.setattr(module, place, extended(module, place, code))


def extended(module: ModuleType, function: str, code: str) -> object:
    """Return a function of a module with code put before all it does."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    (definition,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
    definition.body[1:1] = ast.parse(code).body  # after the docstring
    names = dict(vars(module))
    exec(compile(ast.Module([definition], []), str(module.__file__), "exec"), names)
    return names[function]


def test_every_example_says_where_it_belongs() -> None:
    assert [place for _, place, _ in BLOCKS if place] == ["LOSSES", "METHODS", "POLICIES", "load"]
    assert len(BLOCKS) == TEXT.count("```python") == 8


def test_a_loss_that_was_added_is_learned_by(tmp_path: Path) -> None:
    loss: Any = "sigmoid"
    first, *_, last = worlds.learn(tmp_path, "sky", sky(tmp_path), loss=loss, epochs=4).epochs
    assert last.loss < first.loss


def test_a_loss_that_was_added_tells_its_options() -> None:
    (entry,) = methods.describe("sigmoid")
    assert entry["options"] == {"sigmoid.temperature": 0.1, "sigmoid.bias": -2.0}


def test_a_strategy_that_was_added_holds_the_head_near(tmp_path: Path) -> None:
    free, anchored = (
        drift_after_a_second_lesson(tmp_path / method, method) for method in ("finetune", "anchor")
    )
    assert 0 < anchored < free


def drift_after_a_second_lesson(root: Path, method: Any) -> float:
    root.mkdir()
    worlds.learn(root, "sky", sky(root), method=method)
    life = worlds.save(root / "life.npz", worlds.rows("life"))
    return (
        worlds.learn(root, "life", life, method=method, form="linear", epochs=6)
        .epochs[-1]
        .drift["sky"]["image"]
    )


def test_a_policy_that_was_added_serves(world: Path, run: Run) -> None:
    policy: Any = "recent"
    worlds.index(world, world / "sky.npz", policy=policy)
    hits = run("query", "a sun", "-k", "90", "-w", world, "--json").lines
    assert {hit["task"]: hit["head"] for hit in hits} == {"sky": 1, "life": 3, "places": 3}


def test_a_backbone_that_was_added_finds_a_picture_by_itself(tmp_path: Path, run: Run) -> None:
    (tmp_path / "pictures").mkdir()
    for seed in range(5):
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"pictures/{seed}.png")
    run("index", tmp_path / "pictures", "--backbone", "image=thumbnails", "--backbone", "text=builtin")
    best, second, *_ = run("query", tmp_path / "pictures/3.png", "--to", "image", "--json").lines
    assert (Path(best["path"]).name, round(best["score"], 4)) == ("3.png", 1.0)
    assert second["score"] < 0.5


def sky(root: Path) -> Path:
    return worlds.save(root / "sky.npz", worlds.rows("sky"))
