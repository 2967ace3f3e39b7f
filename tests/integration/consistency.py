"""What a refresh wrote, and whether the outputs of the stages fit the catalog."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from autolora.pool.store import find_sketches
from playground.repository import Repository
from tests.integration.searcher import PROMPTS

LENGTHS = 3
"""number of captions per image"""


def written_once(root: Path) -> tuple[set[str], set[str]]:
    """Return the names of the sketches and the lines of the captions in data/."""
    sketches = set(find_sketches(root))
    return sketches, set((root / "data/captions/captions.jsonl").read_text().splitlines())


def index_rows(root: Path) -> dict[str, dict[str, Any]]:
    """Return the index's rows by adapter, read from the working folder (no stage is running)."""
    import lancedb

    rows = lancedb.connect(root / "data/index").open_table("adapters").to_arrow().to_pylist()
    return {row["sha256"]: row for row in rows}


def assert_consistent(repository: Repository) -> None:
    """Compare the catalog with the outputs of the stages."""
    listed = {row["sha256"]: row for row in repository.listing() if row["status"] != "queued"}
    verdicts = map(json.loads, (repository.root / "data/pool/adapters.jsonl").read_text().splitlines())
    accepted = {row["sha256"] for row in verdicts if row["active"] and row["verdict"] == "accepted"}
    images = {rendering["sha256"] for sha256 in accepted for rendering in listed[sha256]["renderings"]}
    captions = map(json.loads, (repository.root / "data/captions/captions.jsonl").read_text().splitlines())
    rows = index_rows(repository.root)
    assert rows.keys() == accepted
    assert {sha256: row["license"] for sha256, row in rows.items()} == {
        sha256: listed[sha256]["license"] for sha256 in accepted
    }
    assert Counter(row["image"] for row in captions) == dict.fromkeys(images, LENGTHS)
    assert repository.search(PROMPTS[0])[0]["index"] == repository.index_content()
    assert "Running stage" not in repository.run("dvc", "repro").stdout
