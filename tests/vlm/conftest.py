"""A server, images, and a model in this process."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from autolora import vlm
from tests.support.fake_openai import FakeOpenAI
from tests.support.images import draw_images
from tests.vlm.engines import MODELS, VALUES


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeOpenAI, str]]:
    monkeypatch.setattr("autolora.vlm.vllm_client.FIRST_DELAY_S", 0.01)
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        yield FakeOpenAI(http, "name"), http.url_for("/v1")


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path, data in zip(paths, draw_images(6), strict=True):
        path.write_bytes(data)
    return paths


@pytest.fixture
def captioner() -> vlm.Captioner:
    """The playground's VLM in this process."""
    return vlm.captioner(MODELS, replace(VALUES.captions, batch=4), VALUES.vllm)
