"""The page follows releases, and shows what a refresh brought."""

import datetime
import json
import shutil
from pathlib import Path

import httpx2
import pytest

from autolora.catalog import store as catalog
from autolora.index.served import release, served_digest
from autolora.params import load
from autolora.refresh.last_refresh import record_failure, record_start, record_success
from autolora.refresh.outcomes import Outcome
from autolora.refresh.record import RefreshRecord, write_refresh
from autolora.storage.files import read_rows, write_atomic, write_rows
from autolora.web.served import ServedIndex
from tests.support.waiting import LIMIT_S, wait_until
from tests.web.conftest import serving


def test_the_page_follows_a_release_without_a_restart(
    own_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = served_digest(own_root)
    (older,) = {path.name for path in (own_root / "cache/index").iterdir()} - {newest}
    monkeypatch.setattr("autolora.web.app.FOLLOW_EVERY_S", 0.05)
    with serving(own_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        assert client.get("/api/search").json()["num_adapters"] == 12
        release(own_root, older)
        wait_until(lambda: client.get("/api/search").json()["num_adapters"] == 8)
        write_atomic(own_root / "cache/served", f"{'0' * 64}\n")  # cannot be opened: the former one stays
        assert client.get("/api/search").json()["index"] == older


def test_an_index_that_cannot_be_opened_is_tried_once(
    own_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = ServedIndex(own_root, load(own_root / "params.yaml"))
    served.follow()
    current = served.current
    assert current is not None
    write_atomic(own_root / "cache/served", f"{'0' * 64}\n")
    served.follow()
    served.follow()
    assert served.current is current
    assert sum("cannot be opened" in record.message for record in caplog.records) == 1


def test_a_missing_index_is_reported_once(
    own_root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autolora.index.served.RETRY_DELAY_S", 0)
    shutil.rmtree(own_root / "cache")
    shutil.rmtree(own_root / "digests")
    served = ServedIndex(own_root, load(own_root / "params.yaml"))
    served.follow()
    served.follow()
    assert "there is no index yet" in served.problem
    assert sum("cannot be opened" in record.message for record in caplog.records) == 1


@pytest.mark.slow
def test_a_project_without_an_index_says_so_and_opens_the_first_one(
    own_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autolora.web.app.FOLLOW_EVERY_S", 0.05)
    monkeypatch.setattr("autolora.index.served.RETRY_DELAY_S", 0.01)
    hidden = [(own_root / name, own_root / f"{name}.hidden") for name in ("cache", "digests")]
    for path, elsewhere in hidden:
        path.rename(elsewhere)
    with serving(own_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        page = client.get("/")
        assert page.status_code == 200 and "There is no index yet" in page.text
        assert client.get("/api/search").status_code == 503
        assert client.get("/pool").status_code == 200
        for path, elsewhere in hidden:
            elsewhere.rename(path)
        wait_until(lambda: client.get("/api/search").status_code == 200)


def test_the_page_of_the_pool_states_refusals_with_reasons(own_root: Path) -> None:
    refused = Outcome(
        kind="refused",
        name="hub:<i>/x",
        sha256="1" * 64,
        code="dora",
        reason="the file is a DoRA",
        remedy="Convert it.",
    )
    record = RefreshRecord.of(datetime.date(2026, 1, 2), "f" * 64, 12, [refused], ["hub civitai is down"])
    write_refresh(own_root, record)
    with serving(own_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        page = client.get("/pool").text
        for text in (
            "hub:&lt;i&gt;/x",
            "the file is a DoRA",
            "Convert it.",
            "hub civitai is down",
        ):
            assert text in page
        (own_root / "data/refresh.json").write_text(json.dumps({"day": "never"}))
        assert client.get("/pool").status_code == 422


def test_the_page_of_the_pool_begins_with_a_failed_refresh(own_root: Path) -> None:
    night = datetime.datetime(2026, 11, 29, 2, tzinfo=datetime.UTC)
    record_start(own_root, night)
    record_failure(own_root, night, "pool: <i>HubError</i>: run `make deps`")
    with serving(own_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        page = client.get("/pool").text
        banner = page[page.index('role="alert"') : page.index('id="refresh"')]
        assert "The refresh of 2026-11-29, 02:00 UTC failed: pool: &lt;i&gt;HubError&lt;/i&gt;" in banner
        assert "<code>make deps</code>" in banner and " is served." in banner
        record_success(own_root, night)
        assert 'role="alert"' not in client.get("/pool").text


def test_a_pipeline_without_a_refresh_is_told_so_also_outside_git(own_root: Path) -> None:
    (own_root / ".git").rename(own_root / "no-git")
    (own_root / "dvc.yaml").touch()
    with serving(own_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        assert "No refresh has been recorded yet" in client.get("/pool").text


def test_a_project_of_own_files_is_told_what_applies_to_it(own_root: Path) -> None:
    (own_root / ".git").rename(own_root / "no-git")
    with serving(own_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        page = client.get("/pool").text
        assert "<code>autolora index</code>" in page
        assert "a refresh" not in page and "autolora refresh" not in page


def test_refused_files_are_named(own_root: Path) -> None:
    path = own_root / "data/pool/adapters.jsonl"
    row, *others = read_rows(path)
    write_rows(path, [row | {"verdict": "dora", "reason": "the file is a DoRA"}, *others])
    listing = next(item for item in catalog.read_all(own_root) if item.sha256 == row["key"])
    with serving(own_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        page = client.get("/pool").text
        name = f"{listing.hub}:{listing.id}/{listing.file}"
        assert f"<bdi>{name}</bdi></strong> <bdi>the file is a DoRA</bdi>." in page
