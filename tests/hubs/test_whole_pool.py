"""The playground's whole pool through every client, over real sockets; and what a second and a third night ask for."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, snapshot_download
from modelscope_hub import HubApi

from playground.hub import Hub, running
from playground.hubs.repos import HUBS
from playground.hubs.visits import FIRST, visits
from tests.support.tiny_pool import TAGS

ROOT = Path(__file__).parents[2]
POOL = ROOT / "playground/pool"
REQUESTS = {
    "huggingface": [
        {"listing": 9, "tree": 82, "weights": 82, "renderings": 236},
        {"listing": 2, "tree": 3, "weights": 3, "renderings": 9},
        {"listing": 2, "tree": 5, "weights": 5, "renderings": 15},
    ],
    "civitai": [
        {"listing": 9, "images": 82, "download": 82, "weights": 82, "renderings": 236},
        {"listing": 2, "images": 3, "download": 3, "weights": 3, "renderings": 9},
        {"listing": 2, "images": 5, "download": 5, "weights": 5, "renderings": 15},
    ],
    "modelscope": [
        {"listing": 9, "info": 82, "tree": 82, "weights": 82, "renderings": 236},
        {"listing": 2, "info": 3, "tree": 3, "weights": 3, "renderings": 9},
        {"listing": 2, "info": 5, "tree": 5, "weights": 5, "renderings": 15},
    ],
}
"""hub -> what each night asks for: the list until it is old, what is new, and nothing twice"""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Hub, str]]:
    hub = Hub(POOL, day=3, page_size=10)
    with running(hub) as endpoint:
        yield hub, endpoint


def test_our_clients_take_all_of_it_and_then_only_what_is_new(
    tmp_path: Path, served: tuple[Hub, str]
) -> None:
    nights = list(visits(tmp_path))
    for hub in HUBS:
        mine = [visit for visit in nights if visit.hub == hub]
        assert [dict(visit.requests) for visit in mine] == REQUESTS[hub]
        came = Counter(sha256 for visit in mine for sha256 in visit.files.values())
        assert came == Counter(
            repo.head.blobs[path].sha256
            for repo in served[0].repos.values()
            for path in (*repo.head.weights, *repo.head.pictures)
        )


def test_the_unmodified_client_of_hugging_face_takes_all_of_it(
    tmp_path: Path, served: tuple[Hub, str]
) -> None:
    hub, endpoint = served
    hub.change({"reset": True})
    api = HfApi(endpoint=endpoint, token=False)
    found = [model.id for model in api.list_models(filter=TAGS, sort="last_modified")]
    assert sorted(found) == sorted(hub.repos) and hub.requests()["listing"] == 9
    for id in found:
        snapshot_download(id, endpoint=endpoint, token=False, local_dir=tmp_path / id, max_workers=2)
    check_copies(hub, tmp_path)


def test_the_unmodified_client_of_modelscope_takes_all_of_it(
    tmp_path: Path, served: tuple[Hub, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, endpoint = served
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
    api = HubApi(endpoint=f"{endpoint}/modelscope")
    pages = [
        api.list_repos("model", custom_tag="LoRA", page_number=number, page_size=50)
        for number in range(1, 10)
    ]
    found = [repo.repo_id or "" for page in pages for repo in page.items]
    assert sorted(found) == sorted(hub.repos)
    for id in found:
        api.download_repo(id, "model", local_dir=tmp_path / id)
    check_copies(hub, tmp_path)


def test_the_first_days_repositories_are_dated_over_months_in_their_order(served: tuple[Hub, str]) -> None:
    near, far = served[0].repos, Hub(POOL, day=1, spread_days=180).repos
    first = [id for id, repo in near.items() if repo.day == 1]
    by_date = sorted(first, key=lambda id: near[id].created_at)
    assert by_date == sorted(first, key=lambda id: far[id].created_at)
    assert near[by_date[-1]].created_at == far[by_date[-1]].created_at < FIRST.isoformat()
    assert far[by_date[0]].created_at < "2025-08" and far[by_date[41]].created_at < "2025-11"
    later = near.keys() - set(first)
    assert {near[id].head.date for id in later} == {far[id].head.date for id in later}


def check_copies(hub: Hub, folder: Path) -> None:
    """Check that a folder holds every file of every repository, to the byte."""
    for repo in hub.repos.values():
        for path, blob in repo.head.blobs.items():
            assert hashlib.sha256((folder / repo.id / path).read_bytes()).hexdigest() == blob.sha256
