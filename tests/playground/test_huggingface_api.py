"""The playground's Hugging Face API: what it returns for deleted repositories, HEAD requests, and long trees."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from playground.hubs.huggingface import api
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.support.tiny_pool import make_pool

TOKEN = {"Authorization": "Bearer hf_any"}


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(make_pool(tmp_path / "pool"), day=1)


@pytest.fixture
def endpoint(hub: Hub) -> Iterator[str]:
    with running(hub) as url:
        yield url


@pytest.mark.parametrize(
    "path", ["/api/models/ann/ink", "/api/models/ann/ink/tree/main", "/ann/ink/resolve/main/lora.safetensors"]
)
def test_deleted_repository_is_a_401_without_a_code_or_a_404_with_one(
    endpoint: str, hub: Hub, path: str
) -> None:
    hub.change({"withdraw": "ann/ink"})
    without = httpx2.get(endpoint + path)
    assert (without.status_code, without.headers.get("X-Error-Code")) == (401, None)
    assert without.headers["X-Error-Message"] == "Invalid username or password."
    with_token = httpx2.get(endpoint + path, headers=TOKEN)
    assert (with_token.status_code, with_token.headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_official_client_with_a_deleted_repository(endpoint: str, hub: Hub, tmp_path: Path) -> None:
    """Over http, the client's typed exception needs the code that the hub sends to requests with a token only."""
    hub.change({"withdraw": "ann/ink"})
    client = HfApi(endpoint=endpoint, token=False)
    with pytest.raises(HfHubHTTPError, match="401"):
        client.model_info("ann/ink")
    with pytest.raises(RepositoryNotFoundError):
        client.model_info("ann/ink", token="hf_any")
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download(
            "ann/ink", "README.md", endpoint=endpoint, cache_dir=tmp_path / "cache", token="hf_any"
        )


def test_head_is_answered_as_get(endpoint: str, hub: Hub) -> None:
    sha = hub.repos["ann/ink"].head.sha
    paths = [
        "", "/ann/ink", "/ann/ink?blobs=true", f"/ann/ink/revision/{sha}", f"/ann/ink/tree/{sha}",
        "/no/body", "/ann/ink/tree/none",
    ]  # fmt: skip
    for path in paths:
        head, get = httpx2.head(f"{endpoint}/api/models{path}"), httpx2.get(f"{endpoint}/api/models{path}")
        assert (head.status_code, head.content) == (get.status_code, b"")
        for name in ("Content-Length", "Content-Type", "X-Error-Code", "Link"):
            assert head.headers.get(name) == get.headers.get(name)
    assert hub.requests()["paths"][f"HEAD /api/models/ann/ink/tree/{sha}"] == 1


@pytest.mark.parametrize("path", ["/modelscope/openapi/v1/models", "/modelscope/api/v1/models/ann/ink"])
def test_head_is_answered_as_get_by_modelscope(endpoint: str, path: str) -> None:
    head, get = httpx2.head(endpoint + path), httpx2.get(endpoint + path)
    assert (head.status_code, head.content, get.status_code) == (200, b"", 200)
    assert head.headers["Content-Length"] == str(len(get.content))


def test_official_client_follows_a_tree_of_several_pages(
    endpoint: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = HfApi(endpoint=endpoint, token=False)
    monkeypatch.setattr(api, "TREE_PAGE_SIZE", 2)
    tree = [entry.path for entry in client.list_repo_tree("ann/ink", recursive=True)]
    assert tree == sorted([*hub.repos["ann/ink"].head.blobs, "images"])
    folder = [entry.path for entry in client.list_repo_tree("ann/ink", "images", recursive=True)]
    assert folder == ["images/0.png", "images/1.png", "images/2.png"]
    assert hub.requests()["tree"] == 3 + 2


def test_link_of_a_tree_has_a_slash_before_its_query(endpoint: str) -> None:
    tree = f"{endpoint}/api/models/ann/ink/tree/main"
    paths, url = [], f"{tree}?recursive=true&limit=4"
    while url:
        page = httpx2.get(url)
        paths += [entry["path"] for entry in page.json()]
        url = page.links.get("next", {}).get("url", "")
        assert not url or url.startswith(f"{tree}/?recursive=true&limit=4&cursor=")
    assert paths == sorted(paths) and len(paths) == 6
    assert httpx2.get(f"{tree}?limit=0").status_code == 400
