"""Downloads: retried batches, full disks, wrong content, and hubs that fail."""

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import failed_items
from autolora.crawl import stage as crawl
from autolora.errors import DiskFull, DownloadsFailed, HubError
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.modelscope.client import ModelScope
from autolora.pool import store as pool
from autolora.pool.batches import present_files
from autolora.pool.ingest import MAX_CONSECUTIVE_FAILURES, Ingest, batches
from autolora.pool.tables import PoolTables
from autolora.storage.incremental import digest_path
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.pool.site import DAYS, Site, client, fetch_all
from tests.support.tiny_pool import RECIPE, RULES, make_pool


def test_a_full_disk_stops_all_downloads(site: Site) -> None:
    ingest, missing = site.ingest(), site.sync().missing_adapters()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        failures = fetch_all(ingest.fetch_adapters, batches(missing, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(failures) == 4 and all(isinstance(failure, DiskFull) for failure in failures)
    assert site.requests() == {"weights": 1}


def test_a_retried_batch_requests_only_missing_files(site: Site) -> None:
    ingest, missing = site.ingest(), site.sync().missing_adapters()
    site.hub.change({"fail": {"kind": "weights", "path": "bob/cat", "status": 500}})
    with pytest.raises(HubError, match="bob/cat"):
        ingest.fetch_adapters(missing)
    assert site.requests() == {"weights": 4}
    assert ingest.fetch_adapters(missing) == 1
    assert site.requests() == {"weights": 5}


def test_a_file_with_a_wrong_hash_is_not_stored(site: Site) -> None:
    site.hub.change({"fail": {"kind": "weights", "path": "ann/ink", "body": "wrong"}})
    with pytest.raises(HubError, match=r"ann/ink/lora.safetensors \(.*hash mismatch.*the file was discarded"):
        site.run_pool()
    assert site.adapters().keys() == {"ann/neon", "bob/cat", "eve/pickle"}
    assert not digest_path(site.root, "pool").exists()
    assert len(present_files(site.root, "weights")) == 2
    site.hub.change({"reset": True})
    site.run_pool()
    assert site.requests() == {"weights": 1, "renderings": 2}


def test_an_invalid_image_is_refused_once(tmp_path: Path) -> None:
    folder = make_pool(tmp_path / "pool")
    (folder / "ann/ink/images/0.png").write_bytes(b"GIF89a of another kind")
    hub = Hub(folder, day=1)
    with running(hub) as endpoint:
        site = Site(hub, endpoint, tmp_path / "root")
        site.crawl()
        site.run_pool()
        (refused,) = PoolTables(site.root).refused.values()
        assert refused["code"] == "not-an-image" and refused["active"]
        assert len(pool.renderings(site.root)) == 5
        before = site.files()
        hub.change({"reset": True})
        site.run_pool()
        assert site.requests() == {} and site.files() == before


def test_an_image_is_downloaded_from_the_first_hub_that_succeeds(site: Site) -> None:
    modelscope = ModelScope(Endpoint("modelscope", f"{site.endpoint}/modelscope", 5.0, 1, None))
    hubs = {"huggingface": client(site.endpoint), "modelscope": modelscope}
    rules = replace(RULES, hubs=tuple(hubs))
    scans = [crawl.scan_hub(site.root, hub, rules, DAYS[1]) for hub in hubs.values()]
    crawl.write(site.root, crawl.reconcile(site.root, scans, rules, DAYS[1]))
    not_found = {"fault": "404", "hub": "huggingface", "kind": "renderings", "path": "ann/ink", "times": 100}
    site.hub.change({"fail": not_found})
    site.hub.change({"reset": True})
    sync = site.sync()
    ingest = Ingest(sync.tables, hubs, RECIPE, RULES.max_file_mb)
    ingest.fetch_adapters(sync.missing_adapters())
    sync.compare_new_adapters()
    ingest.fetch_renderings(sync.missing_renderings())
    sync.finish(DAYS[1])
    requests = site.hub.requests()
    assert (requests["renderings"], requests["modelscope"]["renderings"]) == (6, 2)


def test_a_hub_that_only_fails_gets_no_further_requests(site: Site) -> None:
    site.hub.change({"fail": {"status": 404, "kind": "weights", "times": 100}})
    ingest, missing = site.ingest(), site.sync().missing_adapters()
    for _ in range(MAX_CONSECUTIVE_FAILURES):
        with pytest.raises(DownloadsFailed) as failed:
            ingest.fetch_adapters(missing)
    assert site.requests() == {"weights": MAX_CONSECUTIVE_FAILURES}
    assert failed.value.reasons.keys() == {sources.primary.key for sources in missing}


def test_repeatedly_failing_downloads_are_tried_last(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolora.pool.ingest.MAX_CONSECUTIVE_FAILURES", 2)
    listings = [sources.primary for sources in site.sync().missing_adapters()]
    failing = {listing.id for listing in listings[:2]}
    for id in failing:
        site.hub.change({"fail": {"status": 404, "kind": "weights", "path": id, "times": 100}})
    with pytest.raises(HubError, match="not requested"):
        site.run_pool()
    attempts = {download.id: download.failed_attempts for download in failed_items.read(site.root).values()}
    assert attempts == {listing.id: int(listing.id in failing) for listing in listings}
    assert {sources.primary.id for sources in site.sync().missing_adapters()[-2:]} == failing
    with pytest.raises(HubError, match="404"):
        site.run_pool()
    assert site.adapters().keys() == {listing.id for listing in listings} - failing
