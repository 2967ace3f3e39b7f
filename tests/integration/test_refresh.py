"""Refreshes with a real hub, a real DVC repository and a real Prefect server."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autolora.drawings.recipe import PROMPTS as PROMPTS_OF_DRAWINGS
from playground.pool import BAD
from playground.repository import Repository, change_params
from tests.integration.conftest import NUM_NEW
from tests.integration.consistency import LENGTHS, index_rows, written_once
from tests.integration.prefect_api import flow_runs, logs
from tests.integration.searcher import PROMPTS, Searcher
from tests.support.waiting import LIMIT_S, wait_until

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def first_refreshes(repository: Repository) -> str:
    """One new adapter on the day after the first refresh; committed."""
    change_params(repository.root / "params.yaml", {"drawings": {"per_day": None}})
    repository.hub({"day": 2})
    repository.refresh(day=2)
    return repository.commit("first refreshes")


@pytest.fixture(scope="module")
def third_refresh(repository: Repository, first_refreshes: str) -> Iterator[dict[str, Any]]:
    """Five new adapters, one withdrawn, one with a new license: what the refresh did."""
    before, content_before = repository.digests(), repository.index_content()
    rows = index_rows(repository.root)
    written = written_once(repository.root)
    listed = repository.listing()
    withdrawn = next(row for row in listed if row["first_seen"] == "2026-01-06")
    relicensed = next(row for row in listed if row["first_seen"] == "2026-01-05" and row["sha256"] in rows)
    answer = repository.search(PROMPTS[0])
    repository.requests()
    repository.hub({"day": 3})
    repository.hub({"withdraw": withdrawn["id"]})
    repository.hub({"license": [relicensed["id"], "cc0-1.0"]})
    searcher = Searcher(repository.root)
    searcher.start()
    wait_until(lambda: searcher.answers or searcher.failures)
    output = repository.refresh(day=3)
    requests = repository.requests()
    stamps = repository.files()
    repository.refresh(day=3)
    after = repository.files()
    yield {
        "before": before,
        "content_before": content_before,
        "rows": rows,
        "written": written,
        "withdrawn": withdrawn,
        "relicensed": relicensed,
        "answer": answer,
        "output": output,
        "requests": requests,
        "touched": sorted(
            name for name in stamps.keys() | after.keys() if stamps.get(name) != after.get(name)
        ),
        "searcher": searcher,
        "commit": repository.commit("third refresh"),
    }
    searcher.halt.set()


def test_first_refresh_runs_all_stages(repository: Repository) -> None:
    assert set(repository.digests()) == {
        "pool", "drawings", "captions", "dataset", "encoder", "index", "fusion", "evaluation", "experiments",
    }  # fmt: skip
    assert (repository.root / "reports/index.html").stat().st_size > 10_000
    rows = map(json.loads, (repository.root / "data/pool/adapters.jsonl").read_text().splitlines())
    refused = [row["verdict"] for row in rows if row["verdict"] != "accepted"]
    assert len(refused) == len(set(refused)) == len(BAD)


def test_repro_after_a_refresh_runs_nothing(repository: Repository, first_refreshes: str) -> None:
    done = repository.run("dvc", "repro")
    assert "Running stage" not in done.stdout
    assert not repository.run("git", "status", "--porcelain").stdout


def test_refresh_costs_what_changed(repository: Repository, third_refresh: dict[str, Any]) -> None:
    assert third_refresh["requests"]["weights"] == NUM_NEW
    sketches, captions = written_once(repository.root)
    sketches_before, captions_before = third_refresh["written"]
    images = [len(row["renderings"]) for row in repository.listing() if row["first_seen"] == "2026-01-07"]
    assert len(sketches - sketches_before) == len(images) == NUM_NEW
    drawn = len(PROMPTS_OF_DRAWINGS) * images.count(0)
    assert drawn and len(captions - captions_before) == LENGTHS * (sum(images) + drawn)
    assert third_refresh["requests"]["renderings"] == sum(images)
    assert f"{NUM_NEW} embedded, 1 updated, 1 removed" in third_refresh["output"]
    before, after = third_refresh["before"], repository.digests()
    assert (after["encoder"], after["fusion"]) == (before["encoder"], before["fusion"])
    assert "Running stage 'encoder'" not in third_refresh["output"]
    assert "Running stage 'fusion'" not in third_refresh["output"]
    assert f"{NUM_NEW} accepted; 1 removed, 1 with changed metadata" in third_refresh["output"]
    record = json.loads((repository.root / "data/refresh.json").read_text())
    assert record["counts"] == {"accepted": NUM_NEW, "removed": 1, "changed": 1}


def test_refresh_leaves_other_rows_unchanged(repository: Repository, third_refresh: dict[str, Any]) -> None:
    before, after = third_refresh["rows"], index_rows(repository.root)
    assert len(after.keys() - before.keys()) == NUM_NEW
    assert before.keys() - after.keys() == {third_refresh["withdrawn"]["sha256"]}
    changed = {sha256 for sha256 in before.keys() & after.keys() if before[sha256] != after[sha256]}
    assert changed == {third_refresh["relicensed"]["sha256"]}
    (sha256,) = changed
    assert before[sha256]["weights_vector"] == after[sha256]["weights_vector"]
    assert after[sha256]["license"] == "cc0-1.0"


def test_refresh_without_changes_writes_no_file(third_refresh: dict[str, Any]) -> None:
    assert third_refresh["touched"] == []


def test_searches_never_fail_during_refreshes_and_checkouts(
    repository: Repository, first_refreshes: str, third_refresh: dict[str, Any]
) -> None:
    repository.run("git", "checkout", "-q", first_refreshes)
    repository.run("dvc", "checkout", "-q")
    repository.run("git", "checkout", "-q", third_refresh["commit"])
    repository.run("dvc", "checkout", "-q")
    searcher, known = third_refresh["searcher"], third_refresh["searcher"].answers[repository.index_content()]
    wait_until(lambda: searcher.answers[repository.index_content()] > known or searcher.failures)
    searcher.halt.set()
    searcher.join(timeout=LIMIT_S)
    assert not searcher.is_alive()
    assert searcher.failures == []
    assert set(searcher.answers) == {third_refresh["content_before"], repository.index_content()}


def test_old_revision_answers_as_it_did(
    repository: Repository, first_refreshes: str, third_refresh: dict[str, Any]
) -> None:
    shutil.rmtree(repository.root / "cache/index")
    assert repository.search(PROMPTS[0], "--rev", first_refreshes) == third_refresh["answer"]
    assert repository.search(PROMPTS[0])[0]["index"] == repository.index_content()


def test_clone_reproduces_the_past_without_crawling(
    repository: Repository, third_refresh: dict[str, Any], tmp_path: Path
) -> None:
    """There is no DVC remote: the clone downloads what is listed from the hub, which lists other things by now.

    Its models come from warm processes, those of the repository from the real ones of the first day.
    """
    repository.hub({"day": 4})
    repository.hub({"license": [repository.listing()[-1]["id"], "mit"]})
    clone = tmp_path / "clone"
    repository.run("git", "clone", "-q", str(repository.root), str(clone))
    copy = Repository(clone, repository.endpoint, repository.api, programs=repository.programs)
    repository.requests()
    copy.run("dvc", "repro")
    assert copy.digests() == repository.digests()
    withdrawn = third_refresh["withdrawn"]
    gone = {withdrawn["sha256"], *(image["sha256"] for image in withdrawn["renderings"])}
    kept = {name for name in repository.pool_files() if Path(name).stem not in gone}
    assert copy.pool_files().keys() == kept < repository.pool_files().keys()
    assert repository.requests().get("listing", 0) == 0
    assert copy.run("git", "status", "--porcelain").stdout.split() in ([], ["M", "dvc.lock"])


def test_stage_runs_are_subflows_of_their_refresh(
    repository: Repository, third_refresh: dict[str, Any]
) -> None:
    runs = flow_runs(repository.api, {"name": {"any_": ["refresh 2026-01-06"]}})
    parent = max(runs, key=lambda run: run["start_time"])  # other tests share the server
    stages = flow_runs(repository.api, {"parent_flow_run_id": {"any_": [parent["id"]]}})
    names = {run["name"] for run in stages}
    assert {"crawl 2026-01-06", "pool 2026-01-06", "captions 2026-01-06", "index 2026-01-06"} <= names
    assert all(run["tags"] == ["refresh-2026-01-06"] for run in stages)
    for run in stages:
        assert len(logs(repository.api, run["id"])) >= 1, f"{run['name']} has no log"
