"""The `reindex` command's work: serve under another policy, or go back to what was served before."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.errors import Note, Setting, UserError
from engine.storage.manifest import Served
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at
from engine.storage.writer import writing
from engine.types import PolicyName
from indexer.policies.auto import FEWEST_QUERIES
from indexer.policies.planner import direction_called
from indexer.policies.policies import parse_budget, parse_policy
from indexer.serving.build import serve
from indexer.serving.wanted import ServingRequest, current, planner_of, refuse

DEFAULT_BUDGET = 0.1
"""The share of all items that `partial` embeds again."""


@dataclass(frozen=True)
class ReindexSummary:
    """What `mneme reindex --json` prints; seconds are wall time.

    Attributes:
        unsure: tasks that keep their own head under `auto`, since too few validation pairs can tell.
    """

    policy: PolicyName
    policies: dict[str, PolicyName]
    shards_built: int
    shards: int
    seconds: float
    unsure: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[Note]:
        """What a person should know of it."""
        why = "too few validation pairs to choose by, so auto keeps the own head of"
        return [Note(f"{why} {', '.join(self.unsure)}")] if self.unsure else []


def reindex(root: Path, request: ServingRequest, *, device: str = "cpu") -> ReindexSummary:
    """Bring the shards to a policy and switch to them in one step; what was served before can be had back."""
    began = time.perf_counter()
    with writing(root):
        workspace = open_at(root)
        request = resolved(workspace, request)
        with Store(workspace.store) as store:
            before = workspace.manifest.served
            workspace, built = serve(workspace, store, request, device=device, previous=before)
            unsure = _unsure(workspace, store, device)
    seconds = time.perf_counter() - began
    return _summary(workspace.manifest.served, built, seconds, unsure)


def _unsure(workspace: Workspace, store: Store, device: str) -> list[str]:
    """Return the tasks that `auto` had too few validation pairs for, in some direction that it serves."""
    autos = [direction for direction in workspace.manifest.served.directions if direction.policy == "auto"]
    if not autos:
        return []
    planner = planner_of(workspace, store, ServingRequest(), device)
    groups = set(planner.members)
    return sorted(
        {
            task
            for direction in autos
            for task, target in groups
            if target == direction.target != direction.query and (task, direction.query) in groups
            if len(planner.statistics(direction.query, target).validation(task).queries) < FEWEST_QUERIES
        }
    )


def rollback(root: Path) -> ReindexSummary:
    """Serve again what was served before the last reindex."""
    began = time.perf_counter()
    with writing(root):
        workspace = open_at(root)
        before = workspace.manifest.previous
        if before is None:
            raise UserError("nothing to return to: there was no `mneme reindex` since the last rollback")
        with Store(workspace.store) as store:
            refuse(current(workspace, store), [before.policy, *before.policies.values()])
        workspace.with_manifest(replace(workspace.manifest, served=before, previous=None))
    return _summary(before, 0, time.perf_counter() - began, [])


def _summary(served: Served, built: int, seconds: float, unsure: list[str]) -> ReindexSummary:
    return ReindexSummary(served.policy, dict(served.policies), built, len(served.shards), seconds, unsure)


def resolved(workspace: Workspace, request: ServingRequest) -> ServingRequest:
    """Return a request that names directions as they are served, which a person may have written otherwise.

    Raises:
        UserError: nothing is indexed, or a direction is not served, or may be one of several.
    """
    served = workspace.manifest.served
    if not served.shards:
        raise UserError("nothing is indexed yet: run `mneme index SOURCE`")
    known = [(direction.query, direction.target) for direction in served.directions]
    policies = {direction_called(name, known): policy for name, policy in request.policies.items()}
    return replace(request, policies=policies)


def parse(given: Sequence[str], budget: str | None) -> ServingRequest:
    """Parse `reindex`, `text-image=auto`, and a budget as `10%`."""
    policy: PolicyName | None = None
    policies: dict[str, PolicyName] = {}
    for assignment in given:
        direction, equals, name = assignment.rpartition("=")
        known = parse_policy(name)
        if equals:
            policies[direction] = known
        elif policy is not None:
            raise UserError(
                f"two policies for all directions: {policy} and {name}; name one, or text-image={name}"
            )
        else:
            policy = known
    partial = "partial" in (policy, *policies.values())
    if budget is not None and not partial:
        share_of, partial_policy = Setting("budget"), Setting("policy", "partial")
        raise UserError(
            f"{share_of} is for the policy partial: add {partial_policy}", [share_of, partial_policy]
        )
    return ServingRequest(
        policy, policies, parse_budget(budget) if budget else DEFAULT_BUDGET if partial else 0.0
    )
