"""The page follows releases, compares them, and shows what a refresh brought and how the pool has grown."""

import datetime
import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest

from autolora.catalog import store as catalog
from autolora.index.served import Revision, release, served_digest
from autolora.params import load
from autolora.refresh.history import RefreshRecord, releases, write_refresh
from autolora.refresh.last_refresh import record_failure, record_start, record_success
from autolora.refresh.outcomes import Outcome
from autolora.storage.files import read_rows, write_atomic, write_rows
from autolora.storage.git import Commit
from autolora.web.releases import Releases, choices, compare, previous
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


def compared(client: httpx2.Client, before: str, after: str, k: int) -> tuple[str, list[str], list[str]]:
    """Return the page that compares two commits, and the adapters on both of its sides."""
    query = {"q": "a cat", "before": before, "after": after, "k": k}
    page = client.get("/compare", params=query).raise_for_status().text
    _, *sides = page.split("<section")
    left, right = (re.findall("adapter=([0-9a-f]{64})", side) for side in sides)
    return page, left, right


def test_two_releases_are_compared(client: httpx2.Client, root: Path) -> None:
    before, after = (listed.commit.sha for listed in releases(root))
    page, left, right = compared(client, before, after, 3)
    assert len(left) == len(right) == 3 and set(left) != set(right)
    assert "8 adapters" in page and "12 adapters" in page and "move-new" in page
    assert client.get("/compare", params={"q": "a cat", "before": "0" * 40}).status_code == 404
    assert client.get("/compare", params={"q": "a cat", "before": "HEAD"}).status_code == 422


def revision(name: str, index: str) -> Revision:
    return Revision(Commit(name * 40, "2026-01-02", "release"), index, 7)


def test_before_is_the_former_release_and_after_the_served_one(client: httpx2.Client, root: Path) -> None:
    page = client.get("/compare").text
    sides = page.split("<select")[1:]
    assert [side.count("<option") for side in sides] == [2, 2]
    for side, listed in zip(sides, releases(root), strict=True):
        assert f'value="{listed.commit.sha}" selected' in side and side.count("selected") == 1


def test_only_indexes_at_hand_are_offered_each_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    revisions = [revision("d", "new"), revision("c", "old"), revision("b", "new"), revision("a", "first")]
    monkeypatch.setattr("autolora.web.releases.history", lambda root, path: [revisions[0].commit])
    monkeypatch.setattr("autolora.web.releases.readable_revisions", lambda root: revisions)
    monkeypatch.setattr("autolora.integrity.index_sources.is_copy", lambda path: path.name != "first")
    near = Releases(tmp_path).at_hand()
    assert [found.commit.sha[0] for found in near] == ["d", "c"]
    listed = choices(near, "old")
    assert [choice.index for choice in listed if "served now" in choice.label] == ["old"]
    assert previous(listed, "old") is None and previous(listed, "new") == listed[1]


def test_a_served_index_that_no_commit_contains_is_offered_first() -> None:
    listed = choices([revision("a", "first")], "working")
    assert [choice.commit[:1] for choice in listed] == ["", "a"] and "in no commit" in listed[0].label
    earlier = previous(listed, "working")
    assert earlier is not None and earlier.index == "first"


def test_releases_that_are_not_at_hand_are_counted_instead_of_offered(own_root: Path) -> None:
    newest = served_digest(own_root)
    for path in (own_root / "cache/index").iterdir():
        if path.name != newest:
            shutil.rmtree(path)
    with serving(own_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        for query in ({}, {"q": "a cat"}):
            page = client.get("/compare", params=query)
            assert page.status_code == 200 and page.text.count("<option") == 2, (
                "the served one, on both sides"
            )
            assert "1 more release is not on this machine" in page.text
            assert "autolora search PROMPT --rev COMMIT" in page.text
        subprocess.run(["git", "tag", "-d", "release/2"], cwd=own_root, check=True, capture_output=True)
        assert "not on this machine" not in client.get("/compare").text, "commits are no releases"


def test_ranks_of_two_results_are_described() -> None:
    moves = compare(["a", "b", "c", "e"], ["b", "a", "d", "f"], {"a", "b", "e", "f"}, 4)
    words = {name: move.words for name, move in moves.items()}
    assert words == {
        "a": "down 1", "b": "up 1", "c": "gone", "d": "new", "e": "no longer in the first 4",
        "f": "was not in the first 4",
    }  # fmt: skip
    assert compare(["a"], ["a"], {"a"}, 4)["a"].words == "same place"


def test_an_adapter_that_others_push_out_is_not_gone(client: httpx2.Client, root: Path) -> None:
    before, after = (listed.commit.sha for listed in releases(root))
    page, left, right = compared(client, before, after, 5)
    pushed_out = set(left) - set(right)
    assert pushed_out, "the release of 12 adapters has all of the former one"
    assert page.count("no longer in the first 5<") == len(pushed_out) and "gone<" not in page
    backwards, _, _ = compared(client, after, before, 5)
    assert backwards.count("was not in the first 5<") == len(pushed_out) and "gone<" in backwards


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


def test_numbers_over_releases_are_drawn(client: httpx2.Client) -> None:
    page = client.get("/pool").text
    assert "How good" in page and 'aria-label="adapters in the index: ' in page
    assert page.count("<circle") >= 2


def test_a_project_outside_git_has_no_history(own_root: Path) -> None:
    (own_root / ".git").rename(own_root / "no-git")
    (own_root / "dvc.yaml").touch()
    with serving(own_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        assert "no committed releases" in client.get("/compare", params={"q": "a cat"}).text
        assert "No refresh has been recorded yet" in client.get("/pool").text


def test_a_project_of_own_files_is_told_what_applies_to_it(own_root: Path) -> None:
    (own_root / ".git").rename(own_root / "no-git")
    with serving(own_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        for path in ("/pool", "/compare"):
            page = client.get(path).text
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
