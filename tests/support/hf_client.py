"""The official client of Hugging Face, pointed at the playground's hub on loopback."""

from pathlib import Path

import pytest
from huggingface_hub import constants

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
