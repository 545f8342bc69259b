"""How each direction is to be asked: plans and temperatures, from what is stored and what is served now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TypeAlias

from engine.evaluation.splits import Groups, grouped
from engine.history import History, newest_head, settled, versions
from engine.storage.manifest import Sealed, Temperature
from engine.types import ItemId, Modality, Pair, PolicyName
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.policies.policies import POLICIES, Placement, Plan
from indexer.policies.statistics import Measured

Members: TypeAlias = Mapping[tuple[str, Modality], Sequence[ItemId]]
"""The distinct items of each task and modality, sorted."""

Now: TypeAlias = Mapping[tuple[str, Modality], Mapping[int, Sequence[ItemId]]]
"""Which of them each head version embeds."""


@dataclass(frozen=True)
class Route:
    """How one direction is asked: the placements of each task, and its temperature."""

    plan: Plan
    tau: Mapping[str, float]


@dataclass
class Planner:
    """Plans for every direction over the same items.

    Attributes:
        sealed: the tasks that can no longer be measured, and what was measured of them.
    """

    reader: EmbeddingCache
    pairs: Sequence[Pair]
    members: Members
    now: Now = field(default_factory=dict)
    sealed: Mapping[str, Sealed] = field(default_factory=dict)
    groups: Groups = field(init=False)
    _facts: dict[tuple[Modality, Modality], Measured] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = grouped(self.pairs)

    def way(
        self, query: Modality, target: Modality, history: History, policy: PolicyName, budget: float = 0.0
    ) -> Route:
        """Return how a direction is asked under a policy; tasks without items of the target are left out."""
        facts = self.facts(query, target).standing(self._now(target), budget)
        plan = {
            task: there
            for task, there in POLICIES[policy](history, facts).items()
            if self.members.get((task, target))
        }
        return Route(plan, {task: self._tau(facts, task, there[0]) for task, there in plan.items()})

    def temperatures(self, task: str, history: History) -> tuple[Temperature, ...]:
        """Return the temperatures that a task may need once it can no longer be measured, in every direction.

        Its vectors stay as its head made them, asked by any head there is, or mapped to the newest one's space.
        """
        own, newest = settled(history)[task], newest_head(history)
        placements = [Placement(own, own, version) for version in versions(history)]
        placements += [Placement(own, newest, newest)] if own != newest else []
        modalities = sorted({m for name, m in self.members if name == task})
        return tuple(
            Temperature(*way, one.head, one.space, one.queries, self.facts(*way).temperature(task, one))
            for way in product(modalities, modalities)
            for one in placements
        )

    def _tau(self, facts: Measured, task: str, placement: Placement) -> float:
        """Return a task's temperature: measured, or where it no longer can be the nearest that was.

        That is the one of the same placement, else the last of its kind (mapped or not), else the last.
        """
        told = self.sealed[task].temperatures if task in self.sealed else ()
        told = tuple(one for one in told if (one.query, one.target) == (facts.query, facts.target))
        if not told:
            return facts.temperature(task, placement)

        def nearness(one: Temperature) -> tuple[bool, bool, int]:
            same = (one.head, one.space, one.queries) == (placement.head, placement.space, placement.queries)
            alike = (one.space == one.head) == (placement.space == placement.head)
            return same, alike, one.queries

        return max(told, key=nearness).tau

    def facts(self, query: Modality, target: Modality) -> Measured:
        """Return what is measured of a direction."""
        if (query, target) not in self._facts:

            def items(task: str) -> Sequence[ItemId]:
                return self.members.get((task, target), ())

            self._facts[query, target] = Measured(self.reader, self.groups, query, target, items)
        return self._facts[query, target]

    def _now(self, target: Modality) -> dict[str, Mapping[int, Sequence[ItemId]]]:
        return {task: held for (task, modality), held in self.now.items() if modality == target}


def named(query: Modality, target: Modality) -> str:
    """Return the name of a direction as the command line writes it: text-image."""
    return f"{query}-{target}"
