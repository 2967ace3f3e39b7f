"""The Hugging Face client: against the playground's hub, and against one that answers nonsense."""

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
from autolora.hubs import Page, Standing
from autolora.hubs.http.endpoint import Source
from autolora.hubs.huggingface.client import EXPAND, HuggingFace
from autolora.records import Listing
from playground.hub import Hub, running
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
    with running(hub) as endpoint:
        yield at(endpoint)


def at(endpoint: str, token: str | None = None) -> HuggingFace:
    return HuggingFace(Source("huggingface", endpoint.rstrip("/"), 5.0, 1, token))


def pages(client: HuggingFace, **rules: Any) -> Iterator[Page]:
    cursor = None
    while True:
        page = client.page(replace(RULES, **rules), cursor, TODAY)
        yield page
        if not (cursor := page.next):
            return


def listed(client: HuggingFace, known: Mapping[str, Listing] | None = None, **rules: Any) -> list[Listing]:
    models = [model for page in pages(client, **rules) for model in page.models]
    asked = replace(RULES, **rules)
    return [listing for model in models for listing in client.complete(model, asked, known or {})]


def by_url(listings: list[Listing]) -> dict[str, Listing]:
    return {listing.url: listing for listing in listings}


def test_models_come_in_pages_newest_first(client: HuggingFace, hub: Hub) -> None:
    first, second = pages(client)
    assert [model.id for model in first.models] == ["eve/pickle", "bob/cat", "ann/neon"]
    assert [model.id for model in second.models] == ["ann/ink"]
    assert first.models[0].updated == datetime.datetime(2026, 1, 1, 3, tzinfo=datetime.UTC)
    assert (first.problems, hub.requests()["listing"]) == ((), 2)


def test_every_safetensors_file_is_listed(client: HuggingFace, hub: Hub) -> None:
    found = {listing.id: listing for listing in listed(client)}
    assert found.keys() == {"ann/ink", "ann/neon", "bob/cat", "eve/pickle"}
    ink, repo = found["ann/ink"], hub.repos["ann/ink"]
    blob = repo.head.blobs["lora.safetensors"]
    assert (ink.version, ink.sha256, ink.size) == (repo.head.sha, blob.sha256, blob.size)
    assert (ink.license, ink.base_model, ink.base) == ("mit", "black-forest-labs/FLUX.1-dev", "flux.1-dev")
    assert (ink.permissions.commercial, ink.trigger_words, ink.downloads) == (True, ("word0",), 7)
    assert ink.url == f"{client.source.endpoint}/ann/ink/resolve/{ink.version}/lora.safetensors"
    assert [rendering.sha256 for rendering in ink.renderings] == [
        repo.head.blobs[f"images/{number}.png"].sha256 for number in range(RULES.max_renderings)
    ]
    assert ink.renderings[0].prompt == "a cat, word0"
    assert (ink.first_seen, ink.updated) == (TODAY, "2026-01-01T00:00:00Z")


def test_what_is_known_costs_listing_pages_only(client: HuggingFace, hub: Hub) -> None:
    first = listed(client)
    assert hub.requests()["tree"] == 4
    hub.change({"reset": True})
    assert listed(client, by_url(first)) == first
    assert hub.requests()["listing"] == 2 and "tree" not in hub.requests()
    hub.change({"license": ["ann/ink", "cc0-1.0"], "reset": True})
    assert listed(client, by_url(first)) != first
    assert hub.requests()["tree"] == 1


def test_more_pictures_are_asked_for_when_the_rules_want_more(client: HuggingFace, hub: Hub) -> None:
    few = listed(client)
    many = listed(client, by_url(few), max_renderings=3)
    assert {len(listing.renderings) for listing in many} == {3}
    hub.change({"reset": True})
    assert listed(client, by_url(many)) == few
    assert "tree" not in hub.requests()


def test_a_repository_that_leaves_meanwhile_is_passed_over(client: HuggingFace, hub: Hub) -> None:
    hub.change({"fail": {"kind": "tree", "path": "ann/ink", "status": 404}})
    assert {listing.id for listing in listed(client)} == {"ann/neon", "bob/cat", "eve/pickle"}


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_that_says_nothing_of_the_repository_is_an_error(
    client: HuggingFace, hub: Hub, status: int
) -> None:
    hub.change({"fail": {"kind": "tree", "path": "ann/ink", "status": status}})
    with pytest.raises(HubError, match=f"answered {status}"):
        listed(client)


def test_a_file_arrives(client: HuggingFace, tmp_path: Path) -> None:
    for listing in listed(client):
        assert client.download(listing.url, tmp_path / "file", listing.size or 0) == listing.sha256


@pytest.mark.parametrize("order", [{"status": 503}, {"status": 429}, {"status": 500}])
def test_a_busy_hub_is_an_error_in_the_end(client: HuggingFace, hub: Hub, order: dict[str, Any]) -> None:
    hub.change({"fail": {"kind": "tree", **order}})
    with pytest.raises(HubError, match=f"failed in 1 tries: it answered {order['status']}"):
        listed(client)


def test_how_a_repository_stands(client: HuggingFace, hub: Hub, httpserver: HTTPServer) -> None:
    assert client.standing("ann/ink") is Standing.THERE
    hub.change({"withdraw": "ann/ink"})
    assert client.standing("ann/ink") is Standing.ABSENT
    other = at(httpserver.url_for(""))
    for number, (status, code, message, standing) in enumerate(
        [
            (401, "RepoNotFound", "Repository not found", Standing.ABSENT),
            (403, "GatedRepo", "Access to model is restricted", Standing.WITHDRAWN),
            (403, "", "Access to this resource is disabled.", Standing.WITHDRAWN),
            (410, "", "", Standing.WITHDRAWN),
        ]
    ):
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        httpserver.expect_request(f"/api/models/a/{number}").respond_with_data("", status, headers)
        assert other.standing(f"a/{number}") is standing
    httpserver.expect_request("/api/models/a/gated").respond_with_json({"id": "a/gated", "gated": "auto"})
    assert other.standing("a/gated") is Standing.WITHDRAWN
    httpserver.expect_request("/api/models/a/token").respond_with_data("", 401)
    httpserver.expect_request("/api/models/a/list").respond_with_json([])
    httpserver.expect_request("/api/models/a/odd").respond_with_json({"gated": 7})
    for nonsense in ("a/token", "a/list", "a/odd", "../up", "a"):
        with pytest.raises(HubError):
            other.standing(nonsense)


@pytest.mark.parametrize("page", ["<html>", '{"error": "no"}', "null", '"text"', '[{"id": "a/b"', ""])
def test_pages_of_nonsense(httpserver: HTTPServer, page: str) -> None:
    httpserver.expect_request("/api/models").respond_with_data(page)
    with pytest.raises(HubError, match="answer"):
        listed(at(httpserver.url_for("")))


@pytest.mark.parametrize(
    "place", ["http://elsewhere.org/api/models?x", "/api/models?x", "{}/api/models", "{}/api/other?x", "{}"]
)
def test_a_next_page_elsewhere_is_not_followed(httpserver: HTTPServer, place: str) -> None:
    headers = {"Link": f'<{place.format(httpserver.url_for("").rstrip("/"))}>; rel="next"'}
    httpserver.expect_request("/api/models").respond_with_data("[]", headers=headers)
    with pytest.raises(HubError, match="names as its next page"):
        listed(at(httpserver.url_for(""), "secret"))


def test_a_cursor_from_elsewhere_is_not_asked(client: HuggingFace) -> None:
    with pytest.raises(HubError, match="is not asked"):
        client.page(RULES, "http://elsewhere.org/api/models?cursor=x", TODAY)


def test_a_page_that_names_itself_is_not_asked_for_ever(httpserver: HTTPServer) -> None:
    url = httpserver.url_for("/api/models?cursor=x")
    httpserver.expect_request("/api/models").respond_with_data("[]", headers={"Link": f'<{url}>; rel="next"'})
    with pytest.raises(HubError, match="names as its next page"):
        listed(at(httpserver.url_for("")))


def test_hostile_entries_are_problems_of_their_own(httpserver: HTTPServer) -> None:
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
    client = at(httpserver.url_for(""))
    page = client.page(RULES, None, TODAY)
    assert (len(page.problems), [(model.id, model.withdrawn) for model in page.models]) == (
        8,
        [("ann/ink", False), ("b/closed", True)],
    )
    assert page.unreadable == {"b/sha", "b/date", "b/files"}
    (listing,) = client.complete(page.models[0], RULES, {})
    assert (listing.file, listing.size, listing.sha256) == ("lora.safetensors", 10, None)
    assert listing.key == f"huggingface:ann/ink@{SHA}/lora.safetensors"
    assert client.complete(page.models[1], RULES, {}) == ()


@pytest.mark.parametrize("size", [-1, 10**30, 1.5, "10", None, True])
def test_a_size_that_is_none_leaves_a_file_out(httpserver: HTTPServer, size: Any) -> None:
    httpserver.expect_request("/api/models").respond_with_json([ITEM])
    httpserver.expect_request(f"/api/models/ann/ink/tree/{SHA}").respond_with_json(
        [{"path": "lora.safetensors", "size": size}]
    )
    assert listed(at(httpserver.url_for(""))) == []


def test_a_tree_comes_in_pages(httpserver: HTTPServer) -> None:
    tree = f"/api/models/ann/ink/tree/{SHA}"
    more = {"Link": f'<{httpserver.url_for(tree)}?cursor=2>; rel="next"'}
    entry = '[{"path": "%s.safetensors", "size": 5, "lfs": {"oid": "' + "b" * 64 + '"}}]'
    httpserver.expect_request("/api/models").respond_with_json([ITEM])
    httpserver.expect_request(tree, query_string="recursive=true").respond_with_data(
        entry % "lora", headers=more
    )
    httpserver.expect_request(tree, query_string="cursor=2").respond_with_data(entry % "ghost")
    found = listed(at(httpserver.url_for("")))
    assert [(one.file, one.sha256) for one in found] == [
        ("ghost.safetensors", "b" * 64),
        ("lora.safetensors", "b" * 64),
    ]


def test_the_official_client_asks_the_same(httpserver: HTTPServer) -> None:
    from huggingface_hub import HfApi

    seen: list[tuple[str, list[tuple[str, str]]]] = []

    def answer(request: Request) -> Response:
        seen.append((request.path, list(request.args.items(multi=True))))
        return Response(json.dumps([ITEM | {"_id": "1"}] if request.path == "/api/models" else []))

    httpserver.expect_request("/api/models").respond_with_handler(answer)
    httpserver.expect_request(f"/api/models/ann/ink/tree/{SHA}").respond_with_handler(answer)
    endpoint = httpserver.url_for("").rstrip("/")
    assert listed(at(endpoint)) == []
    ours, seen[:] = list(seen), []
    official = HfApi(endpoint=endpoint, token=False)
    expand: list[Any] = list(EXPAND)
    list(official.list_models(filter=list(RULES.filters), sort="last_modified", limit=100, expand=expand))
    list(official.list_repo_tree("ann/ink", recursive=True, revision=SHA))
    for (ours_path, ours_query), (path, query) in zip(ours, seen, strict=True):
        assert ours_path == path
        assert {(name, value.lower()) for name, value in ours_query} <= {
            (name, value.lower()) for name, value in query
        }
