"""Crawls of the playground's whole pool with our clients and the official ones, over real sockets.

Our clients crawl three days in a row, and the requests of each day are compared."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, snapshot_download
from modelscope_hub import HubApi

from playground.hubs.crawl_requests import FIRST_DAY, crawl_days
from playground.hubs.repos import HUBS
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.support.tiny_pool import TAGS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
POOL = ROOT / "playground/pool"
REQUESTS = {
    "huggingface": [
        {"listing": 9, "tree": 82, "weights": 82, "renderings": 236},
        {"listing": 2, "tree": 6, "weights": 6, "renderings": 9},
        {"listing": 2, "tree": 2, "weights": 2, "renderings": 6},
    ],
    "civitai": [
        {"listing": 9, "images": 82, "download": 82, "weights": 82, "renderings": 236},
        {"listing": 2, "images": 3, "download": 6, "weights": 6, "renderings": 9},
        {"listing": 2, "images": 2, "download": 2, "weights": 2, "renderings": 6},
    ],
    "modelscope": [
        {"listing": 9, "info": 82, "tree": 82, "weights": 82, "renderings": 236},
        {"listing": 2, "info": 6, "tree": 6, "weights": 6, "renderings": 9},
        {"listing": 2, "info": 2, "tree": 2, "weights": 2, "renderings": 6},
    ],
}
"""hub -> requests of each day by kind: list pages up to known entries, new models and new files"""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Hub, str]]:
    hub = Hub(POOL, day=3, page_size=10)
    with running(hub) as endpoint:
        yield hub, endpoint


def test_first_crawl_downloads_everything_and_later_ones_only_new_files(
    tmp_path: Path, served: tuple[Hub, str]
) -> None:
    days = list(crawl_days(tmp_path))
    for hub in HUBS:
        hub_days = [day for day in days if day.hub == hub]
        assert [dict(day.requests) for day in hub_days] == REQUESTS[hub]
        downloaded = Counter(sha256 for day in hub_days for sha256 in day.files.values())
        assert downloaded == Counter(
            repo.head.blobs[path].sha256
            for repo in served[0].repos.values()
            for path in (*repo.head.weights, *repo.head.images)
        )


def test_official_hugging_face_client_downloads_everything(tmp_path: Path, served: tuple[Hub, str]) -> None:
    hub, endpoint = served
    hub.change({"reset": True})
    api = HfApi(endpoint=endpoint, token=False)
    ids = [model.id for model in api.list_models(filter=TAGS, sort="last_modified")]
    assert sorted(ids) == sorted(hub.repos) and hub.requests()["listing"] == 9
    for id in ids:
        snapshot_download(id, endpoint=endpoint, token=False, local_dir=tmp_path / id, max_workers=2)
    check_copies(hub, tmp_path)


def test_official_modelscope_client_downloads_everything(
    tmp_path: Path, served: tuple[Hub, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, endpoint = served
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
    api = HubApi(endpoint=f"{endpoint}/modelscope")
    pages = [
        api.list_repos("model", custom_tag="LoRA", page_number=number, page_size=50)
        for number in range(1, 10)
    ]
    ids = [repo.repo_id or "" for page in pages for repo in page.items]
    assert sorted(ids) == sorted(hub.repos)
    for id in ids:
        api.download_repo(id, "model", local_dir=tmp_path / id)
    check_copies(hub, tmp_path)


def test_spread_days_keeps_the_order_of_the_first_days_repositories(served: tuple[Hub, str]) -> None:
    default, spread = served[0].repos, Hub(POOL, day=1, spread_days=180).repos
    first_day = [id for id, repo in default.items() if repo.day == 1]
    by_date = sorted(first_day, key=lambda id: default[id].created_at)
    assert by_date == sorted(first_day, key=lambda id: spread[id].created_at)
    assert default[by_date[-1]].created_at == spread[by_date[-1]].created_at < FIRST_DAY.isoformat()
    assert spread[by_date[0]].created_at < "2025-08" and spread[by_date[41]].created_at < "2025-11"
    later = default.keys() - set(first_day)
    assert {default[id].head.date for id in later} == {spread[id].head.date for id in later}


def check_copies(hub: Hub, folder: Path) -> None:
    """Check that a folder contains every file of every repository, unchanged."""
    for repo in hub.repos.values():
        for path, blob in repo.head.blobs.items():
            assert hashlib.sha256((folder / repo.id / path).read_bytes()).hexdigest() == blob.sha256
