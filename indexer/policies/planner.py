"""Which shards and which query head answer each direction: plans and temperatures, from what is stored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TypeAlias

from engine.errors import UserError
from engine.evaluation.splits import Groups, grouped
from engine.history import History, newest_head, settled, versions
from engine.ids import clean_name, escape
from engine.storage.manifest import Sealed, Temperature
from engine.types import ItemId, Modality, Pair, PolicyName
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.policies.plan import Indexed, ItemsByHead, Placement, Plan
from indexer.policies.policies import POLICIES
from indexer.policies.statistics import DirectionStatistics

Members: TypeAlias = Mapping[tuple[str, Modality], Sequence[ItemId]]
"""The distinct items of each task and modality, sorted."""


@dataclass(frozen=True)
class Route:
    """How one direction is searched: the placements of each task, and its temperature."""

    plan: Plan
    tau: Mapping[str, float]


@dataclass
class Planner:
    """Plans for every direction over the same history and the same items.

    Attributes:
        pairs: those whose features are stored.
        by_head: of each task and modality, which items each head version embeds already.
        sealed: the tasks whose features were removed, and what was measured of them while they were there.
    """

    embeddings: EmbeddingCache
    history: History
    pairs: Sequence[Pair]
    members: Members
    by_head: Mapping[tuple[str, Modality], ItemsByHead] = field(default_factory=dict)
    sealed: Mapping[str, Sealed] = field(default_factory=dict)
    groups: Groups = field(init=False)
    _statistics: dict[tuple[Modality, Modality], DirectionStatistics] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = grouped(self.pairs)

    def route(self, query: Modality, target: Modality, policy: PolicyName, budget: float = 0.0) -> Route:
        """Return how a direction is searched under a policy; tasks without items of the target are left out.

        Args:
            budget: the share of all items that `partial` may embed again, 0 to 1.
        """
        by_head = {task: ids for (task, modality), ids in self.by_head.items() if modality == target}
        plans = POLICIES[policy](self.history, self.statistics(query, target), Indexed(by_head, budget))
        if query == target:  # items like an item: a head compares with its own, so that each finds itself
            plans = {task: tuple(map(_by_own_head, placements)) for task, placements in plans.items()}
        plan = {task: placements for task, placements in plans.items() if self.members.get((task, target))}
        tau = {task: self._tau(query, target, task, placements[0]) for task, placements in plan.items()}
        return Route(plan, tau)

    def temperatures(self, task: str) -> tuple[Temperature, ...]:
        """Return the temperatures that a task may need once it can no longer be measured, in every direction.

        Its vectors stay as its head made them, searched by any head there is, or mapped to the newest one's space.
        """
        own, newest = settled(self.history)[task], newest_head(self.history)
        placements = [Placement(own, own, version) for version in versions(self.history)]
        placements += [Placement(own, newest, newest)] if own != newest else []
        modalities = sorted({modality for name, modality in self.members if name == task})
        return tuple(
            Temperature(
                query,
                target,
                placement.head,
                placement.space,
                placement.queries,
                self.statistics(query, target).temperature(task, placement),
            )
            for query, target in product(modalities, modalities)
            for placement in placements
        )

    def _tau(self, query: Modality, target: Modality, task: str, placement: Placement) -> float:
        """Return a task's temperature: measured, or where it no longer can be the nearest that was.

        That is the one of the same placement, else the last of its kind (mapped or not), else the last.
        """
        sealed = self.sealed[task].temperatures if task in self.sealed else ()
        measured = [kept for kept in sealed if (kept.query, kept.target) == (query, target)]
        if not measured:
            return self.statistics(query, target).temperature(task, placement)

        def nearness(kept: Temperature) -> tuple[bool, bool, int]:
            is_same = (kept.head, kept.space, kept.queries) == (
                placement.head,
                placement.space,
                placement.queries,
            )
            is_alike = (kept.space == kept.head) == (placement.space == placement.head)
            return is_same, is_alike, kept.queries

        return max(measured, key=nearness).tau

    def statistics(self, query: Modality, target: Modality) -> DirectionStatistics:
        """Return what is measured of a direction."""
        if (query, target) not in self._statistics:
            members = self.members  # not self: a cycle would keep all embeddings until it is collected

            def items(task: str) -> Sequence[ItemId]:
                return members.get((task, target), ())

            self._statistics[query, target] = DirectionStatistics(
                self.embeddings, self.groups, query, target, items
            )
        return self._statistics[query, target]


def _by_own_head(placement: Placement) -> Placement:
    """Return a placement in the space of the head that embeds its items, which embeds the queries too."""
    return replace(placement, space=placement.head, queries=placement.head)


def direction_name(query: Modality, target: Modality) -> str:
    """Return the name of a direction: text-image; a `-` within a modality's name is written %2D, a % %25."""
    return f"{escape(query, '-')}-{escape(target, '-')}"


def direction_called(name: str, known: Iterable[tuple[Modality, Modality]]) -> str:
    """Return the name of the direction that a person means, who may have written the modalities as they are.

    Raises:
        UserError: none of those that are known is called so, or several are.
    """
    names = {direction_name(*direction): "-".join(direction) for direction in known}
    spoken = clean_name(name)
    meant = [spoken] if spoken in names else [exact for exact, plain in names.items() if plain == spoken]
    if not meant:
        raise UserError(f"no direction {name!r}; directions are: {', '.join(names)}")
    if len(meant) > 1:
        raise UserError(f"direction {name!r} may be {' or '.join(meant)}: write it like that")
    return meant[0]


@dataclass(frozen=True)
class DirectionPolicies:
    """The policy of all directions, and of those that have their own, by name."""

    general: PolicyName
    own: Mapping[str, PolicyName]

    def of(self, query: Modality, target: Modality) -> PolicyName:
        """Return the policy of a direction; one that is named plainly may be another's too, as it once was."""
        plain = f"{query}-{target}" if "-" in f"{query}{target}" else ""
        return self.own.get(direction_name(query, target), self.own.get(plain, self.general))

    @property
    def named(self) -> list[PolicyName]:
        """The policies of all directions, the general one first."""
        return [self.general, *self.own.values()]
