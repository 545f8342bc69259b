import gc
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import pytest

import worlds
from engine.errors import UserError
from engine.heads.embedder import Embedder
from engine.history import Arrival, History
from engine.storage.manifest import Sealed, Temperature
from engine.storage.store import Store
from engine.types import PolicyName
from indexer.embeddings.embeddings import embedding_cache
from indexer.policies.plan import ItemsByHead, Placement
from indexer.policies.planner import Planner, direction_called, direction_name
from indexer.policies.statistics import TEMPERATURE


@pytest.fixture(scope="module")
def opened(trained: Path) -> Iterator[Store]:
    with worlds.stored(trained) as store:
        yield store


@pytest.fixture
def planner(trained: Path, opened: Store) -> Planner:
    return planned(trained, opened)


def planned(
    root: Path,
    store: Store,
    *,
    by_head: Mapping[tuple[str, str], ItemsByHead] | None = None,
    sealed: Mapping[str, Sealed] | None = None,
) -> Planner:
    workspace, pairs = worlds.opened(root), store.pairs()
    members = {
        (task, modality): sorted({id for pair in pairs if pair.task == task for id in pair.items[modality]})
        for task in worlds.TASKS
        for modality in ("image", "text")
    }
    embeddings = embedding_cache(Embedder(workspace), store, pairs)
    return Planner(embeddings, workspace.manifest.history, pairs, members, by_head or {}, sealed or {})


def test_a_route_places_every_task_as_the_policy_does(planner: Planner) -> None:
    assert planner.route("text", "image", "no-reindex").plan == {
        "sky": (Placement(1, 1, 3),),
        "life": (Placement(2, 2, 3),),
        "places": (Placement(3, 3, 3),),
    }


@pytest.mark.parametrize("policy", get_args(PolicyName))
@pytest.mark.parametrize("modality", ["image", "text"])
def test_items_like_an_item_are_compared_by_the_head_that_embedded_them(
    planner: Planner, policy: PolicyName, modality: str
) -> None:
    plan = planner.route(modality, modality, policy).plan
    heads = {(p.head, p.space, p.queries) for placements in plan.values() for p in placements}
    assert {len({*placement}) for placement in heads} == {1}


def test_what_a_planner_measured_goes_with_it(trained: Path, opened: Store) -> None:
    planner = planned(trained, opened)
    planner.route("text", "image", "no-reindex")
    embeddings = weakref.ref(planner.embeddings)
    gc.disable()  # a cycle would stay
    try:
        del planner
        assert embeddings() is None
    finally:
        gc.enable()


def test_tasks_without_items_of_the_target_are_left_out(planner: Planner) -> None:
    history = History(planner.history.lessons, (Arrival("empty", 3, 3),))
    route = Planner(planner.embeddings, history, planner.pairs, planner.members).route(
        "text", "image", "matched"
    )
    assert list(route.plan) == list(route.tau) == list(worlds.TASKS)


def test_the_temperature_of_a_task_is_that_of_its_placement_in_the_direction(planner: Planner) -> None:
    expected = planner.statistics("text", "image").temperature("life", Placement(2, 2, 3))
    assert planner.route("text", "image", "no-reindex").tau["life"] == expected
    assert planner.route("image", "text", "no-reindex").tau["life"] != expected


def test_partial_plans_on_from_the_items_of_the_target_that_are_placed(trained: Path, opened: Store) -> None:
    first = planned(trained, opened)
    ids = {modality: first.members["sky", modality] for modality in ("image", "text")}
    by_head = {("sky", "image"): {3: ids["image"][:5]}, ("sky", "text"): {3: ids["text"][:9]}}
    planner = planned(trained, opened, by_head=by_head)
    for modality, moved in (("image", 5), ("text", 9)):
        parts = planner.route("text", modality, "partial").plan["sky"]
        assert {part.head: part.items for part in parts} == {
            1: tuple(ids[modality][moved:]),
            3: tuple(ids[modality][:moved]),
        }


def test_partial_spends_its_budget(planner: Planner) -> None:
    plan = planner.route("text", "image", "partial", 0.1).plan
    moved = {part.items for task in ("sky", "life") for part in plan[task] if part.head == 3}
    assert sum(len(items or ()) for items in moved) == 9


def test_statistics_of_a_direction_are_kept(planner: Planner) -> None:
    assert planner.statistics("text", "image") is planner.statistics("text", "image")
    assert planner.statistics("text", "image") is not planner.statistics("image", "text")
    assert planner.statistics("text", "image").items("sky") == planner.members["sky", "image"]


# tasks whose features are to be removed, or were


def test_the_temperatures_of_a_task_are_those_of_every_head_that_may_search_it(planner: Planner) -> None:
    temperatures = planner.temperatures("sky")
    own = [(1, 1, version) for version in (0, 1, 2, 3)]
    assert [(one.query, one.target, one.head, one.space, one.queries) for one in temperatures] == [
        (query, target, *placement)
        for query in ("image", "text")
        for target in ("image", "text")
        for placement in (*own, (1, 3, 3))
    ]
    assert all(
        one.tau
        == planner.statistics(one.query, one.target).temperature(
            "sky", Placement(one.head, one.space, one.queries)
        )
        for one in temperatures
    )


def test_the_directions_of_a_task_are_between_its_own_modalities_in_order(planner: Planner) -> None:
    members = {("bare", modality): () for modality in "cabfed"} | {("other", "z"): ()}
    history = History((), (Arrival("bare", 0, 0),))
    temperatures = Planner(planner.embeddings, history, [], members).temperatures("bare")
    assert [(one.query, one.target) for one in temperatures] == [
        (query, target) for query in "abcdef" for target in "abcdef"
    ]
    assert {one.tau for one in temperatures} == {TEMPERATURE}


def test_the_newest_task_needs_no_temperature_of_a_mapped_shard(planner: Planner) -> None:
    assert {(one.head, one.space) for one in planner.temperatures("places")} == {(3, 3)}


def tau(root: Path, store: Store, *kept: tuple[int, int, int], query: str = "text") -> float:
    """Return the tau of sky, placed at (1, 1, 3), of which those at so many placements were kept, 0.1 and up."""
    temperatures = [
        Temperature("text", "image", *placement, 0.1 * number) for number, placement in enumerate(kept, 1)
    ]
    planner = planned(root, store, sealed={"sky": Sealed(temperatures=tuple(temperatures))})
    return planner.route(query, "image", "no-reindex").tau["sky"]


def test_a_sealed_tasks_temperature_is_that_of_the_same_placement(trained: Path, opened: Store) -> None:
    assert tau(trained, opened, (1, 1, 3), (1, 3, 3), (1, 1, 9)) == pytest.approx(0.1)


def test_else_it_is_the_last_of_its_kind(trained: Path, opened: Store) -> None:
    assert tau(trained, opened, (1, 1, 1), (1, 1, 2), (1, 4, 4), (1, 1, 0)) == pytest.approx(0.2)


def test_else_it_is_the_last_there_is(trained: Path, opened: Store) -> None:
    assert tau(trained, opened, (1, 4, 4), (1, 5, 5), (1, 2, 2)) == pytest.approx(0.2)


def test_of_another_direction_it_is_measured(trained: Path, opened: Store) -> None:
    measured = planned(trained, opened).route("image", "image", "no-reindex").tau["sky"]
    assert tau(trained, opened, (1, 1, 3), query="image") == measured


def test_a_direction_is_named_query_first() -> None:
    assert direction_name("text", "image") == "text-image"
    assert direction_name("rgb-d", "50%") == "rgb%2Dd-50%25"


TWINS = [("a", "b-c"), ("a-b", "c"), ("cafe", "rgb-d"), ("é", "é")]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("a-b%2Dc", "a-b%2Dc"),
        ("cafe-rgb-d", "cafe-rgb%2Dd"),
        ("cafe-rgb%2Dd", "cafe-rgb%2Dd"),
        ("e\u0301-é ", "é-é"),
    ],
)
def test_a_direction_is_found_by_either_name(name: str, meant: str) -> None:
    assert direction_called(name, TWINS) == meant


def test_a_name_that_two_directions_have_is_refused_with_the_names_that_they_do_not_share() -> None:
    with pytest.raises(UserError, match=r"^direction 'a-b-c' may be a-b%2Dc or a%2Db-c: write it like that$"):
        direction_called("a-b-c", TWINS)
