"""Indexing policies: pure functions from what was learned to how every task is embedded and searched."""

from collections.abc import Sequence

from engine.errors import InvalidSetting, UserError
from engine.history import History, Reference, newest_head, settled
from engine.types import PolicyName
from indexer.policies.auto import auto
from indexer.policies.partial import partial
from indexer.policies.plan import Indexed, Placement, Plan, Policy, Statistics

NEED_FEATURES: frozenset[PolicyName] = frozenset({"reindex", "partial", "auto"})
"""The policies that embed old items again, or measure them by other heads: they need the features."""


def reindex(history: History, statistics: Statistics, indexed: Indexed) -> Plan:
    """Embed every task again by the newest head."""
    newest = newest_head(history)
    return {task: (Placement(newest, newest, newest),) for task in settled(history)}


def no_reindex(history: History, statistics: Statistics, indexed: Indexed) -> Plan:
    """Leave every task as the head of its own lesson embedded it; search with the newest head."""
    newest = newest_head(history)
    return {task: (Placement(head, head, newest),) for task, head in settled(history).items()}


def matched(history: History, statistics: Statistics, indexed: Indexed) -> Plan:
    """Leave every task as it was embedded and search each with the head that embedded it."""
    return {task: (Placement(head, head, head),) for task, head in settled(history).items()}


def aligned(history: History, statistics: Statistics, indexed: Indexed) -> Plan:
    """Map every task, as it was embedded, to the space of the newest head; search with that."""
    newest = newest_head(history)
    return {task: (Placement(head, newest, newest),) for task, head in settled(history).items()}


POLICIES: dict[PolicyName, Policy] = {
    "reindex": reindex,
    "no-reindex": no_reindex,
    "matched": matched,
    "aligned": aligned,
    "partial": partial,
    "auto": auto,
}


def referenced(history: History, references: Sequence[Reference]) -> Plan:
    """Return how the heads that one method trained beside a history are searched: the newest embeds all tasks.

    Heads that each learned one task alone are searched for that.
    """
    known = [reference for reference in references if reference.after <= len(history.lessons)]
    if not known:
        return {}
    own = {reference.task: reference.head for reference in known}
    newest = known[-1]
    heads = {task: own.get(task) if newest.alone else newest.head for task in settled(history)}
    return {task: (Placement(head, head, head),) for task, head in heads.items() if head is not None}


def parse_policies(names: Sequence[str]) -> list[PolicyName]:
    """Return the policies of these names, each once, in the order of POLICIES."""
    named = {parse_policy(name) for name in names}
    return [policy for policy in POLICIES if policy in named]


def parse_policy(name: str) -> PolicyName:
    """Return the policy of a name; an error names those there are."""
    for policy in POLICIES:
        if policy == name:
            return policy
    raise UserError(f"no policy {name!r}; policies are: {', '.join(POLICIES)}")


def parse_budget(text: str) -> float:
    """Parse a percentage above 0 and up to 100: `10%`, `2.5`."""
    try:
        parsed = float(text.removesuffix("%")) / 100
    except ValueError:
        parsed = -1.0
    if not 0 < parsed <= 1:
        raise InvalidSetting("budget", f"takes a percentage above 0 and up to 100, not {text!r}")
    return parsed
