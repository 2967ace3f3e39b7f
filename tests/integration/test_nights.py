"""Nights on a real hub, a real DVC repository and a real Prefect server."""

import json
import random
import shutil
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from playground.pool import BAD
from tests.integration.conftest import NUM_NEWCOMERS as NEWCOMERS
from tests.support.repository import Repository

LENGTHS = 3
PROMPTS = ("a cat in watercolour style", "a red house on sand", "neon", "an ink sketch of a boat")


class Searcher(threading.Thread):
    """Searches in a loop from Python, as a service would, until stopped."""

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.halt = threading.Event()

    def run(self) -> None:
        from autolora.retrieval import open_retriever

        while not self.halt.is_set():
            for prompt in PROMPTS:
                try:
                    hits = open_retriever(self.root).search(prompt, k=3)
                    digests = {hit.index for hit in hits}
                    assert len(digests) == 1 and len(hits) == 3
                    self.answers[digests.pop()] += 1
                except Exception as error:  # every failure counts
                    self.failures.append(repr(error))


@pytest.fixture(scope="module")
def first_nights(repository: Repository) -> str:
    """The whole road, from an empty repository, and one newcomer a day later; committed."""
    repository.refresh(day=1)
    repository.hub({"day": 2})
    repository.refresh(day=2)
    return repository.commit("first nights")


@pytest.fixture(scope="module")
def third_night(repository: Repository, first_nights: str) -> Iterator[dict[str, Any]]:
    """Five newcomers, one withdrawn, one with a new license; what was counted on the way."""
    before = repository.digests()
    rows = index_rows(repository.root)
    made = made_once(repository.root)
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
    output = repository.refresh(day=3)
    requests = repository.requests()
    stamps = repository.files()
    repository.refresh(day=3)
    after = repository.files()
    yield {
        "before": before,
        "rows": rows,
        "made": made,
        "withdrawn": withdrawn,
        "relicensed": relicensed,
        "answer": answer,
        "output": output,
        "requests": requests,
        "touched": sorted(
            name for name in stamps.keys() | after.keys() if stamps.get(name) != after.get(name)
        ),
        "searcher": searcher,
        "commit": repository.commit("third night"),
    }
    searcher.halt.set()


def test_the_first_nights_walks_the_whole_road(repository: Repository, first_nights: str) -> None:
    assert set(repository.digests()) == {
        "pool", "captions", "dataset", "encoder", "index", "fusion", "evaluation", "experiments",
    }  # fmt: skip
    assert (repository.root / "reports/index.html").stat().st_size > 10_000
    rows = map(json.loads, (repository.root / "data/pool/adapters.jsonl").read_text().splitlines())
    refused = [row["verdict"] for row in rows if row["verdict"] != "accepted"]
    assert len(refused) == len(set(refused)) == len(BAD)


def test_reproducing_straight_after_runs_nothing(repository: Repository, first_nights: str) -> None:
    done = repository.run("dvc", "repro")
    assert "Running stage" not in done.stdout
    assert not repository.run("git", "status", "--porcelain").stdout


def test_a_night_costs_what_changed(repository: Repository, third_night: dict[str, Any]) -> None:
    assert third_night["requests"]["weights"] == NEWCOMERS
    sketches, captions = made_once(repository.root)
    sketches_before, captions_before = third_night["made"]
    pictures = [len(row["renderings"]) for row in repository.listing() if row["first_seen"] == "2026-01-07"]
    assert len(sketches - sketches_before) == len(pictures) == NEWCOMERS
    assert len(captions - captions_before) == LENGTHS * sum(pictures)
    assert third_night["requests"]["renderings"] == sum(pictures)
    assert f"{NEWCOMERS} embedded, 1 updated, 1 removed" in third_night["output"]
    before, after = third_night["before"], repository.digests()
    assert (after["encoder"], after["fusion"]) == (before["encoder"], before["fusion"])
    assert "Running stage 'encoder'" not in third_night["output"]
    assert "Running stage 'fusion'" not in third_night["output"]
    assert f"{NEWCOMERS} added, 1 withdrawn, 1 described anew" in third_night["output"]


def test_a_night_leaves_other_rows_untouched(repository: Repository, third_night: dict[str, Any]) -> None:
    before, after = third_night["rows"], index_rows(repository.root)
    assert len(after.keys() - before.keys()) == NEWCOMERS
    assert before.keys() - after.keys() == {third_night["withdrawn"]["sha256"]}
    changed = {sha256 for sha256 in before.keys() & after.keys() if before[sha256] != after[sha256]}
    assert changed == {third_night["relicensed"]["sha256"]}
    (sha256,) = changed
    assert before[sha256]["vector"] == after[sha256]["vector"]
    assert after[sha256]["license"] == "cc0-1.0"


def test_a_night_without_news_changes_no_file(third_night: dict[str, Any]) -> None:
    assert third_night["touched"] == []


def test_searches_never_fail_while_the_world_changes(
    repository: Repository, first_nights: str, third_night: dict[str, Any]
) -> None:
    repository.run("git", "checkout", "-q", first_nights)
    repository.run("dvc", "checkout", "-q")
    repository.run("git", "checkout", "-q", third_night["commit"])
    repository.run("dvc", "checkout", "-q")
    searcher = third_night["searcher"]
    searcher.halt.set()
    searcher.join(timeout=60)
    assert searcher.failures == []
    assert set(searcher.answers) == {third_night["before"]["index"], repository.digests()["index"]}


def test_a_former_revision_answers_as_it_did(
    repository: Repository, first_nights: str, third_night: dict[str, Any]
) -> None:
    shutil.rmtree(repository.root / "cache/index")
    assert repository.search(PROMPTS[0], "--rev", first_nights) == third_night["answer"]
    assert repository.search(PROMPTS[0])[0]["index"] == repository.digests()["index"]


def test_a_clone_repeats_the_past_and_does_not_crawl(
    repository: Repository, third_night: dict[str, Any], tmp_path: Path
) -> None:
    repository.hub({"day": 4})
    repository.hub({"license": [repository.listing()[-1]["id"], "mit"]})
    clone = tmp_path / "clone"
    repository.run("git", "clone", "-q", str(repository.root), str(clone))
    copy = Repository(clone, repository.endpoint, repository.api)
    repository.requests()
    copy.run("dvc", "repro")
    assert copy.digests() == repository.digests()
    assert repository.requests().get("listing", 0) == 0
    shutil.rmtree(clone / "data")
    shutil.rmtree(clone / ".dvc/cache")
    copy.run("dvc", "repro")
    assert copy.digests() == repository.digests()
    assert copy.run("git", "status", "--porcelain").stdout.split() in ([], ["M", "dvc.lock"])


def made_once(root: Path) -> tuple[set[str], set[str]]:
    """Return the names of the sketches and the lines of the captions that lie in data/."""
    sketches = {path.name for path in (root / "data/pool/sketches").rglob("*.safetensors")}
    return sketches, set((root / "data/captions/captions.jsonl").read_text().splitlines())


def index_rows(root: Path) -> dict[str, dict[str, Any]]:
    """Return the index's rows by adapter, read from the working folder (no stage is running)."""
    import lancedb

    rows = lancedb.connect(root / "data/index").open_table("adapters").to_arrow().to_pylist()
    return {row["sha256"]: row for row in rows}


def test_the_nightly_deployment_runs_on_a_worker(repository: Repository, third_night: dict[str, Any]) -> None:
    here = {"AUTOLORA_ROOT": str(repository.root)}
    repository.run("prefect", "work-pool", "create", "autolora", "--type", "process")
    repository.run("prefect", "--no-prompt", "deploy", "--all", **here)
    repository.run("prefect", "deployment", "run", "refresh/nightly", day=3)
    repository.run("prefect", "worker", "start", "--pool", "autolora", "--run-once", day=3, **here)
    assert ended_runs(repository.api) == ["COMPLETED"]
    assert "refresh" in repository.run("prefect", "artifact", "ls").stdout


@pytest.mark.long(full=30, sample=1)
def test_any_night_ends_whole(repository: Repository, third_night: dict[str, Any], seed: int) -> None:
    """One LoRA more a night, some withdrawn or relicensed, and a hub that stumbles; a night builds on the last.

    Every other night the hub gives no weights at all: what is new is set aside, and arrives on the next.
    """
    rng, day = random.Random(seed), 5 + seed
    gone, relicensed = rng.sample([row["id"] for row in repository.listing()], 2)
    repository.hub({"heal": True})
    repository.hub({"day": day})
    repository.hub({"license": [relicensed, rng.choice(("mit", "cc0-1.0", "apache-2.0"))]})
    if rng.random() < 0.5:
        repository.hub({"withdraw": gone})
    for kind in rng.sample(("listing", "weights", "renderings"), 2):
        repository.hub({"fail": {"kind": kind, "status": rng.choice((429, 500, 503))}})
    lasting = seed % 2 == 0
    if lasting:
        repository.hub({"fail": {"kind": "weights", "status": 404, "times": 10**6}})
    output = repository.refresh(day=day)
    new = {row["id"] for row in repository.listing() if row["first_seen"] == today(day)}
    waiting = {row["id"] for row in repository.listing() if row["status"] == "queued"}
    assert waiting == (new if lasting else set())
    assert all(id in output for id in waiting)
    assert_whole(repository)


def today(day: int) -> str:
    """Return the date of a day."""
    return (date(2026, 1, 4) + timedelta(days=day)).isoformat()


def assert_whole(repository: Repository) -> None:
    """Hold against each other what the catalog lists and what the stages made of it."""
    listed = {row["sha256"]: row for row in repository.listing() if row["status"] != "queued"}
    verdicts = map(json.loads, (repository.root / "data/pool/adapters.jsonl").read_text().splitlines())
    accepted = {row["sha256"] for row in verdicts if row["verdict"] == "accepted"}
    shown = {rendering["sha256"] for sha256 in accepted for rendering in listed[sha256]["renderings"]}
    captions = map(json.loads, (repository.root / "data/captions/captions.jsonl").read_text().splitlines())
    rows = index_rows(repository.root)
    assert rows.keys() == accepted
    assert {sha256: row["license"] for sha256, row in rows.items()} == {
        sha256: listed[sha256]["license"] for sha256 in accepted
    }
    assert Counter(row["image"] for row in captions) == dict.fromkeys(shown, LENGTHS)
    assert repository.search(PROMPTS[0])[0]["index"] == repository.digests()["index"]
    assert "Running stage" not in repository.run("dvc", "repro").stdout


def ended_runs(api: str) -> list[str]:
    """Wait until a run of the deployment has ended; return how those that did ended."""
    ended = {
        "state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}},
        "deployment_id": {"is_null_": False},
    }
    request = urllib.request.Request(
        f"{api}/flow_runs/filter",
        data=json.dumps({"flow_runs": ended}).encode(),
        headers={"Content-Type": "application/json"},
    )
    for _ in range(120):
        with urllib.request.urlopen(request, timeout=10) as answer:
            if runs := json.load(answer):
                return [run["state_type"] for run in runs]
        time.sleep(1)
    raise AssertionError("the deployment's run did not end")
