"""The record of the last refresh, and the releases that git holds."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora.catalog import store as catalog
from autolora.errors import MismatchError
from autolora.records import Listing
from autolora.refresh.history import (
    MAX_RECORDED,
    RefreshRecord,
    headline_recall,
    read_refresh,
    releases,
    write_refresh,
)
from autolora.refresh.outcomes import Outcome
from autolora.storage.incremental import write_digest
from tests.support.synthetic_repo import DAY, make_adapter

BASE = make_adapter("chalk", 2).listing
ROW = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 24, "clusters": 6}


def evaluation(adapters: int, **methods: Any) -> dict[str, Any]:
    return {"indexed_adapters": adapters, "levels": {"theme": {"methods": methods}}}


def commit(
    root: Path,
    listings: list[Listing],
    adapters: int,
    measured: dict[str, Any],
    *tags: str,
) -> None:
    """Commit a catalog, a digest of an index and its evaluation."""
    catalog.write(root, listings)
    content = f"{adapters:064x}"
    write_digest(root, "index", {str(n): "0" * 64 for n in range(adapters)}, 4, content=content)
    (root / "metrics").mkdir(exist_ok=True)
    (root / "metrics/evaluation.json").write_text(json.dumps(measured))
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    commands = [["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", f"{adapters} adapters"]]
    for arguments in (*commands, *([*identity, "tag", "-am", name, name] for name in tags)):
        subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def test_record_names_the_first_files_of_each_kind_and_counts_all(tmp_path: Path) -> None:
    assert read_refresh(tmp_path) is None
    rows = [Outcome(kind="accepted", name=f"h:{n}", sha256="a" * 64) for n in range(MAX_RECORDED + 3)]
    rows.append(Outcome(kind="refused", name="h:bad", sha256=None, code="pickle", reason="r", remedy="s"))
    write_refresh(tmp_path, RefreshRecord.of(DAY, "d" * 64, 7, rows, ["a hub is stale"]))
    record = read_refresh(tmp_path)
    assert record is not None
    assert record.counts == {"accepted": MAX_RECORDED + 3, "refused": 1}
    assert len(record.outcomes) == MAX_RECORDED + 1 and record.outcomes[-1] == rows[-1]
    assert (record.day, record.adapters, record.problems) == (DAY, 7, ("a hub is stale",))


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"day": "2026-01-01"}'])
def test_damaged_record_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/refresh.json").write_text(text)
    with pytest.raises(
        MismatchError, match=r"data/refresh\.json is not the record of a refresh.*git checkout"
    ):
        read_refresh(tmp_path)


def test_releases_have_size_recall_and_tags(tmp_path: Path) -> None:
    assert releases(tmp_path) == []
    chance = {"R@1": ROW | {"value": 0.1}}
    commit(tmp_path, [BASE], 1, evaluation(1, encoder={"R@1": ROW}, random=chance), "v1", "first")
    later = [BASE, replace(BASE, id="a/new", sha256="1" * 64)]
    better = {"R@1": ROW | {"value": 0.8}}
    commit(tmp_path, later, 2, evaluation(2, encoder={"R@1": ROW}, hybrid=better))
    first, second = releases(tmp_path)
    assert (first.adapters, set(first.tags), first.index) == (1, {"v1", "first"}, f"{1:064x}")
    assert first.recall is not None and second.recall is not None
    assert (first.recall.value, first.recall.chance) == (0.5, 0.1)
    assert (second.recall.value, second.recall.queries) == (0.8, 24)
    assert second.recall.chance is None and second.recall.level == "theme"
    assert second.commit.subject == "2 adapters"


def test_release_has_no_recall_that_was_measured_on_another_index(tmp_path: Path) -> None:
    commit(tmp_path, [BASE], 2, evaluation(3, encoder={"R@1": ROW}))
    (release,) = releases(tmp_path)
    assert release.recall is None


def test_releases_of_another_pool_are_left_out(tmp_path: Path) -> None:
    commit(tmp_path, [replace(BASE, id='their "pool"', sha256="1" * 64)], 1, {})
    own = replace(BASE, id='own "pool"', hub="folder", sha256="2" * 64)
    commit(tmp_path, [own], 2, {})
    assert [release.adapters for release in releases(tmp_path)] == [2]


def test_recall_is_by_adapter_if_no_theme_is_judged() -> None:
    recall = headline_recall({"levels": {"adapter": {"methods": {"encoder": {"R@1": ROW}}}}})
    assert recall is not None and recall.level == "adapter"
    assert headline_recall({}) is None
