import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.storage import manifest as manifests
from engine.storage.manifest import BackboneRecord, Manifest, Served, to_json
from manifests import MANIFEST


def from_json(content: dict[str, Any]) -> Manifest:
    return manifests.from_json(Path("workspace.json"), content)


ON_DISK = """
{"format": 4,
 "lessons": [{"number": 1, "task": "sky", "head": 1}],
 "arrivals": [{"task": "life", "after": 1, "head": 1}],
 "width": 16,
 "aligned": true,
 "backbones": {"image": {"spec": "fake", "id": "fake-1", "width": 8, "digest": "sha256:01"},
               "text": {"spec": "features", "id": "features", "width": 16, "digest": ""}},
 "served": {"policy": "matched",
            "lessons": 1,
            "shards": [{"key": {"task": "sky", "modality": "image", "head": 1, "space": 2, "part": "0a"},
                        "path": "sky/image/v0001-0a"}],
            "directions": [{"query": "text", "target": "image", "policy": "auto",
                            "lookups": [{"shard": 0, "queries": 1, "tau": 0.06}]}],
            "policies": {"text-image": "auto"},
            "routers": {"text": "text-0a1b2c3d"},
            "chosen": true},
 "previous": {"policy": "reindex", "lessons": 0, "shards": [], "directions": [], "policies": {}, "routers": {},
              "chosen": false},
 "sealed": {"sky": {"shards": [{"key": {"task": "sky", "modality": "image", "head": 1, "space": 1, "part": ""},
                                "path": "sky/image/v0001-0b"}],
                    "sums": {"image": "sealed-0a1b2c3d"},
                    "temperatures": [{"query": "text", "target": "image", "head": 1, "space": 2, "queries": 3,
                                      "tau": 0.06}]}},
 "references": [{"method": "joint", "task": "sky", "after": 1, "head": 2, "alone": false, "seconds": 0.5}]}
"""


@pytest.fixture
def content() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(ON_DISK)
    return parsed


def test_the_form_on_disk_stays_what_it_is(content: dict[str, Any]) -> None:
    on_disk = json.dumps(to_json(MANIFEST))
    assert (json.loads(on_disk), on_disk) == (content, json.dumps(content))  # the order of keys too


def test_a_manifest_comes_back_from_its_form_on_disk(content: dict[str, Any]) -> None:
    assert from_json(content) == MANIFEST


def test_of_format_1_the_policy_is_kept_and_the_shards_are_to_be_built_again(content: dict[str, Any]) -> None:
    shards = [{"key": {"task": "sky", "modality": "image", "head": 1}, "path": "sky/image/v0001-0a"}]
    content["served"] = {"policy": "matched", "lessons": 1, "shards": shards}
    for later in ("previous", "sealed", "references"):
        del content[later]
    manifest = from_json({**content, "format": 1})
    assert (manifest.served, manifest.previous, manifest.history) == (
        Served("matched", chosen=True),
        None,
        MANIFEST.history,
    )


def test_format_2_knows_of_no_removed_features(content: dict[str, Any]) -> None:
    del content["sealed"]
    assert from_json({**content, "format": 2}) == replace(MANIFEST, sealed={})


def test_a_manifest_that_was_written_before_there_were_references_has_none(content: dict[str, Any]) -> None:
    del content["references"]
    assert from_json(content) == replace(MANIFEST, references=())


def test_a_policy_of_before_there_was_a_choice_was_chosen(content: dict[str, Any]) -> None:
    del content["served"]["chosen"]
    assert from_json(content).served.chosen


def test_a_manifest_of_the_first_reindex_has_nothing_to_go_back_to(content: dict[str, Any]) -> None:
    content["previous"] = None
    assert from_json(content).previous is None


def test_a_new_workspace_serves_nothing_and_asks_each_task_by_its_own_head() -> None:
    manifest = Manifest(8, False, {"image": BackboneRecord("fake", "fake-1", 8)})
    assert (manifest.served, manifest.previous, manifest.sealed) == (Served("matched", 0), None, {})
