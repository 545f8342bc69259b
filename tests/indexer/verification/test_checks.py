from pathlib import Path

import worlds
from engine.storage import workspace as workspaces
from indexer.verification import checks


def test_a_copy_of_another_state_is_told(world: Path) -> None:
    root = world / ".mneme"
    assert list(checks.copy_of_manifest(root)) == []
    (root / workspaces.COPY).write_text("{}")
    assert [problem.kind for problem in checks.copy_of_manifest(root)] == ["manifest"]


def test_memory_is_read_only_where_all_is(world: Path) -> None:
    workspace = worlds.opened(world)
    (workspace.head(2) / "memory.safetensors").write_bytes(b"x")
    assert list(checks.head(workspace, 2, deep=False)) == []
    assert [problem.what for problem in checks.head(workspace, 2, deep=True)] == [
        "its checksum does not hold"
    ]


def test_a_manifest_without_a_copy_is_mended_by_hand(world: Path) -> None:
    root = world / ".mneme"
    (root / workspaces.COPY).unlink()
    (root / workspaces.MANIFEST).write_text("{")
    problem = checks.manifest(root)
    assert problem is not None
    assert str(problem.mend).startswith("put back a whole copy of the workspace")
