"""One file or image that cannot be read costs only itself: it is named and deferred, and all others enter the pool."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora.catalog import failed_items
from autolora.catalog import store as catalog
from autolora.errors import HubError, ReadingFailed
from autolora.pool import ingest
from autolora.pool import store as pool
from autolora.pool.stage import PoolSync
from autolora.records import ACCEPTED
from autolora.storage.hashes import hash_file
from autolora.storage.incremental import digest_path
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.lora.writing import write_overflowing
from tests.pool.site import Site
from tests.support.tiny_pool import BOUNDS, RECIPE, RULES, make_pool, make_repo

pytestmark = pytest.mark.slow

MORE = 7
"""repositories beside the three with a valid file of the small hub"""
OTHER_RECIPE = replace(RECIPE, bounds=replace(BOUNDS, max_rank=15))
UNEXPECTED = "cannot be read: unexpected RuntimeError, whose traceback is in the log"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A hub with ten LoRAs of three images each and a file that is none, and a repository that lists them."""
    folder = make_pool(tmp_path / "pool")
    lines = (folder / "schedule.jsonl").read_text().splitlines(keepends=True)
    for number in range(MORE):
        make_repo(folder / f"new/{number}", seed=10 + number)
        lines.append(lines[0].replace("ann/ink", f"new/{number}"))
    (folder / "schedule.jsonl").write_text("".join(lines))
    hub = Hub(folder, day=1)
    with running(hub) as endpoint:
        yield Site(hub, endpoint, tmp_path / "root")


def fail_on(
    monkeypatch: pytest.MonkeyPatch, reader: str, is_bad: Callable[[str], bool], error: type[BaseException]
) -> None:
    """Let a reader of the stage raise an error on the files whose sha256 is bad."""
    original = getattr(ingest, reader)

    def failing(path: Path, *rest: Any) -> Any:
        if is_bad(hash_file(path)):
            raise error("injected")
        return original(path, *rest)

    monkeypatch.setattr(ingest, reader, failing)


def accepted(site: Site) -> set[str]:
    """Return the repositories whose file the pool has accepted."""
    return {id for id, row in site.adapters().items() if row.verdict == ACCEPTED}


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, RecursionError, OSError])
def test_a_file_that_cannot_be_read_is_named_and_deferred(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    site.crawl()
    (bad,) = (listing for listing in catalog.read_active(site.root) if listing.id == "new/3")
    with monkeypatch.context() as patched:
        fail_on(patched, "read_and_sketch", lambda sha256: sha256 == bad.sha256, error)
        with pytest.raises(HubError, match=rf"1 files or images .*: new/3/.*{bad.url} cannot be read: "):
            site.run_pool()
    assert len(site.adapters()) == 10 and "new/3" not in site.adapters() and len(accepted(site)) == 9
    (failed,) = failed_items.read(site.root).values()
    assert (failed.key, failed.failed_attempts, failed.was_in_pool) == (bad.key, 1, False)
    assert error is OSError or f"unexpected {error.__name__}, whose traceback" in failed.reason
    assert ("Traceback" in caplog.text) == (error is not OSError)
    site.crawl()
    site.run_pool()
    assert len(accepted(site)) == 9 and digest_path(site.root, "pool").exists()
    assert bad.id not in {listing.id for listing in catalog.read_active(site.root)}
    site.crawl(day=2)
    site.run_pool()
    assert "new/3" in accepted(site) and not failed_items.read(site.root)
    assert not list(pool.incoming(site.root).glob("*"))


def test_an_image_that_cannot_be_read_is_named_and_deferred(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.crawl()
    (bad, *_) = next(row.renderings for row in catalog.read_active(site.root) if row.id == "new/3")
    fail_on(monkeypatch, "reencode_image", lambda sha256: sha256 == bad.sha256, RuntimeError)
    with pytest.raises(HubError, match=rf"1 files or images .*: {bad.url} \({bad.url} {UNEXPECTED}\)"):
        site.run_pool()
    images = 10 * RULES.max_renderings
    assert len(accepted(site)) == 10 and len(pool.renderings(site.root)) == images - 1
    site.crawl()
    site.run_pool()
    assert digest_path(site.root, "pool").exists() and len(pool.renderings(site.root)) == images - 1


@pytest.mark.parametrize("was_filled", [False, True], ids=["new files", "files of the pool"])
def test_an_error_of_most_files_stops_the_stage(
    site: Site, monkeypatch: pytest.MonkeyPatch, was_filled: bool
) -> None:
    site.crawl()
    if was_filled:
        site.run_pool()
    monkeypatch.setattr(ingest, "MAX_CONSECUTIVE_FAILURES", 3)
    spared = {
        row.sha256 for row in catalog.read_active(site.root) if row.id in ("new/0", "new/1", "eve/pickle")
    }
    fail_on(monkeypatch, "read_and_sketch", lambda sha256: sha256 not in spared, RuntimeError)
    for _ in range(2):
        with pytest.raises(
            ReadingFailed, match=f"8 of 11 files or images .* too many to defer .*{UNEXPECTED}"
        ):
            site.run_pool(RECIPE if not was_filled else OTHER_RECIPE, batch_size=1)
        site.crawl()
    assert not failed_items.read(site.root) and len(catalog.read_active(site.root)) == 11


def test_files_that_cannot_be_read_are_no_failures_of_their_hub(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.crawl()
    monkeypatch.setattr(ingest, "MAX_CONSECUTIVE_FAILURES", 2)
    order = [sources.primary for sources in site.sync().missing_adapters()]
    bad = {listing.sha256 for listing in order[:4]}
    fail_on(monkeypatch, "read_and_sketch", lambda sha256: sha256 in bad, RuntimeError)
    with pytest.raises(HubError, match="4 files or images"):
        site.run_pool()
    assert len(site.adapters()) == 7


def test_an_interruption_is_no_failure_of_a_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.crawl()
    fail_on(monkeypatch, "read_and_sketch", lambda sha256: True, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        site.run_pool()
    assert not failed_items.read(site.root)


def test_a_stored_file_that_cannot_be_read_again_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.crawl()
    site.run_pool()
    (bad,) = (listing for listing in catalog.read_active(site.root) if listing.id == "new/3")
    with monkeypatch.context() as patched:
        fail_on(patched, "read_and_sketch", lambda sha256: sha256 == bad.sha256, RuntimeError)
        with pytest.raises(HubError, match=rf"1 files or images .*: new/3/.*{bad.url} {UNEXPECTED}"):
            site.run_pool(OTHER_RECIPE)
    assert [row.recipe == OTHER_RECIPE.digest for row in site.adapters().values()].count(False) == 1
    site.run_pool(OTHER_RECIPE)
    assert {row.recipe for row in site.adapters().values()} == {OTHER_RECIPE.digest}


def test_stored_files_are_read_by_batches_of_which_a_bad_file_is_left_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.crawl()
    site.run_pool()
    sync = PoolSync(site.root, OTHER_RECIPE)
    reader = ingest.Ingest(sync.tables, {}, OTHER_RECIPE, RULES.max_file_mb)
    files = [file for sources in sync.missing_adapters() if (file := reader.stored(sources))]
    with monkeypatch.context() as patched:
        fail_on(patched, "read_and_sketch", lambda sha256: sha256 == files[0].sha256, RuntimeError)
        rows = [*ingest.read_again(site.root, OTHER_RECIPE, files)]
    assert [row["key"] for row in rows] == [file.key for file in files[1:]]
    reader.append_read([*rows, rows[0] | {"recipe": RECIPE.digest}])
    assert sync.tables.adapters[rows[0]["key"]].recipe == OTHER_RECIPE.digest
    assert {sources.primary.key for sources in sync.missing_adapters()}.isdisjoint(row["key"] for row in rows)
    site.run_pool(OTHER_RECIPE)
    assert {row.recipe for row in site.adapters().values()} == {OTHER_RECIPE.digest}


def test_weights_that_overflow_are_refused_and_stop_nothing(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "pool/new/3/lora.safetensors"
    write_overflowing(path, path)
    with running(Hub(tmp_path / "pool", day=1)) as endpoint:
        other = Site(site.hub, endpoint, tmp_path / "other")
        other.crawl()
        other.run_pool()
    assert other.adapters()["new/3"].verdict == "nan-or-inf" and len(accepted(other)) == 9
    assert not failed_items.read(other.root)
