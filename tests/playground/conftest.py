"""Playground hubs: one for fault injection, one with a client of its Civitai API."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.playground.civitai_client import CivitaiClient
from tests.support.tiny_pool import make_pool

LIST_PATHS = {
    "huggingface": "/api/models?sort=lastModified&full=true&cardData=true",
    "civitai": "/civitai/api/v1/models?sort=Newest",
    "modelscope": "/modelscope/openapi/v1/models?page_size=2",
}
"""hub -> path of the first page of its list"""


class FaultyHub:
    """A hub, a client, and the content of the LoRA file of ann/ink."""

    def __init__(self, hub: Hub, endpoint: str, pool: Path) -> None:
        self.hub = hub
        self.client = httpx2.Client(base_url=endpoint, timeout=60, headers={"Accept-Encoding": "identity"})
        self.content = (pool / "ann/ink/lora.safetensors").read_bytes()

    def fail(self, fault: str, **order: Any) -> None:
        """Inject a fault."""
        self.hub.change({"fail": {"fault": fault, **order}})

    def list_page(self, hub: str) -> httpx2.Response:
        """Return the first page of a hub's list."""
        return self.client.get(LIST_PATHS[hub])

    def entries(self, hub: str) -> list[dict[str, Any]]:
        """Return the entries of the first page of a hub's list."""
        page = self.list_page(hub).json()
        if hub == "modelscope":
            page = page["data"]["models"]
        elif hub == "civitai":
            page = page["items"]
        entries: list[dict[str, Any]] = page
        return entries

    def files(self, hub: str) -> Any:
        """Return the JSON with the list of files of ann/ink."""
        model_id = self.hub.civitai_ids.model(self.hub.repos["ann/ink"])
        path = {
            "huggingface": "/api/models/ann/ink?blobs=true",
            "civitai": f"/civitai/api/v1/models/{model_id}",
            "modelscope": "/modelscope/api/v1/models/ann/ink/repo/files?Recursive=True",
        }
        return self.client.get(path[hub]).json()

    def download(self, hub: str, follow: bool = True, **headers: str) -> httpx2.Response:
        """Return the response to a download of the LoRA file of ann/ink."""
        version_id = self.hub.civitai_ids.version(self.hub.repos["ann/ink"])
        path = {
            "huggingface": "/ann/ink/resolve/main/lora.safetensors",
            "civitai": f"/civitai/api/download/models/{version_id}",
            "modelscope": "/modelscope/models/ann/ink/resolve/master/lora.safetensors",
        }
        return self.client.get(path[hub], headers=headers, follow_redirects=follow)


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[FaultyHub]:
    pool = make_pool(tmp_path / "pool")
    hub = Hub(pool, day=1, page_size=2)
    with running(hub) as endpoint:
        yield FaultyHub(hub, endpoint, pool)


@pytest.fixture
def civitai(tmp_path: Path) -> Iterator[CivitaiClient]:
    hub = Hub(make_pool(tmp_path / "pool"), day=1, page_size=2)
    with running(hub) as endpoint:
        yield CivitaiClient(hub, endpoint, tmp_path / "pool")
