"""The official client of Hugging Face, pointed at the playground's hub on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants

from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.support.tiny_pool import make_pool

TOKEN = "hf_any"


def point_at(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    """Let huggingface_hub talk to a hub without Xet storage, with a token and an own cache, as these variables of the
    environment do before it is imported: HF_ENDPOINT, HF_HUB_CACHE, HF_HUB_DISABLE_XET, HF_TOKEN.
    """
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@contextmanager
def serve_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub that the official client talks to, with pool and cache in a folder."""
    hub = Hub(make_pool(folder / "pool"), day=1)
    with running(hub) as endpoint:
        point_at(monkeypatch, endpoint, folder / "cache")
        yield hub


def remove_token(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the official client find no token, neither in the environment nor in a file."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
