"""How each direction is to be asked: plans and temperatures, from what is stored and what is served now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from engine.types import History, ItemId, Modality, Pair, PolicyName
from indexer.facts import Measured
from indexer.policy import POLICIES, Plan
from indexer.vectors import Reader

Members: TypeAlias = Mapping[tuple[str, Modality], Sequence[ItemId]]
"""The distinct items of each task and modality, sorted."""

Now: TypeAlias = Mapping[tuple[str, Modality], Mapping[int, Sequence[ItemId]]]
"""Which of them each head version embeds."""


@dataclass(frozen=True)
class Way:
    """How one direction is asked: the placements of each task, and its temperature."""

    plan: Plan
    tau: Mapping[str, float]


@dataclass
class Planner:
    """Plans for every direction over the same items."""

    reader: Reader
    pairs: Sequence[Pair]
    members: Members
    now: Now = field(default_factory=dict)
    _facts: dict[tuple[Modality, Modality], Measured] = field(default_factory=dict)

    def way(
        self, query: Modality, target: Modality, history: History, policy: PolicyName, budget: float = 0.0
    ) -> Way:
        """Return how a direction is asked under a policy; tasks without items of the target are left out."""
        facts = self.facts(query, target).standing(self._now(target), budget)
        plan = {
            task: there
            for task, there in POLICIES[policy](history, facts).items()
            if self.members.get((task, target))
        }
        return Way(plan, {task: facts.temperature(task, there[0]) for task, there in plan.items()})

    def facts(self, query: Modality, target: Modality) -> Measured:
        """Return what is measured of a direction."""
        if (query, target) not in self._facts:

            def items(task: str) -> Sequence[ItemId]:
                return self.members.get((task, target), ())

            self._facts[query, target] = Measured(self.reader, self.pairs, query, target, items)
        return self._facts[query, target]

    def _now(self, target: Modality) -> dict[str, Mapping[int, Sequence[ItemId]]]:
        return {task: held for (task, modality), held in self.now.items() if modality == target}


def named(query: Modality, target: Modality) -> str:
    """Return the name of a direction as the command line writes it: text-image."""
    return f"{query}-{target}"
