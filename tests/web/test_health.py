"""/health: whether the page can answer, and how fresh its index is."""

import datetime
import json
import os
import shutil
import subprocess
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from autolora.index.served import served_digest
from autolora.refresh.last_refresh import record_failure, record_release, record_start, record_success
from autolora.releases.checks import Check, Decision, record
from autolora.releases.pin import Pin, write_pin
from autolora.storage.incremental import digest_path
from playground.repository import IDENTITY
from tests.support.waiting import LIMIT_S
from tests.web.conftest import serving

NIGHT = datetime.datetime(2026, 11, 27, 2, tzinfo=UTC)


@pytest.fixture
def released(own_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project whose served index was released and tagged on NIGHT, five hours ago."""
    tag = ["git", "tag", "--annotate", "release/2026-11-27", "-m", "x"]
    subprocess.run(tag, cwd=own_root, check=True, env=os.environ | IDENTITY)
    record_start(own_root, NIGHT)
    record_release(own_root, NIGHT)
    record_success(own_root, NIGHT)
    at(NIGHT + timedelta(hours=5), monkeypatch)
    return own_root


def at(time: datetime.datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(time.timestamp())))


def health(root: Path) -> tuple[int, dict[str, Any]]:
    """Return status code and content of the answer."""
    with serving(root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        answer = client.get("/health")
        return answer.status_code, answer.json()


def test_a_fresh_index_is_ok(released: Path) -> None:
    code, content = health(released)
    assert (code, content["status"], content["index"]) == (200, "ok", served_digest(released))
    assert (content["release"], content["age_h"], content["adapters"]) == ("release/2026-11-27", 5.0, 12)
    assert content["pin"] is None and content["stale"] is None
    assert content["last_refresh"] == {
        "outcome": "succeeded", "ended": NIGHT.isoformat(), "reason": None, "running_since": None,
    }  # fmt: skip


def test_a_refused_refresh_and_a_pin_are_said(released: Path) -> None:
    digest = json.loads(digest_path(released, "index").read_text())
    digest_path(released, "index").write_text(json.dumps(digest | {"content": "b" * 64}))
    check = Check(name="adapters", value=3, rule="4", passed=False)
    row = Decision(day=NIGHT.date(), index="b" * 64, former=None, verdict="refused", checks=(check,))
    record(released, row)
    record_start(released, NIGHT)
    record_failure(released, NIGHT, "PromotionRefused: adapters is 3", is_refused=True)
    write_pin(released, Pin(release="release/2026-11-27", day="2026-11-27", reason="too many cats"))
    code, content = health(released)
    assert (code, content["status"], content["last_refresh"]["outcome"]) == (200, "refused", "refused")
    assert content["gate"]["is_kept_back"] and content["gate"]["unmet"][0]["rule"] == "4"
    assert content["pin"]["reason"] == "too many cats"


def test_no_release_for_days_is_stale(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at(NIGHT + timedelta(days=7), monkeypatch)
    code, content = health(released)
    assert (code, content["status"], content["age_h"]) == (200, "stale", 168.0)
    assert content["stale"].startswith("No release for 7 days, since 2026-11-27: ")


def test_without_an_index_it_is_503(own_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolora.index.served.RETRY_DELAY_S", 0)
    shutil.rmtree(own_root / "cache")
    shutil.rmtree(own_root / "digests")
    code, content = health(own_root)
    assert (code, content["status"]) == (503, "unavailable") and "there is no index yet" in content["problem"]


def test_a_damaged_record_hides_no_index(released: Path) -> None:
    (released / "data/gate.jsonl").write_text("{}\n")
    code, content = health(released)
    assert (code, content["status"], content["adapters"]) == (200, "failed", 12)
    assert "gate.jsonl" in content["problem"]


def test_it_needs_the_token_as_all_pages_do(own_root: Path) -> None:
    with serving(own_root, token="a-secret-of-the-page") as address, httpx2.Client(timeout=LIMIT_S) as client:
        url = f"http://127.0.0.1:{address.listener.getsockname()[1]}/health"
        assert client.get(url).status_code in (401, 403)
        assert client.get(url, headers={"Authorization": "Bearer a-secret-of-the-page"}).status_code == 200
