"""Opening the evaluation of a test's workspace, and one of its directions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.types import Modality
from indexer.evaluation.evaluate import Evaluation, open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.evaluation.runs import Trial

SETTINGS = EvalSettings(policies=("reindex", "matched"), merges=("routed",), ks=(1, 5), details=False)


@contextmanager
def evaluated(root: Path, settings: EvalSettings = SETTINGS) -> Iterator[Evaluation]:
    with open_evaluation(root / ".mneme", settings) as opened:
        yield opened


def direction(evaluation: Evaluation, query: Modality = "text", target: Modality = "image") -> Trial:
    return evaluation.trial(query, target)
