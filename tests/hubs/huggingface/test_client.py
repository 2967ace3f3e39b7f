"""The Hugging Face client, with the playground's hub and with a server that returns invalid responses."""

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from autolora.errors import HubError
from autolora.hubs import Availability, Page
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.huggingface.client import EXPANDED_FIELDS, HuggingFace
from autolora.records import Listing
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.support.tiny_pool import RULES, make_pool

TODAY = datetime.date(2026, 1, 5)
SHA = "a" * 40
DATE = "2026-01-02T03:04:05.000Z"
FILES = [
    {"rfilename": "lora.safetensors"},
    {"rfilename": "../../up.safetensors"},
    {"rfilename": "ghost.safetensors"},
]
ITEM = {"id": "ann/ink", "sha": SHA, "siblings": FILES, "lastModified": DATE}


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(make_pool(tmp_path / "pool"), day=1, page_size=3)


@pytest.fixture
def client(hub: Hub) -> Iterator[HuggingFace]:
    with running(hub) as url:
        yield connect(url)


def connect(url: str, token: str | None = None) -> HuggingFace:
    return HuggingFace(Endpoint("huggingface", url.rstrip("/"), 5.0, 1, token))


def pages(client: HuggingFace, **rules: Any) -> Iterator[Page]:
    cursor = None
    while True:
        page = client.page(replace(RULES, **rules), cursor, TODAY)
        yield page
        if not (cursor := page.next):
            return


def crawl(client: HuggingFace, known: Mapping[str, Listing] | None = None, **rules: Any) -> list[Listing]:
    """Return the completed listings of all pages."""
    models = [model for page in pages(client, **rules) for model in page.models]
    changed = replace(RULES, **rules)
    return [listing for model in models for listing in client.complete_listings(model, changed, known or {})]


def by_url(listings: list[Listing]) -> dict[str, Listing]:
    return {listing.url: listing for listing in listings}


def test_lists_models_in_pages_newest_first(client: HuggingFace, hub: Hub) -> None:
    first, second = pages(client)
    assert [model.id for model in first.models] == ["eve/pickle", "bob/cat", "ann/neon"]
    assert [model.id for model in second.models] == ["ann/ink"]
    assert first.models[0].updated == datetime.datetime(2026, 1, 1, 3, tzinfo=datetime.UTC)
    assert (first.problems, hub.requests()["listing"]) == ((), 2)


def test_lists_every_safetensors_file(client: HuggingFace, hub: Hub) -> None:
    listings = {listing.id: listing for listing in crawl(client)}
    assert listings.keys() == {"ann/ink", "ann/neon", "bob/cat", "eve/pickle"}
    ink, repo = listings["ann/ink"], hub.repos["ann/ink"]
    blob = repo.head.blobs["lora.safetensors"]
    assert (ink.version, ink.sha256, ink.size) == (repo.head.sha, blob.sha256, blob.size)
    assert (ink.license, ink.base_model, ink.base) == ("mit", "black-forest-labs/FLUX.1-dev", "flux.1-dev")
    assert (ink.permissions.commercial, ink.trigger_words, ink.downloads) == (True, ("word0",), 7)
    assert ink.url == f"{client.endpoint.url}/ann/ink/resolve/{ink.version}/lora.safetensors"
    assert [rendering.sha256 for rendering in ink.renderings] == [
        repo.head.blobs[f"images/{number}.png"].sha256 for number in range(RULES.max_renderings)
    ]
    assert ink.renderings[0].prompt == "a cat, word0"
    assert (ink.first_seen, ink.updated) == (TODAY, "2026-01-01T00:00:00Z")


def test_known_listings_need_no_file_list(client: HuggingFace, hub: Hub) -> None:
    first = crawl(client)
    assert hub.requests()["tree"] == 4
    hub.change({"reset": True})
    assert crawl(client, by_url(first)) == first
    assert hub.requests()["listing"] == 2 and "tree" not in hub.requests()
    hub.change({"license": ["ann/ink", "cc0-1.0"], "reset": True})
    assert crawl(client, by_url(first)) != first
    assert hub.requests()["tree"] == 1


def test_requests_further_images_if_the_rules_allow_more(client: HuggingFace, hub: Hub) -> None:
    few = crawl(client)
    many = crawl(client, by_url(few), max_renderings=3)
    assert {len(listing.renderings) for listing in many} == {3}
    hub.change({"reset": True})
    assert crawl(client, by_url(many)) == few
    assert "tree" not in hub.requests()


def test_skips_a_repository_that_is_removed_during_the_crawl(client: HuggingFace, hub: Hub) -> None:
    hub.change({"fail": {"kind": "tree", "path": "ann/ink", "status": 404}})
    assert {listing.id for listing in crawl(client)} == {"ann/neon", "bob/cat", "eve/pickle"}


@pytest.mark.parametrize("status", [401, 403])
def test_denied_access_without_an_error_code_is_an_error(client: HuggingFace, hub: Hub, status: int) -> None:
    hub.change({"fail": {"kind": "tree", "path": "ann/ink", "status": status}})
    with pytest.raises(HubError, match=f"returned status {status}"):
        crawl(client)


def test_downloads_have_the_listed_sha256(client: HuggingFace, tmp_path: Path) -> None:
    for listing in crawl(client):
        assert client.download(listing.url, tmp_path / "file", listing.size or 0) == listing.sha256


def test_availability_of_a_repository(client: HuggingFace, hub: Hub, httpserver: HTTPServer) -> None:
    assert client.availability("ann/ink") is Availability.AVAILABLE
    hub.change({"withdraw": "ann/ink"})
    assert client.availability("ann/ink") is Availability.NOT_FOUND
    other = connect(httpserver.url_for(""))
    for number, (status, code, message, availability) in enumerate(
        [
            (401, "RepoNotFound", "Repository not found", Availability.NOT_FOUND),
            (403, "GatedRepo", "Access to model is restricted", Availability.WITHDRAWN),
            (403, "", "Access to this resource is disabled.", Availability.WITHDRAWN),
            (410, "", "", Availability.WITHDRAWN),
        ]
    ):
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        httpserver.expect_request(f"/api/models/a/{number}").respond_with_data("", status, headers)
        assert other.availability(f"a/{number}") is availability
    httpserver.expect_request("/api/models/a/gated").respond_with_json({"id": "a/gated", "gated": "auto"})
    assert other.availability("a/gated") is Availability.WITHDRAWN
    httpserver.expect_request("/api/models/a/token").respond_with_data("", 401)
    httpserver.expect_request("/api/models/a/list").respond_with_json([])
    httpserver.expect_request("/api/models/a/odd").respond_with_json({"gated": 7})
    for invalid in ("a/token", "a/list", "a/odd", "../up", "a"):
        with pytest.raises(HubError):
            other.availability(invalid)


@pytest.mark.parametrize("page", ["<html>", '{"error": "no"}', "null", '"text"', '[{"id": "a/b"', ""])
def test_invalid_list_responses_are_errors(httpserver: HTTPServer, page: str) -> None:
    httpserver.expect_request("/api/models").respond_with_data(page)
    with pytest.raises(HubError, match=r"expected a list|not valid JSON"):
        crawl(connect(httpserver.url_for("")))


@pytest.mark.parametrize(
    "url", ["http://elsewhere.org/api/models?x", "/api/models?x", "{}/api/models", "{}/api/other?x", "{}"]
)
def test_rejects_a_next_page_that_belongs_to_another_list(httpserver: HTTPServer, url: str) -> None:
    headers = {"Link": f'<{url.format(httpserver.url_for("").rstrip("/"))}>; rel="next"'}
    httpserver.expect_request("/api/models").respond_with_data("[]", headers=headers)
    with pytest.raises(HubError, match="returned the next page"):
        crawl(connect(httpserver.url_for(""), "secret"))


def test_rejects_a_cursor_of_another_host(client: HuggingFace) -> None:
    with pytest.raises(HubError, match="is not allowed"):
        client.page(RULES, "http://elsewhere.org/api/models?cursor=x", TODAY)


def test_rejects_a_page_that_is_its_own_next_page(httpserver: HTTPServer) -> None:
    url = httpserver.url_for("/api/models?cursor=x")
    httpserver.expect_request("/api/models").respond_with_data("[]", headers={"Link": f'<{url}>; rel="next"'})
    with pytest.raises(HubError, match="returned the next page"):
        crawl(connect(httpserver.url_for("")))


def test_invalid_entry_is_a_problem_and_others_are_listed(httpserver: HTTPServer) -> None:
    items = [
        None, [], 10**30, {"id": 3}, ITEM | {"id": "../x"}, ITEM | {"id": "b/sha", "sha": None},
        ITEM | {"id": "b/date", "lastModified": 0}, ITEM | {"id": "b/files", "siblings": "text"},
        ITEM | {"cardData": {"self": 1, "ignore_metadata_errors": 2}}, ITEM, ITEM | {"id": "b/closed", "gated": "auto"},
    ]  # fmt: skip
    entries = [
        None,
        {"path": ["list"], "size": 3},
        {"path": "lora.safetensors", "size": 10, "lfs": {"oid": "not a hash"}},
        {"path": "ghost.safetensors", "size": "10"},
        {"path": "../../up.safetensors", "size": 10},
    ]
    httpserver.expect_request("/api/models").respond_with_json(items)
    httpserver.expect_request(f"/api/models/ann/ink/tree/{SHA}").respond_with_json(entries)
    client = connect(httpserver.url_for(""))
    page = client.page(RULES, None, TODAY)
    assert (len(page.problems), [(model.id, model.withdrawn) for model in page.models]) == (
        8,
        [("ann/ink", False), ("b/closed", True)],
    )
    assert page.unreadable == {"b/sha", "b/date", "b/files"}
    (listing,) = client.complete_listings(page.models[0], RULES, {})
    assert (listing.file, listing.size, listing.sha256) == ("lora.safetensors", 10, None)
    assert listing.key == f"huggingface:ann/ink@{SHA}/lora.safetensors"
    assert client.complete_listings(page.models[1], RULES, {}) == ()


@pytest.mark.parametrize("size", [-1, 10**30, 1.5, "10", None, True])
def test_skips_files_with_an_invalid_size(httpserver: HTTPServer, size: Any) -> None:
    httpserver.expect_request("/api/models").respond_with_json([ITEM])
    httpserver.expect_request(f"/api/models/ann/ink/tree/{SHA}").respond_with_json(
        [{"path": "lora.safetensors", "size": size}]
    )
    assert crawl(connect(httpserver.url_for(""))) == []


def test_reads_all_pages_of_a_file_list(httpserver: HTTPServer) -> None:
    tree = f"/api/models/ann/ink/tree/{SHA}"
    headers = {"Link": f'<{httpserver.url_for(tree)}?cursor=2>; rel="next"'}
    entry = '[{"path": "%s.safetensors", "size": 5, "lfs": {"oid": "' + "b" * 64 + '"}}]'
    httpserver.expect_request("/api/models").respond_with_json([ITEM])
    httpserver.expect_request(tree, query_string="recursive=true").respond_with_data(
        entry % "lora", headers=headers
    )
    httpserver.expect_request(tree, query_string="cursor=2").respond_with_data(entry % "ghost")
    listings = crawl(connect(httpserver.url_for("")))
    assert [(listing.file, listing.sha256) for listing in listings] == [
        ("ghost.safetensors", "b" * 64),
        ("lora.safetensors", "b" * 64),
    ]


def test_sends_the_same_requests_as_the_official_client(httpserver: HTTPServer) -> None:
    from huggingface_hub import HfApi

    requests: list[tuple[str, list[tuple[str, str]]]] = []

    def respond(request: Request) -> Response:
        requests.append((request.path, list(request.args.items(multi=True))))
        return Response(json.dumps([ITEM | {"_id": "1"}] if request.path == "/api/models" else []))

    httpserver.expect_request("/api/models").respond_with_handler(respond)
    httpserver.expect_request(f"/api/models/ann/ink/tree/{SHA}").respond_with_handler(respond)
    url = httpserver.url_for("").rstrip("/")
    assert crawl(connect(url)) == []
    ours, requests[:] = list(requests), []
    official = HfApi(endpoint=url, token=False)
    expand: list[Any] = list(EXPANDED_FIELDS)
    list(official.list_models(filter=list(RULES.filters), sort="last_modified", limit=100, expand=expand))
    list(official.list_repo_tree("ann/ink", recursive=True, revision=SHA))
    for (ours_path, ours_query), (path, query) in zip(ours, requests, strict=True):
        assert ours_path == path
        assert {(name, value.lower()) for name, value in ours_query} <= {
            (name, value.lower()) for name, value in query
        }
