"""A result of an evaluation that tests change by `replace` into the one they speak of."""

from dataclasses import replace

from engine.types import MergeName
from indexer.evaluation.results import Result

RESULT = Result(
    policy="reindex",
    merge=None,
    query="text",
    target="image",
    task_known=True,
    k=10,
    seconds=None,
    trained=True,
    matrix=[[0.5, None], [0.4, 0.6]],
    final=0.5,
    forgetting=0.1,
    bwt=-0.1,
    plasticity=0.55,
    mrr=None,
    ndcg=None,
    zero_shot=None,
    future=None,
    forward_transfer=None,
    confusion=None,
    final_gallery_forgetting=None,
    ranks=[[1], [2]],
    queries=[1, 1],
    seen=[0, 0],
    chance=[0.1, 0.2],
)


def known(policy: str, final: float | None, forgetting: float | None) -> Result:
    """Return what a policy finds and has lost with the task known."""
    return replace(RESULT, policy=policy, final=final, forgetting=forgetting)


def unknown(policy: str, final: float | None, merge: MergeName = "raw", confusion: float = 0.0) -> Result:
    """Return what a policy finds, and loses by not knowing the task."""
    return replace(
        RESULT, policy=policy, merge=merge, task_known=False, final=final, forgetting=0.0, confusion=confusion
    )
