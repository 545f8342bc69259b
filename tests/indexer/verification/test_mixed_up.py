"""Files that are whole, but of another head or of another time: noticed, and what can be is put back in its place."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import worlds
from commands import Run
from engine.heads import files as heads
from engine.storage import files
from engine.storage import workspace as workspaces
from indexer.verification.verify import verify

QUERY = ("query", "a sun and a moon", "--json", "-k", "50")
AT_FIRST = (*QUERY, "--at", "1")
MEND = "`mneme verify --repair`"


def swap(first: Path, second: Path) -> None:
    first.rename(first.with_name("aside"))
    second.rename(first)
    first.with_name("aside").rename(second)


def swap_heads(root: Path) -> None:
    swap(root / "heads/v0001", root / "heads/v0003")


def swap_records(root: Path) -> None:
    swap(root / "heads/v0001/head.json", root / "heads/v0003/head.json")


def swap_records_and_tensors(root: Path) -> None:
    swap_records(root)
    swap(root / "heads/v0001/head.safetensors", root / "heads/v0003/head.safetensors")


def call_a_head_otherwise(root: Path) -> None:
    (root / "heads/v0001").rename(root / "heads/v0009")


@pytest.mark.parametrize("mix", [swap_heads, swap_records, swap_records_and_tensors, call_a_head_otherwise])
def test_heads_that_were_mixed_up_are_noticed_and_put_back_in_their_places(
    world: Path, run: Run, mix: Callable[[Path], None]
) -> None:
    before = worlds.bytes_below(world / ".mneme/heads"), run(*AT_FIRST, "-w", world).out
    mix(world / ".mneme")

    told = run(*AT_FIRST, "-w", world)
    assert (told.status, told.out, told.err.count("\n"), MEND in told.err) == (1, "", 1, True)
    assert run("verify", "--repair", "-w", world).status == 0

    assert (worlds.bytes_below(world / ".mneme/heads"), run(*AT_FIRST, "-w", world).out) == before
    assert verify(world / ".mneme", deep=True).ok


def test_a_copy_of_another_head_in_the_place_of_one_is_noticed(world: Path, run: Run) -> None:
    shutil.rmtree(world / ".mneme/heads/v0003")
    shutil.copytree(world / ".mneme/heads/v0001", world / ".mneme/heads/v0003")
    told = run(*QUERY, "-w", world)
    why = f"{world}/.mneme/heads/v0003/head.json is damaged: it is of head v0001; {MEND} mends it"
    assert (told.status, told.err) == (1, f"error: {why}\n")
    mended = run("verify", "--repair", "-w", world)
    assert (mended.status, "head v0003 is lost" in mended.out) == (0, True)


def test_a_head_of_another_workspace_is_noticed(world: Path, run: Run) -> None:
    workspace = worlds.opened(world)
    head, record = heads.read(workspace.head(3))
    head.layers["text"].load_state_dict({k: 2 * v for k, v in head.layers["text"].state_dict().items()})
    heads.write(workspace.head(3), head, record, {}, b"")
    told = run(*QUERY, "-w", world)
    assert (told.status, told.err.count("\n")) == (1, 1)
    assert f"it is another head than the manifest says; {MEND}" in told.err


def swap_routers(root: Path) -> None:
    routers = worlds.opened(root.parent).manifest.served.routers
    swap(root / "router" / routers["image"], root / "router" / routers["text"])


def serve_an_older_router(root: Path) -> None:
    routers = worlds.opened(root.parent).manifest.served.routers
    (older,) = (path for path in (root / "router").glob("text-*") if path.name != routers["text"])
    shutil.rmtree(root / "router" / routers["text"])
    shutil.copytree(older, root / "router" / routers["text"])


def swap_shards(root: Path) -> None:
    first, second, *_ = worlds.opened(root.parent).manifest.served.shards
    swap(root / "shards" / first.path, root / "shards" / second.path)


def test_a_plan_for_served_items_notices_another_shard_too(world: Path, run: Run) -> None:
    shards = worlds.opened(world).manifest.served.shards
    picture, text = (
        next(shard for shard in shards if shard.key.modality == modality) for modality in ("image", "text")
    )
    swap(world / ".mneme/shards" / picture.path, world / ".mneme/shards" / text.path)
    told = run(*QUERY, "--policy", "reindex", "-w", world)
    assert (told.status, told.out, MEND in told.err) == (1, "", True)


def test_a_store_of_before_that_was_put_back_gives_no_short_answer(world: Path, run: Run) -> None:
    store = world / ".mneme/store/data.mdb"
    before = store.read_bytes()
    worlds.index(world, worlds.save(world / "more.npz", worlds.rows("sky", 9, start=100)), task="sky")
    query = ("query", "a sun and a moon", "--json", "-k", "200")
    answer = run(*query, "-w", world).out
    store.write_bytes(before)
    (store.parent / "lock.mdb").unlink()
    told = run(*query, "-w", world)
    assert (told.status, told.out) == (1, "")
    assert f"an item is missing that rows or shards name; {MEND}" in told.err
    assert run("verify", "-w", world).status == 1
    assert run("verify", "--repair", "-w", world).status == 0
    assert run("index", world / "more.npz", "-t", "sky", "-w", world).status == 0
    assert run(*query, "-w", world).out == answer


@pytest.mark.parametrize("mix", [swap_routers, serve_an_older_router, swap_shards])
def test_routers_and_shards_that_were_mixed_up_are_noticed_and_made_anew(
    world: Path, run: Run, mix: Callable[[Path], None]
) -> None:
    before = run(*QUERY, "-w", world).out
    mix(world / ".mneme")
    told = run(*QUERY, "-w", world)
    assert (told.status, told.out, told.err.count("\n"), MEND in told.err) == (1, "", 1, True)
    assert run("verify", "--repair", "-w", world).status == 0
    assert run(*QUERY, "-w", world).out == before


def test_a_manifest_of_a_lesson_ago_that_was_put_back_gives_way_to_its_copy(world: Path, run: Run) -> None:
    root = world / ".mneme"
    before = (root / workspaces.MANIFEST).read_bytes()
    worlds.learn(world, "sky")
    (root / workspaces.MANIFEST).write_bytes(before)

    told = run(*QUERY, "-w", world)
    why = f"{root / workspaces.MANIFEST} is damaged: it is older than its copy; {MEND} mends it"
    assert (told.status, told.err) == (1, f"error: {why}\n")
    assert run("verify", "--repair", "-w", world).status == 0
    assert len(worlds.opened(world).manifest.history.lessons) == 4


def test_a_copy_that_a_crash_left_behind_is_no_damage(world: Path) -> None:
    root = world / ".mneme"
    before = (root / workspaces.COPY).read_bytes()
    worlds.learn(world, "sky")
    (root / workspaces.COPY).write_bytes(before)
    assert len(worlds.opened(world).manifest.history.lessons) == 4


def test_a_manifest_that_is_written_while_it_is_read_is_no_damage(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, workspace, read = world / ".mneme", worlds.opened(world), files.read_json

    def written_meanwhile(path: Path) -> dict[str, object]:
        content = read(path)
        if path.name == workspaces.MANIFEST and content["writes"] == workspace.manifest.writes:
            workspace.with_manifest(replace(workspace.manifest, aligned=True))
        return content

    monkeypatch.setattr(files, "read_json", written_meanwhile)
    assert workspaces.open_at(root).manifest.aligned
