import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.ids import item_id
from engine.ingest.setup import WorkspaceOptions
from engine.storage.store import Store
from engine.storage.workspace import open_at
from indexer.serving.index import IndexSummary, index

PACK = Path(__file__).parents[1].parent / "shared" / "data" / "hostile"
BUILTIN = WorkspaceOptions(specs=["builtin"])
MANIFESTS = {
    # rows read, and the lines that are skipped
    "manifest_bad_json.jsonl": (2, [2, 4]),
    "manifest_blank_lines.jsonl": (2, []),
    "manifest_no_final_newline.jsonl": (2, []),
    "manifest_bom_crlf.jsonl": (2, []),
    "manifest_surrogate.jsonl": (1, [2]),
    "manifest_deep.jsonl": (1, [1]),
    "manifest_huge_line.jsonl": (2, []),
}
REFUSED = [
    "manifest_duplicate_keys.jsonl",
    "manifest_not_utf8.jsonl",
    "manifest_nan.jsonl",
    "manifest_binary.jsonl",
    "manifest_empty.jsonl",
    "manifest_array.json",
]

pytestmark = [
    pytest.mark.skipif(not PACK.is_dir(), reason="the hostile data pack is not here"),
    pytest.mark.filterwarnings("ignore:Image size.*:PIL.Image.DecompressionBombWarning"),
]


@dataclass(frozen=True)
class Read:
    """A tree that was indexed, and what came of it.

    Attributes:
        cases: what each entry of the tree is, and what is to be expected of it.
        paths: the files that items were found at.
        texts: the ids of the texts that were found.
    """

    tree: Path
    cases: list[dict[str, Any]]
    summary: IndexSummary
    paths: set[str]
    texts: set[str]

    def expected(self, kind: str, expect: str) -> list[Path]:
        """Return the entries of a kind of which this is expected."""
        return [path_of(self.tree, c) for c in self.cases if (c["kind"], c["expect"]) == (kind, expect)]


def path_of(tree: Path, case: dict[str, Any]) -> Path:
    """Return where an entry of the tree is; a name that is not UTF-8 is given in base64."""
    name = case["path"] if "path" in case else os.fsdecode(base64.b64decode(case["path_b64"]))
    return tree / name


def read(tree: Path, workspace: Path) -> Read:
    cases = [json.loads(line) for line in (tree / "cases.jsonl").read_text().splitlines()]
    summary = index(workspace, [tree], BUILTIN)
    for case in cases:
        if case.get("path") == "texts/utf16.txt":  # which is read since
            case["expect"] = "accept"
    with Store(open_at(workspace).store) as store:
        rows = list(store.rows())
    paths = {path for row in rows for path in row.files.values()}
    return Read(tree, cases, summary, paths, {id for row in rows for id in row.items.get("text", ())})


def make_hostile(*arguments: str) -> None:
    """Run a line of the pack's own script; it is no module of ours."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import make_hostile; " + arguments[0]
    subprocess.run([sys.executable, "-c", code, str(PACK), *arguments[1:]], check=True, capture_output=True)


@pytest.fixture(scope="module", params=["static", "all"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    workspace = tmp_path_factory.mktemp("workspace") / ".mneme"
    if request.param == "static":
        yield read(PACK / "static", workspace)
        return
    tree = tmp_path_factory.mktemp("hostile") / "tree"
    make_hostile("make_hostile.main(sys.argv[2], everything=True)", str(tree))
    yield read(tree, workspace)
    make_hostile("make_hostile.cleanup(sys.argv[2])", str(tree))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifests") / ".mneme"


@pytest.mark.parametrize("kind", ["image", "audio", "text"])
def test_what_must_be_rejected_is_reported_with_a_reason(done: Read, kind: str) -> None:
    reasons = {skipped.path: skipped.reason for skipped in done.summary.skipped}
    assert [path for path in done.expected(kind, "reject") if not reasons.get(str(path))] == []


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_what_must_be_accepted_is_found_at_its_path(done: Read, kind: str) -> None:
    assert [path for path in done.expected(kind, "accept") if str(path) not in done.paths] == []


def test_every_line_of_a_text_that_must_be_accepted_is_found(done: Read) -> None:
    accepted = done.expected("text", "accept")
    files = [path.read_text("utf-16" if "utf16" in path.name else "utf-8-sig") for path in accepted]
    lines = [line.strip() for text in files for line in text.splitlines()]
    assert [line[:80] for line in lines if item_id("text", line.encode()) not in done.texts] == []


def test_nothing_is_both_found_and_reported(done: Read) -> None:
    assert done.paths & {skipped.path for skipped in done.summary.skipped} == set()


def test_what_may_be_either_is_found_or_reported(done: Read) -> None:
    known = done.paths | {skipped.path for skipped in done.summary.skipped}
    either = [path for kind in ("image", "audio") for path in done.expected(kind, "either")]
    assert [path for path in either if str(path) not in known and path.suffix] == []


def test_files_that_must_be_rejected_are_in_no_item(done: Read) -> None:
    rejected = [path for kind in ("image", "audio", "filesystem") for path in done.expected(kind, "reject")]
    opened_by_root = {"unreadable.jpg", "inside.jpg"} if os.geteuid() == 0 else set()
    assert [path for path in rejected if str(path) in done.paths and path.name not in opened_by_root] == []


def test_pictures_of_the_same_bytes_are_one_item_with_both_paths(done: Read) -> None:
    data = (done.tree / "images" / "dup_a.jpg").read_bytes()
    assert data == (done.tree / "images" / "dup_b.jpg").read_bytes()
    assert {str(done.tree / "images" / f"dup_{letter}.jpg") for letter in "ab"} <= done.paths


def test_every_reason_is_one_line(done: Read) -> None:
    assert [skipped.reason for skipped in done.summary.skipped if len(skipped.reason.splitlines()) != 1] == []


@pytest.mark.parametrize(
    ("name", "rows", "lines"), [(name, *expected) for name, expected in MANIFESTS.items()]
)
def test_a_manifest_is_read_but_for_its_bad_lines(
    manifest: Path, name: str, rows: int, lines: list[int]
) -> None:
    summary = index(manifest, [PACK / "static" / name], BUILTIN)
    assert summary.added + summary.unchanged == rows
    assert [row.line for row in summary.skipped] == lines


@pytest.mark.parametrize("name", REFUSED)
def test_a_manifest_of_which_nothing_can_be_read_is_a_user_error(manifest: Path, name: str) -> None:
    with pytest.raises(UserError, match=name):
        index(manifest, [PACK / "static" / name], BUILTIN)


def test_every_manifest_of_the_pack_is_tried() -> None:
    cases = [json.loads(line) for line in (PACK / "static" / "cases.jsonl").read_text().splitlines()]
    named = {case["path"] for case in cases if case["kind"] == "manifest"}
    assert named == {*MANIFESTS, *REFUSED, "manifest_rows.jsonl", "manifest_rows_expected.jsonl"}


def test_rows_are_skipped_line_by_line_as_expected(tmp_path: Path) -> None:
    expected = (PACK / "static" / "manifest_rows_expected.jsonl").read_text().splitlines()
    outcome = {row["line"]: row["expect"] for row in map(json.loads, expected)}
    outcome |= {11: "accept", 18: "accept"}  # null is not there, a number serves as an id
    summary = index(tmp_path / ".mneme", [PACK / "static" / "manifest_rows.jsonl"], BUILTIN)
    skipped = {row.line for row in summary.skipped}
    assert {line for line, expect in outcome.items() if expect == "reject"} - skipped == set()
    assert skipped & {line for line, expect in outcome.items() if expect == "accept"} == set()
    assert summary.added == len(outcome) - len(skipped)
