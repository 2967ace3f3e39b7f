"""Answers of Civitai by its public code: the client reads them, and the playground's hub returns the same shapes."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from pytest_httpserver import HTTPServer

from autolora.errors import HubError
from autolora.hubs import Availability
from autolora.hubs.civitai.client import Civitai
from autolora.hubs.http.endpoint import Endpoint
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.hubs.civitai.fake_civitai import RULES, TODAY
from tests.hubs.shapes import differences, read_answer, serve
from tests.support.tiny_pool import add_to_schedule, make_pool

FUTURE = "2099-03-01T12:00:00.000Z"


@pytest.fixture
def civitai(httpserver: HTTPServer) -> Civitai:
    return Civitai(Endpoint("civitai", httpserver.url_for("/civitai").rstrip("/"), 5.0, 1, None))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """The playground's hub with a paid version, one in early access, one free version, and one taken down."""
    pool = make_pool(tmp_path / "pool")
    add_to_schedule(pool, "ann/ink", civitai={"paidAccess": {"permanent": True, "endsAt": None}})
    add_to_schedule(pool, "ann/neon", civitai={"paidAccess": {"permanent": False, "endsAt": FUTURE}})
    playground = Hub(pool, day=2, page_size=10)
    playground.change({"withdraw": ["bob/late", "taken-down"]})
    with running(playground) as url:
        yield f"{url}/civitai"


def test_client_reads_the_list_and_the_prompts(civitai: Civitai, httpserver: HTTPServer) -> None:
    for name in ("civitai/models", "civitai/images"):
        serve(httpserver, name, "/civitai")
    page = civitai.page(RULES, None, TODAY)
    ink, taken_down = page.models
    assert (page.next, taken_down.withdrawn, ink.author) == ("75363|932023|257749", True, "inkmaker")
    (problem,) = page.problems
    assert "file 606527 of version 691639" in problem and "'flux/inkwash_v1_small.safetensors'" in problem
    assert [listing.file for listing in ink.partial_listings] == ["691639/inkwash_v1.safetensors"]
    num_requests = len(httpserver.log)
    (listing,) = civitai.complete_listings(ink, RULES, {})
    assert [rendering.prompt for rendering in listing.renderings] == ["inkwsh style, a heron at dawn", None]
    assert (listing.complete, len(httpserver.log) - num_requests) == (True, 1)
    assert httpserver.log[-1][0].args["username"] == "inkmaker"
    later = civitai.page(RULES, None, datetime.date(2026, 3, 2)).models[0]
    assert [listing.version for listing in later.partial_listings] == ["691640", "691639"]


def test_client_reads_models_and_errors(civitai: Civitai, httpserver: HTTPServer, tmp_path: Path) -> None:
    for name in ("civitai/model", "civitai/not_found", "civitai/early_access"):
        serve(httpserver, name, "/civitai")
    assert civitai.availability("618692") is Availability.AVAILABLE
    assert civitai.availability("7") is Availability.NOT_FOUND
    with pytest.raises(HubError, match=r"status 403.*early access.*Early Access"):
        civitai.download(f"{civitai.endpoint.url}/api/download/models/691640", tmp_path / "x", 100)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("civitai/models", "/api/v1/models?nsfw=true&sort=Newest"),
        ("civitai/images", "/api/v1/images?withMeta=true&flatMeta=true&limit=200"),
        ("civitai/not_found", "/api/v1/models/7"),
    ],
)
def test_playground_returns_the_same_shapes(hub: str, name: str, path: str) -> None:
    answer, response = read_answer(name), httpx2.get(hub + path)
    assert response.status_code == answer.status
    assert response.json()["items"] if answer.status == 200 else True
    assert differences(answer.body, response.json(), answer.free) == []


def test_playground_returns_model_pages_and_refusals_of_the_same_shape(hub: str) -> None:
    models = {model["name"]: model for model in httpx2.get(f"{hub}/api/v1/models?nsfw=true").json()["items"]}
    page = read_answer("civitai/model")
    for name in ("ink", "neon", "cat"):
        shown = httpx2.get(f"{hub}/api/v1/models/{models[name]['id']}").json()
        assert differences(page.body, shown, page.free) == []
    refusal = read_answer("civitai/early_access")
    response = httpx2.get(models["neon"]["modelVersions"][0]["downloadUrl"])
    assert (response.status_code, response.json()["deadline"]) == (403, FUTURE)
    assert differences(refusal.body, response.json()) == []


def test_client_leaves_out_paid_versions_of_the_playground(hub: str, tmp_path: Path) -> None:
    civitai = Civitai(Endpoint("civitai", hub, 5.0, 1, None))
    models = civitai.page(RULES, None, TODAY).models
    listed = [(model.author, len(model.partial_listings)) for model in models if not model.withdrawn]
    assert listed == [("cat", 1), ("eve", 1), ("bob", 1), ("ann", 0), ("ann", 0)]
    for model in models:
        for listing in civitai.complete_listings(model, RULES, {}):
            assert civitai.download(listing.url, tmp_path / "x", 10**6) == listing.sha256
            assert all(rendering.prompt for rendering in listing.renderings)
