"""The `reindex` command's work: serve under another policy, or go back to what was served before."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.errors import InvalidSetting, Setting, UserError
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at, writing
from engine.types import PolicyName
from indexer.policies.planner import named
from indexer.policies.policies import ENOUGH, POLICIES
from indexer.serving import build
from indexer.serving.build import Wanted

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


def reindex(root: Path, wanted: Wanted, *, device: str = "cpu") -> ReindexSummary:
    """Bring the shards to a policy and switch to them in one step; what was served before can be had back."""
    began = time.perf_counter()
    with writing(root):
        workspace = open_at(root)
        check(workspace, wanted)
        with Store(workspace.store) as store:
            before = workspace.manifest.served
            workspace, built = build.serve(workspace, store, wanted, device=device, previous=before)
            unsure = _unsure(workspace, store, device)
    served = workspace.manifest.served
    seconds = time.perf_counter() - began
    return ReindexSummary(served.policy, dict(served.policies), built, len(served.shards), seconds, unsure)


def _unsure(workspace: Workspace, store: Store, device: str) -> list[str]:
    """Return the tasks that `auto` had too few validation pairs for, in some direction that it serves."""
    autos = [way for way in workspace.manifest.served.directions if way.policy == "auto"]
    if not autos:
        return []
    _, planner = build.planner_of(workspace, store, Wanted(), device)
    held = set(planner.members)
    return sorted(
        {
            task
            for way in autos
            for task, target in held
            if target == way.target != way.query and (task, way.query) in held
            if len(planner.facts(way.query, way.target).validation(task).queries) < ENOUGH
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
            build.refuse(build.current(workspace, store), [before.policy, *before.policies.values()])
        workspace = workspace.with_manifest(replace(workspace.manifest, served=before, previous=None))
    return ReindexSummary(
        before.policy, dict(before.policies), 0, len(before.shards), time.perf_counter() - began
    )


def check(workspace: Workspace, wanted: Wanted) -> None:
    """Refuse what cannot be served."""
    if not workspace.manifest.served.shards:
        raise UserError("nothing is indexed yet: run `mneme index SOURCE`")
    there = [named(way.query, way.target) for way in workspace.manifest.served.directions]
    for way in wanted.policies:
        if way not in there:
            raise UserError(f"no direction {way!r}; directions are: {', '.join(there)}")


def parse(given: Sequence[str], budget: str | None) -> Wanted:
    """Parse `reindex`, `text-image=auto`, and a budget as `10%`."""
    policy: PolicyName | None = None
    policies: dict[str, PolicyName] = {}
    for one in given:
        way, equals, name = one.rpartition("=")
        if name not in POLICIES:
            raise UserError(f"no policy {name!r}; policies are: {', '.join(POLICIES)}")
        known: PolicyName = next(policy for policy in POLICIES if policy == name)
        if equals:
            policies[way] = known
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
    return Wanted(policy, policies, share(budget) if budget else DEFAULT_BUDGET if partial else 0.0)


def share(text: str) -> float:
    """Parse a percentage above 0 and up to 100: `10%`, `2.5`."""
    try:
        found = float(text.removesuffix("%")) / 100
    except ValueError:
        found = -1.0
    if not 0 < found <= 1:
        raise InvalidSetting("budget", f"takes a percentage above 0 and up to 100, not {text!r}")
    return found
