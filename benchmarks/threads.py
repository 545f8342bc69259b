"""What waiting threads cost: OMP_WAIT_POLICY passive and active, on a quiet machine and beside a busy process.

    python -m benchmarks.threads

Milliseconds of one search (100 queries, 300 vectors of 512) and of one training step (mlp heads, batch 128).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.report import machine, markdown, write

REPEATS = 20


def main() -> None:
    if sys.argv[1:] == ["--child"]:
        print(json.dumps({"search ms": _search(), "training step ms": _step()}))
        return
    rows = []
    for beside in ("nothing", "a busy process"):
        for policy in ("PASSIVE", "ACTIVE"):
            busy = (
                subprocess.Popen([sys.executable, "-c", "while True: pass"]) if beside != "nothing" else None
            )
            try:
                child = subprocess.run(
                    [sys.executable, "-m", "benchmarks.threads", "--child"],
                    env={**os.environ, "OMP_WAIT_POLICY": policy},
                    capture_output=True,
                    check=True,
                )
            finally:
                if busy:
                    busy.kill()
            rows.append({"beside": beside, "OMP_WAIT_POLICY": policy, **json.loads(child.stdout)})
    write(Path(__file__).parent / "results" / "threads.json", {**machine(), "rows": rows})
    print(markdown(rows))


def _search() -> float:
    import numpy as np

    from engine.types import ShardKey
    from indexer.shards.shard import build_shard

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 512), dtype=np.float32)
    shard = build_shard(ShardKey("task", "image", 0, 0), [f"{n:032x}" for n in range(300)], vectors)
    queries = rng.standard_normal((100, 512), dtype=np.float32)
    return _milliseconds(lambda: shard.proposer.propose(queries, 18))


def _step() -> float:
    from engine.heads.head import Head
    from training.batch import Batch
    from training.gradient import compose, loss_gradient
    from training.losses.pairwise import infonce
    from training.strategies.adam import Adam, Decay

    head, rows = Head("mlp", 512), 128
    for modality in ("image", "text"):
        head.add_branch(modality, 512)
    present = torch.ones(rows, dtype=torch.bool)
    batch = Batch(
        features={m: torch.randn(rows, 512) for m in ("image", "text")},
        present=dict.fromkeys(("image", "text"), present),
        item={"image": torch.arange(rows), "text": torch.arange(rows, 2 * rows)},
        group=torch.zeros(rows, dtype=torch.int64),
        weight=torch.ones(rows),
    )
    step = compose([Decay(), Adam()], head.train(), loss_gradient(head, infonce))
    return _milliseconds(lambda: step(batch))


def _milliseconds(work: Callable[[], object]) -> float:
    work()
    began = time.perf_counter()
    for _ in range(REPEATS):
        work()
    return round((time.perf_counter() - began) / REPEATS * 1e3, 2)


if __name__ == "__main__":
    main()
