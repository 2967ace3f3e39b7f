"""A pretrained encoder for the tiny pipeline, and a hub that the official client talks to."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autolora import models
from autolora.encoder.model import Encoder
from autolora.encoder.pretrained import save_pretrained
from autolora.params import load
from playground.hubs.state import Hub
from tests.support.hf_client import serve_hub
from tests.support.pretrained_folder import (
    FACTS,
    TRAINING,
    ridge_encoder,
)
from tests.support.tiny_flux import save_pipeline

SHIPPED = load(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> models.ModelsParams:
    """Return params with the tiny pipeline."""
    folder = save_pipeline(tmp_path_factory.getbasetemp() / "tiny-flux")
    return replace(SHIPPED.models, pipeline=str(folder), threads=1)


@pytest.fixture(scope="module")
def encoder(base: models.ModelsParams) -> Encoder:
    return ridge_encoder(models.load_text_encoder(base).digest)


@pytest.fixture
def folder(tmp_path: Path, encoder: Encoder, base: models.ModelsParams) -> Path:
    """Return the folder of a pretrained encoder with its pipeline."""
    path = tmp_path / "encoder"
    save_pretrained(path, encoder, TRAINING, FACTS, dtype="float16", rank=5, pipeline=base)
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub that the official client talks to."""
    with serve_hub(tmp_path, monkeypatch) as hub:
        yield hub
