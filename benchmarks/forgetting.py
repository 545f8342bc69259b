"""Recall and forgetting on a pack: finetune under every policy, joint and experts, over several seeds.

    python -m benchmarks.forgetting --data ../shared/data/scenes --k 10
    python -m benchmarks.forgetting --data ../shared/data/sounds --k 1 --relevance label

Tasks in the order of the pack's tasks.json. Each cell: the mean over tasks after the last lesson, task known and
unknown (raw merge), mean and standard deviation over seeds. joint is one head trained on all tasks (one lesson after
the others have been named); experts are asked as `matched` asks.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.report import machine, markdown
from engine.ingest.setup import WorkspaceOptions
from engine.types import MethodName, PolicyName, TrainSettings
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.evaluation.results import Result
from indexer.serving import index as indexing
from training import lesson as lessons

PLAN: tuple[tuple[MethodName, tuple[PolicyName, ...]], ...] = (
    ("finetune", ("reindex", "no-reindex", "matched")),
    ("experts", ("matched",)),
    ("joint", ("reindex",)),
)
Cell = tuple[str, str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/scenes"))
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--relevance", choices=["pair", "label"], default="pair")
    parser.add_argument("--head", choices=["linear", "mlp"], default="mlp")
    parser.add_argument(
        "--keep", choices=["best", "last"], default="best", help="which epoch a lesson ends with"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    name = given.data.name + ("" if given.keep == "best" else "-last")
    out = given.out or Path(f"benchmarks/results/forgetting-{name}.json")
    order = json.loads((given.data / "tasks.json").read_text())["order"]
    setting = EvalSettings(ks=(given.k,), relevance=given.relevance, details=False)
    began = time.perf_counter()
    found: dict[Cell, list[Result]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        stored = Path(scratch) / "stored"
        indexing.index(stored, [given.data], WorkspaceOptions(["builtin"]))
        for seed in range(given.seeds):
            for method, policies in PLAN:
                root = Path(scratch) / f"{method}-{seed}"
                _learn(
                    stored,
                    root,
                    order,
                    TrainSettings(task="", method=method, form=given.head, keep=given.keep, seed=seed),
                )
                _measure(root, method, policies, setting, found)
    rows = [_row(cell, results) for cell, results in found.items()]
    facts = {**machine(), "data": given.data.name, "k": given.k, "relevance": given.relevance}
    facts |= {
        "head": given.head,
        "keep": given.keep,
        "seeds": given.seeds,
        "seconds": round(time.perf_counter() - began),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")
    print(markdown(rows))


def _learn(stored: Path, root: Path, order: list[str], settings: TrainSettings) -> None:
    """Learn the tasks in order from stored features; joint needs its last lesson only."""
    (root / "store").mkdir(parents=True)
    for name in ("workspace.json", "store/data.mdb"):
        shutil.copy(stored / name, root / name)
    manifest = json.loads((root / "workspace.json").read_text())
    manifest |= {"arrivals": [], "served": {**manifest["served"], "shards": []}}
    (root / "workspace.json").write_text(json.dumps(manifest))
    for task in order:
        short = settings.method == "joint" and task != order[-1]
        lesson = replace(settings, task=task, epochs=1) if short else replace(settings, task=task)
        lessons.learn(root, [], WorkspaceOptions(), lesson)


def _measure(
    root: Path,
    method: str,
    policies: tuple[PolicyName, ...],
    setting: EvalSettings,
    found: dict[Cell, list[Result]],
) -> None:
    with open_evaluation(root, replace(setting, policies=policies)) as evaluation:
        for result in evaluation.results():
            known = "known" if result.task_known else "unknown"
            found.setdefault((method, result.policy, f"{result.query} to {result.target}", known), []).append(
                result
            )


def _row(cell: Cell, results: list[Result]) -> dict[str, object]:
    method, policy, direction, known = cell
    finals = [result.final for result in results if result.final is not None]
    chances = [value for value in results[0].chance if value is not None]
    lost = [result.forgetting for result in results if result.forgetting is not None]
    return {
        "method": method,
        "policy": policy,
        "direction": direction,
        "task": known,
        "recall": round(statistics.mean(finals), 3),
        "sd": round(statistics.stdev(finals), 3) if len(finals) > 1 else None,
        "chance": round(statistics.mean(chances), 3),
        "forgetting": None if method == "joint" else round(statistics.mean(lost), 3),
    }


if __name__ == "__main__":
    main()
