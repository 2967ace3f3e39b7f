"""A plain HTTP client of the playground's Civitai API, over a real socket."""

from pathlib import Path
from typing import Any

import httpx2

from playground.hubs.state import Hub


class CivitaiClient:
    """A hub, and a client of its Civitai API."""

    def __init__(self, hub: Hub, endpoint: str, pool: Path) -> None:
        self.hub, self.pool, self.endpoint = hub, pool, f"{endpoint}/civitai"
        self.client = httpx2.Client(base_url=f"{self.endpoint}/api/v1/", timeout=60)

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        response = self.client.get(path, params=query or None)
        assert response.status_code == status, response.text
        return response.json()

    def list_all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        page = self.get(path, **query)
        items: list[dict[str, Any]] = page["items"]
        while url := page["metadata"].get("nextPage"):
            page = self.get(url)
            items += page["items"]
        return items

    def model(self, repo: str) -> dict[str, Any]:
        model: dict[str, Any] = self.get(f"models/{self.hub.civitai_ids.model(self.hub.repos[repo])}")
        return model

    def listed(self, name: str) -> dict[str, Any]:
        """Return the entry of a model in the list."""
        (model,) = (model for model in self.list_all("models") if model["name"] == name)
        return model

    def content(self, repo: str) -> bytes:
        return (self.pool / repo / "lora.safetensors").read_bytes()
