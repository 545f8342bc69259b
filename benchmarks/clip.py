"""Policies and merges on a pack of your own, on an open_clip backbone, beside its zero-shot search.

    make bench-clip PACK=photos
    make bench-clip PACK=photos MODEL=open_clip:ViT-L-14/laion2b_s32b_b82k
    python -m benchmarks.clip photos --methods finetune joint ewc --seeds 5 --runs runs

A pack is a folder with metadata.jsonl; its tasks come in the order of its tasks.json, else of first appearance in
the rows. Heads are linear and start from head 0, which leaves CLIP's features as they are: that is the row zero-shot.
Else as benchmarks.policies: infonce, 40 epochs, the last epoch; differences paired over seeds, with 95 % intervals
by Student's t. Figures go to clip-PACK.json and .md in --out; runs to --runs, from where an interrupted call goes on.
The weights come from the Hugging Face cache or the network (600 MB for ViT-B-32).
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine import backbones
from engine.backbones import open_clip
from engine.errors import UserError

MODEL = f"open_clip:{'/'.join(open_clip.DEFAULT)}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pack", type=Path, metavar="PACK")
    parser.add_argument("--backbone", default=MODEL)
    parser.add_argument("--methods", nargs="+", default=["finetune", "joint"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--relevance", choices=["pair", "label"], default="pair")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--runs", type=Path)
    given = parser.parse_args(arguments)
    try:
        backbones.check([given.backbone])
        from benchmarks import clip_measure  # which takes seconds to import

        with tempfile.TemporaryDirectory() as scratch:
            page = clip_measure.measure(given, given.runs or Path(scratch) / "runs")
    except UserError as error:
        sys.exit(f"error: {error}")
    print(page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
