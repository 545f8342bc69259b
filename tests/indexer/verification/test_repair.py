"""Each kind of file is damaged; who meets it says so in one line, and its advice, followed, mends it."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

import worlds
from commands import Run
from engine.history import Arrival, History, Lesson
from engine.ids import to_key
from engine.storage.manifest import Served
from engine.storage.rows import StoredRow
from indexer.verification import repair as repairing
from indexer.verification.verify import verify
from manifests import MANIFEST

QUERY = ("query", "a sun and a moon", "--json", "-k", "50")
EVALUATE = ("evaluate", "--json", "--policy", "matched")
AT_FIRST = (*QUERY, "--at", "1")
MEND = "`mneme verify --repair`"


def flip(path: Path) -> None:
    """Turn a bit over in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def rename_key(path: Path) -> None:
    content = path.read_text()
    name = "rows" if '"rows"' in content else "tasks" if '"tasks"' in content else "width"
    path.write_text(content.replace(f'"{name}"', f'"x{name}"', 1))


def delete(path: Path) -> None:
    path.unlink()


def delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def shard(root: Path, name: str) -> Path:
    workspace = worlds.opened(root)
    served = next(s for s in workspace.manifest.served.shards if s.key.modality == "image")
    return workspace.shard(served.path) / name


def router(root: Path, name: str) -> Path:
    workspace = worlds.opened(root)
    return workspace.router(workspace.manifest.served.routers["text"]) / name


def answers(run: Run, root: Path, command: tuple[str, ...]) -> list[dict[str, object]]:
    told = run(*command, "-w", root)
    assert told.status == 0, told.err
    return told.lines


DAMAGES: list[tuple[str, Callable[[Path], None], tuple[str, ...]]] = [
    ("workspace.json", flip, QUERY),
    ("workspace.json", rename_key, QUERY),
    ("workspace.json", halve, QUERY),
    ("workspace.json", delete, QUERY),
    ("heads/v0003/head.safetensors", flip, QUERY),
    ("heads/v0003/head.safetensors", delete, QUERY),
    ("heads/v0001/head.json", rename_key, AT_FIRST),
    ("heads/v0001/head.json", delete, AT_FIRST),
    ("shard vectors.npy", flip, QUERY),
    ("shard vectors.npy", halve, QUERY),
    ("shard ids.npy", flip, QUERY),
    ("shard ids.npy", delete, QUERY),
    ("shard shard.json", rename_key, QUERY),
    ("shard shard.json", delete, QUERY),
    ("shard shard.json", delete_folder, QUERY),
    ("router router.safetensors", flip, QUERY),
    ("router router.json", rename_key, QUERY),
    ("router router.json", delete, QUERY),
    ("router router.json", delete_folder, QUERY),
]


def file_of(root: Path, name: str) -> Path:
    place, _, file = name.partition(" ")
    if file:
        return {"shard": shard, "router": router}[place](root, file)
    return root / ".mneme" / name


@pytest.mark.parametrize(("name", "damage", "command"), DAMAGES)
def test_damage_is_one_line_whose_advice_mends_it(
    world: Path, run: Run, name: str, damage: Callable[[Path], None], command: tuple[str, ...]
) -> None:
    before = answers(run, world, command)
    damage(file_of(world, name))

    told = run(*command, "-w", world)
    assert (told.status, told.err.count("\n")) == (1, 1), told
    assert MEND in told.err
    assert run("verify", "-w", world).status == 1
    mended = run("verify", "--repair", "-w", world)

    assert mended.status == 0, mended
    assert answers(run, world, command) == before
    assert verify(world / ".mneme", deep=True).ok


def damage_values(root: Path, table: bytes) -> None:
    """Turn a bit over in each value of a table of the store."""
    with lmdb.open(str(root / ".mneme/store"), max_dbs=8) as env:
        handle = env.open_db(table)
        with env.begin(write=True) as txn:
            for key, value in list(txn.cursor(handle)):
                txn.put(key, value[:-1] + bytes([value[-1] ^ 1]), db=handle)


@pytest.mark.parametrize("table", [b"rows", b"items", b"blocks", b"places"])
def test_values_of_the_store_are_read_again_from_their_sources(world: Path, run: Run, table: bytes) -> None:
    before = answers(run, world, EVALUATE)
    # of the rows all sources would be forgotten with them, so one is left
    with lmdb.open(str(world / ".mneme/store"), max_dbs=8) as env:
        handle = env.open_db(table)
        with env.begin(write=True) as txn:
            key, value = next(iter(txn.cursor(handle)))
            txn.put(key, value[:-1] + bytes([value[-1] ^ 1]), db=handle)

    told = run("evaluate", "--json", "--policy", "reindex", "-w", world)
    if table != b"items":
        assert (told.status, told.err.count("\n")) == (1, 1), told
        assert MEND in told.err
    assert run("verify", "--deep", "-w", world).status == 1
    assert run("verify", "--repair", "-w", world).status == 0
    assert answers(run, world, EVALUATE) == before


def test_an_item_that_no_row_names_is_noticed_by_who_meets_it(world: Path, run: Run) -> None:
    before = answers(run, world, QUERY)
    with lmdb.open(str(world / ".mneme/store"), max_dbs=8) as env:
        uses = env.open_db(b"uses", dupsort=True)
        with env.begin(write=True) as txn:
            txn.delete(to_key(str(before[0]["id"])), db=uses)
    told = run(*QUERY, "-w", world)
    assert (told.status, told.err.count("\n")) == (1, 1)
    assert f"no row names an item that is stored; {MEND}" in told.err
    assert run("verify", "--repair", "-w", world).status == 0
    assert answers(run, world, QUERY) == before


def test_features_whose_source_is_gone_are_told_as_lost(world: Path, run: Run) -> None:
    damage_values(world, b"blocks")
    for row in {row.source for row in worlds_rows(world)}:
        Path(row).rename(f"{row}.away")
    try:
        told = run("verify", "--repair", "-w", world)
    finally:
        for row in {row.source for row in worlds_rows(world)}:
            Path(f"{row}.away").rename(row)
    assert told.status == 1
    assert "they are lost until these are indexed again: " in told.out


def worlds_rows(root: Path) -> list[StoredRow]:
    with worlds.stored(root) as store:
        return list(store.rows())


def test_what_strategies_remembered_is_emptied(world: Path, run: Run) -> None:
    before = answers(run, world, QUERY)
    flip(world / ".mneme/heads/v0003/memory.safetensors")
    told = run("train", "-t", "sky", "--epochs", "1", "-w", world)
    assert (told.status, MEND in told.err) == (1, True)
    assert run("verify", "--repair", "-w", world).status == 0
    assert answers(run, world, QUERY) == before
    assert run("train", "-t", "sky", "--epochs", "1", "-w", world).status == 0


def test_a_lesson_whose_head_is_gone_is_forgotten_and_said(world: Path, run: Run) -> None:
    shutil.rmtree(world / ".mneme/heads/v0003")
    assert MEND in run(*QUERY, "-w", world).err
    told = run("verify", "--repair", "-w", world)
    assert told.status == 0, told
    assert "head v0003 is lost: its lesson is forgotten; train it again\n" in told.out
    assert {hit["task"] for hit in answers(run, world, QUERY)} == {"sky", "life", "places"}
    assert [lesson.head for lesson in worlds.opened(world).manifest.history.lessons] == [1, 2]


def test_a_reference_whose_head_is_gone_is_forgotten_and_said(world: Path, run: Run) -> None:
    assert run("train", "-t", "sky", "--epochs", "1", "--reference", "-w", world).status == 0
    before = answers(run, world, QUERY)
    shutil.rmtree(world / ".mneme/heads/v0004")
    assert run("verify", "--repair", "-w", world).status == 0
    assert worlds.opened(world).manifest.references == ()
    assert answers(run, world, QUERY) == before


def test_a_state_to_roll_back_to_that_is_damaged_is_forgotten_and_said(world: Path, run: Run) -> None:
    only_former = shard(world, "vectors.npy")
    assert run("reindex", "--policy", "reindex", "-w", world).status == 0
    before = answers(run, world, QUERY)
    flip(only_former)
    told = run("verify", "--repair", "-w", world)
    assert (told.status, "what `rollback` would have served is lost\n" in told.out) == (0, True)
    assert worlds.opened(world).manifest.previous is None
    assert answers(run, world, QUERY) == before


def test_a_store_that_is_cut_is_made_again_as_its_error_says(world: Path, run: Run) -> None:
    before = answers(run, world, QUERY)
    halve(world / ".mneme/store/data.mdb")
    assert "put back a whole copy, or delete" in run(*QUERY, "-w", world).err
    assert run("verify", "-w", world).status == 1
    sources = sorted({str(Path(path)) for path in world.glob("*.npz")})
    shutil.rmtree(world / ".mneme/store")
    assert run("index", *sources, "-w", world).status == 0
    again = answers(run, world, QUERY)
    assert [(hit["id"], hit["score"]) for hit in again] == [(hit["id"], hit["score"]) for hit in before]


def test_without_numbers_lessons_anew() -> None:
    history = History(
        (Lesson(1, "a", 1), Lesson(2, "b", 2), Lesson(3, "c", 3)), (Arrival("x", 1, 1), Arrival("y", 2, 2))
    )
    manifest = repairing.without(replace(MANIFEST, history=history), [2])
    assert manifest.history == History(
        (Lesson(1, "a", 1), Lesson(2, "c", 3)), (Arrival("x", 1, 1), Arrival("y", 1, 1))
    )
    assert (manifest.served.shards, manifest.previous) == (Served().shards, None)


def test_room_that_the_store_does_not_use_is_given_back_on_request(world: Path, run: Run) -> None:
    more = worlds.save(world / "more.npz", worlds.rows("sky", 4000))
    worlds.index(world, more)
    assert run("remove", "--source", more, "-w", world).status == 0
    answers, store = run(*QUERY, "-w", world).out, world / ".mneme/store/data.mdb"
    size = store.stat().st_size
    done = run("verify", "--repair", "--compact", "-w", world)
    assert (done.status, "MB given back" in done.out) == (0, True)
    assert store.stat().st_size < size / 2
    assert run(*QUERY, "-w", world).out == answers
    assert run("verify", "--deep", "-w", world).status == 0


def test_to_compact_goes_with_repair(run: Run, world: Path) -> None:
    assert run("verify", "--compact", "-w", world).status == 2
