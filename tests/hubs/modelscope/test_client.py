"""The ModelScope client with the playground's hub, and its requests compared with those of modelscope_hub."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from autolora.errors import HubError
from autolora.hubs import Availability
from autolora.hubs.modelscope import client as modelscope_client
from autolora.hubs.modelscope.client import ModelScope
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.hubs.modelscope.fake_modelscope import (
    DETAILS_PATH,
    FILES_PATH,
    LIST_PATH,
    TODAY,
    connect,
    crawl,
    envelope,
    model,
    pages,
    serve_list,
)
from tests.support.tiny_pool import RULES, make_pool


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(make_pool(tmp_path / "pool"), day=1)


@pytest.fixture
def client(hub: Hub) -> Iterator[ModelScope]:
    with running(hub) as url:
        yield connect(f"{url}/modelscope")


def request_counts(hub: Hub) -> dict[str, int]:
    counts = hub.requests()["modelscope"]
    return {kind: times for kind, times in counts.items() if kind != "paths"}


def test_lists_every_safetensors_file(client: ModelScope, hub: Hub, tmp_path: Path) -> None:
    (page,) = pages(client)
    assert [entry.id for entry in page.models] == ["eve/pickle", "bob/cat", "ann/neon", "ann/ink"]
    assert page.models[0].updated == datetime.datetime(2026, 1, 1, 3, tzinfo=datetime.UTC)
    partial = page.models[-1].partial_listings[0]
    assert (partial.file, partial.license, partial.base, partial.downloads) == ("", "mit", "flux.1-dev", 7)
    listings = {listing.id: listing for listing in crawl(client)}
    ink, repo = listings["ann/ink"], hub.repos["ann/ink"]
    blob = repo.head.blobs["lora.safetensors"]
    assert (ink.file, ink.sha256, ink.size) == ("lora.safetensors", blob.sha256, blob.size)
    assert (ink.version, ink.updated) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
    assert (ink.license, ink.base_model, ink.base) == ("mit", "black-forest-labs/FLUX.1-dev", "flux.1-dev")
    assert ink.trigger_words == ("word0",)
    assert [rendering.prompt for rendering in ink.renderings] == ["a cat, word0"] * RULES.max_renderings
    assert [rendering.sha256 for rendering in ink.renderings] == [
        repo.head.blobs[f"images/{number}.png"].sha256 for number in range(RULES.max_renderings)
    ]
    for file in (ink, *ink.renderings):
        assert client.download(file.url, tmp_path / "file", 1_000_000) == file.sha256


def test_known_listings_need_list_requests_only(client: ModelScope, hub: Hub) -> None:
    first = crawl(client)
    hub.change({"reset": True})
    known = {listing.url: listing for listing in first}
    assert crawl(client, known) == first
    assert [len(listing.renderings) for listing in crawl(client, known, max_renderings=1)] == [1] * 4
    assert request_counts(hub) == {"listing": 2}
    hub.change({"license": ["ann/ink", "cc0-1.0"], "reset": True})
    second = {listing.id: listing for listing in crawl(client, known)}
    assert (second["ann/ink"].license, second["ann/neon"]) == ("cc0-1.0", known[second["ann/neon"].url])
    assert request_counts(hub) == {"listing": 1, "info": 1, "tree": 1}


def test_merges_the_results_of_all_searches(client: ModelScope) -> None:
    for searches in ((), ("NEO", "ink", "cat", "pickle")):
        (page,) = pages(client, searches=searches)
        assert [entry.id for entry in page.models] == ["eve/pickle", "bob/cat", "ann/neon", "ann/ink"]
    for search in ("no such", "flux", "eon"):  # found at the beginning of no name
        (page,) = pages(client, searches=(search,))
        assert page.models == ()


def test_hub_that_ignores_the_search_lists_each_model_once(httpserver: HTTPServer) -> None:
    serve_list(httpserver, [model(f"a/m{number}") for number in range(3)], 3)
    (page,) = pages(connect(httpserver.url_for("")), searches=("flux", "style"))
    assert sorted(entry.id for entry in page.models) == ["a/m0", "a/m1", "a/m2"]


def test_cursors_are_page_numbers(client: ModelScope, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelscope_client, "PAGE_SIZE", 3)
    first, second = pages(client)
    assert (first.next, second.next) == ("2", None)
    assert [entry.id for entry in (*first.models, *second.models)] == [
        "eve/pickle",
        "bob/cat",
        "ann/neon",
        "ann/ink",
    ]
    for cursor in ("0", "-1", "2; x", "99999", ""):
        with pytest.raises(HubError, match="is not a page number"):
            client.page(RULES, cursor, TODAY)


def test_availability_of_a_model(client: ModelScope, hub: Hub, httpserver: HTTPServer) -> None:
    assert client.availability("ann/ink") is Availability.AVAILABLE
    hub.change({"withdraw": "ann/ink"})
    assert client.availability("ann/ink") is Availability.NOT_FOUND
    other = connect(httpserver.url_for(""))
    for name, data, status, availability in (
        ("gated", {"ProtectedMode": 1}, 200, Availability.WITHDRAWN),
        ("private", {"Visibility": 1}, 200, Availability.WITHDRAWN),
        ("public", {"Visibility": 5}, 200, Availability.AVAILABLE),
        ("gone", {}, 410, Availability.WITHDRAWN),
    ):
        httpserver.expect_request(f"/api/v1/models/a/{name}").respond_with_json(envelope(data), status)
        assert other.availability(f"a/{name}") is availability
    httpserver.expect_request("/api/v1/models/a/token").respond_with_data("", 401)
    httpserver.expect_request("/api/v1/models/a/no").respond_with_json({"Success": False, "Data": {}})
    httpserver.expect_request("/api/v1/models/a/odd").respond_with_json(envelope({"private": 7}))
    for invalid in ("a/token", "a/no", "a/odd", "../up"):
        with pytest.raises(HubError):
            other.availability(invalid)


def test_skips_a_model_that_is_removed_during_the_crawl(client: ModelScope, hub: Hub) -> None:
    hub.change({"fail": {"hub": "modelscope", "kind": "tree", "path": "ann/ink", "status": 404}})
    assert {listing.id for listing in crawl(client)} == {"ann/neon", "bob/cat", "eve/pickle"}


def test_sends_the_same_requests_as_the_official_client(httpserver: HTTPServer) -> None:
    from modelscope_hub import HubApi

    requests: list[tuple[str, dict[str, str]]] = []

    def respond(request: Request) -> Response:
        requests.append((request.path, dict(request.args)))
        data: dict[str, Any] = {
            "models": [model()],
            "total_count": 1,
            "page_number": 1,
            "page_size": 50,
            "Files": [],
        }
        both_spellings = {"Code": 200, "Success": True, "success": True, "Data": data, "data": data}
        return Response(json.dumps(both_spellings))

    for path in (LIST_PATH, DETAILS_PATH, FILES_PATH):
        httpserver.expect_request(path).respond_with_handler(respond)
    url = httpserver.url_for("").rstrip("/")
    assert crawl(connect(url), searches=("flux",)) == []
    ours, requests[:] = list(requests), []
    official = HubApi(endpoint=url)
    official.list_repos("model", search="flux", sort="last_modified", page_size=50, custom_tag="LoRA")
    official.legacy.get_repo_info("ann/ink", "model")
    official.list_repo_files("ann/ink", "model")
    assert requests == ours
