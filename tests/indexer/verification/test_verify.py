from pathlib import Path

import worlds
from commands import Run
from engine.storage.pages import newest_meta
from indexer.verification.verify import verify


def test_a_whole_workspace_is_ok_and_left_as_it_is(world: Path) -> None:
    before = worlds.bytes_below(world / ".mneme")
    assert verify(world / ".mneme", deep=True).ok
    assert verify(world / ".mneme").ok
    assert worlds.bytes_below(world / ".mneme") == before


def test_json_names_each_problem_and_what_mends_it(world: Path, run: Run) -> None:
    path = world / ".mneme/heads/v0002/log.jsonl"
    path.write_bytes(b"")
    told = run("verify", "--json", "-w", world)
    assert (told.status, told.json["ok"]) == (1, False)
    assert told.json["problems"] == [
        {
            "path": str(path),
            "kind": "head",
            "what": "its checksum does not hold",
            "mend": "`mneme verify --repair` empties it",
        }
    ]


def test_what_a_killed_run_left_is_a_note_and_is_dropped(world: Path, run: Run) -> None:
    draft = world / f".mneme/heads/.v0004.{'a' * 32}"
    draft.mkdir()
    told = run("verify", "-w", world)
    assert (told.status, str(draft) in told.err) == (0, True)
    assert run("verify", "--repair", "-w", world).status == 0
    assert not draft.exists()


def test_damaged_pages_of_the_store_are_told_before_lmdb_reads_them(world: Path, run: Run) -> None:
    file = world / ".mneme/store/data.mdb"
    with file.open("r+b") as opened:
        root = newest_meta(opened).free
        opened.seek(4096 * root)
        opened.write((root + 1).to_bytes(8, "little"))
    told = run("verify", "--deep", "-w", world)
    assert (told.status, f"page {root} has another number; put back a whole copy, or delete" in told.out) == (
        1,
        True,
    )
