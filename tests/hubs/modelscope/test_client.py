"""The ModelScope client: against the playground's hub, one that answers nonsense, and what modelscope_hub asks."""

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
from autolora.hubs.modelscope import client as modelscope_client
from autolora.hubs.modelscope.client import ModelScope
from autolora.records import Listing
from playground.hub import Hub, running
from tests.support.tiny_pool import RULES, make_pool

TODAY = datetime.date(2026, 1, 5)
REVISION = "a" * 40
LIST, DETAIL, FILES = "/openapi/v1/models", "/api/v1/models/ann/ink", "/api/v1/models/ann/ink/repo/files"


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(make_pool(tmp_path / "pool"), day=1)


@pytest.fixture
def client(hub: Hub) -> Iterator[ModelScope]:
    with running(hub) as endpoint:
        yield at(f"{endpoint}/modelscope")


def at(endpoint: str) -> ModelScope:
    return ModelScope(Source("modelscope", endpoint.rstrip("/"), 5.0, 1, None))


def pages(client: ModelScope, **rules: Any) -> Iterator[Page]:
    cursor = None
    while True:
        page = client.page(replace(RULES, **rules), cursor, TODAY)
        yield page
        if not (cursor := page.next):
            return


def listed(client: ModelScope, known: Mapping[str, Listing] | None = None, **rules: Any) -> list[Listing]:
    models = [model for page in pages(client, **rules) for model in page.models]
    asked = replace(RULES, **rules)
    return [listing for model in models for listing in client.complete(model, asked, known or {})]


def asked_of(hub: Hub) -> dict[str, int]:
    counts = hub.requests()["modelscope"]
    return {kind: times for kind, times in counts.items() if kind != "paths"}


def test_every_safetensors_file_is_listed(client: ModelScope, hub: Hub, tmp_path: Path) -> None:
    (page,) = pages(client)
    assert [model.id for model in page.models] == ["eve/pickle", "bob/cat", "ann/neon", "ann/ink"]
    assert page.models[0].updated == datetime.datetime(2026, 1, 1, 3, tzinfo=datetime.UTC)
    draft = page.models[-1].drafts[0]
    assert (draft.file, draft.license, draft.base, draft.downloads) == ("", "mit", "flux.1-dev", 7)
    found = {listing.id: listing for listing in listed(client)}
    ink, repo = found["ann/ink"], hub.repos["ann/ink"]
    blob = repo.head.blobs["lora.safetensors"]
    assert (ink.file, ink.sha256, ink.size) == ("lora.safetensors", blob.sha256, blob.size)
    assert (ink.version, ink.updated) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
    assert (ink.license, ink.base_model, ink.base) == ("mit", "black-forest-labs/FLUX.1-dev", "flux.1-dev")
    assert [rendering.sha256 for rendering in ink.renderings] == [
        repo.head.blobs[f"images/{number}.png"].sha256 for number in range(RULES.max_renderings)
    ]
    for place in (ink, *ink.renderings):
        assert client.download(place.url, tmp_path / "file", 1_000_000) == place.sha256


def test_what_is_known_costs_listing_pages_only(client: ModelScope, hub: Hub) -> None:
    first = listed(client)
    hub.change({"reset": True})
    known = {listing.url: listing for listing in first}
    assert listed(client, known) == first
    assert [len(one.renderings) for one in listed(client, known, max_renderings=1)] == [1] * 4
    assert asked_of(hub) == {"listing": 2}
    hub.change({"license": ["ann/ink", "cc0-1.0"], "reset": True})
    again = {listing.id: listing for listing in listed(client, known)}
    assert (again["ann/ink"].license, again["ann/neon"]) == ("cc0-1.0", known[again["ann/neon"].url])
    assert asked_of(hub) == {"listing": 1, "info": 1, "tree": 1}


def test_searches_are_put_together(client: ModelScope) -> None:
    for searches in ((), ("flux", "neon"), ("neon", "ink", "cat", "pickle")):
        (page,) = pages(client, searches=searches)
        assert [model.id for model in page.models] == ["eve/pickle", "bob/cat", "ann/neon", "ann/ink"]
    (page,) = pages(client, searches=("no such",))
    assert page.models == ()


def test_pages_are_asked_for_by_number(client: ModelScope, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelscope_client, "PAGE", 3)
    first, second = pages(client)
    assert (first.next, second.next) == ("2", None)
    assert [model.id for model in (*first.models, *second.models)] == [
        "eve/pickle",
        "bob/cat",
        "ann/neon",
        "ann/ink",
    ]
    for cursor in ("0", "-1", "2; x", "99999", ""):
        with pytest.raises(HubError, match="no page number"):
            client.page(RULES, cursor, TODAY)


def test_how_a_model_stands(client: ModelScope, hub: Hub, httpserver: HTTPServer) -> None:
    assert client.standing("ann/ink") is Standing.THERE
    hub.change({"withdraw": "ann/ink"})
    assert client.standing("ann/ink") is Standing.ABSENT
    other = at(httpserver.url_for(""))
    for name, data, status, standing in (
        ("gated", {"ProtectedMode": 1}, 200, Standing.WITHDRAWN),
        ("private", {"Visibility": 1}, 200, Standing.WITHDRAWN),
        ("public", {"Visibility": 5}, 200, Standing.THERE),
        ("gone", {}, 410, Standing.WITHDRAWN),
    ):
        httpserver.expect_request(f"/api/v1/models/a/{name}").respond_with_json(legacy(data), status)
        assert other.standing(f"a/{name}") is standing
    httpserver.expect_request("/api/v1/models/a/token").respond_with_data("", 401)
    httpserver.expect_request("/api/v1/models/a/no").respond_with_json({"Success": False, "Data": {}})
    httpserver.expect_request("/api/v1/models/a/odd").respond_with_json(legacy({"private": 7}))
    for nonsense in ("a/token", "a/no", "a/odd", "../up"):
        with pytest.raises(HubError):
            other.standing(nonsense)


def test_what_leaves_meanwhile_is_passed_over(client: ModelScope, hub: Hub) -> None:
    hub.change({"fail": {"hub": "modelscope", "kind": "tree", "path": "ann/ink", "status": 404}})
    assert {listing.id for listing in listed(client)} == {"ann/neon", "bob/cat", "eve/pickle"}


def legacy(data: Any) -> dict[str, Any]:
    return {"Code": 200, "Success": True, "Data": data}


def model(id: Any = "ann/ink", time: Any = "2026-01-02T00:00:00Z", **more: Any) -> dict[str, Any]:
    return {"id": id, "last_modified": time, "license": "mit", "tags": ["LoRA"], "downloads": 3} | more


def serve_list(server: HTTPServer, models: list[Any], total: Any, page_size: int = 50) -> list[int]:
    """Serve a list by pages; return the numbers asked for."""
    asked: list[int] = []

    def answer(request: Request) -> Response:
        number = int(request.args["page_number"])
        asked.append(number)
        shown = models[(number - 1) * page_size : number * page_size]
        data = {"models": shown, "total_count": total, "page_number": number, "page_size": page_size}
        return Response(json.dumps({"success": True, "data": data}))

    server.expect_request(LIST).respond_with_handler(answer)
    return asked


def test_a_list_beyond_reach_is_reported(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [model(f"a/m{number}", 1767400000 - number) for number in range(120)]
    asked = serve_list(httpserver, models, 5000, page_size=3)
    monkeypatch.setattr(modelscope_client, "REACH", 6)
    (first, second) = pages(at(httpserver.url_for("")))
    assert (len(first.models), len(second.models), second.next, asked) == (3, 3, None, [1, 2])
    assert second.problems == (
        "the list of 'flux' shows the newest 6 models of 5000; what it does not show may be found by more words "
        "in crawl.searches",
    )


def test_a_list_that_ends_too_early_is_reported(httpserver: HTTPServer) -> None:
    serve_list(httpserver, [model(f"a/m{number}") for number in range(3)], 7, page_size=3)
    first, second = pages(at(httpserver.url_for("")))
    assert (first.problems, len(second.problems)) == ((), 1)
    assert second.problems[0] == "the list of 'flux' ends before page 2, though it has 7 models"


@pytest.mark.parametrize("total", [None, -1, "7", 10**30])
def test_a_total_that_is_none(httpserver: HTTPServer, total: Any) -> None:
    asked = serve_list(httpserver, [model(f"a/m{number}") for number in range(7)], total, page_size=3)
    assert sum(len(page.models) for page in pages(at(httpserver.url_for("")))) == 7
    assert asked == [1, 2, 3]


def test_a_list_that_is_not_sorted_is_read_at_once(httpserver: HTTPServer) -> None:
    times = [5, 9, 7, 1, 8, 2, 3]
    models = [model(f"a/m{time}", 1767400000 + time) for time in times]
    asked = serve_list(httpserver, [*models, model("a/never", None)], 8, page_size=3)
    (page,) = pages(at(httpserver.url_for("")))
    assert [one.id for one in page.models] == [f"a/m{time}" for time in sorted(times, reverse=True)]
    assert page.problems[0] == "the list of 'flux' is not sorted by last_modified: all of it was read"
    assert (len(page.problems), page.unreadable) == (2, {"a/never"})
    assert asked == [1, 2, 3]


@pytest.mark.parametrize(
    "answer",
    [
        "<html>", '{"success": true, "data": {"models": [', "null", "[]", '{"success": false, "data": {"models": []}}',
        '{"success": true, "data": null}', '{"success": true, "data": {"models": {}}}', '{"models": []}',
        '{"success": true, "data": {"models": [], "page_number": 2}}',
    ],
)  # fmt: skip
def test_pages_of_nonsense(httpserver: HTTPServer, answer: str) -> None:
    httpserver.expect_request(LIST).respond_with_data(answer)
    with pytest.raises(HubError, match="answer"):
        listed(at(httpserver.url_for("")))


def test_hostile_entries_are_problems_of_their_own(httpserver: HTTPServer) -> None:
    entries = [
        None, 10**30, [], {}, model("../up"), model(3), model("a/b", None), model("a/c", "never"), model(),
        model("a/gated", gated=True), model("a/e", private=7),
        model("a/odd", license=3, tags={"a": 1}, downloads=-1), model(),
    ]  # fmt: skip
    serve_list(httpserver, entries, len(entries))
    page = at(httpserver.url_for("")).page(RULES, None, TODAY)
    assert (len(page.problems), page.unreadable) == (9, {"a/b", "a/c", "a/e"})
    assert [(one.id, one.withdrawn, len(one.drafts)) for one in page.models] == [
        ("ann/ink", False, 1),
        ("a/gated", True, 0),
        ("a/odd", False, 1),
    ]
    odd = page.models[2].drafts[0]
    assert (odd.license, odd.downloads, odd.base, odd.nsfw_level) == (None, None, None, None)


def test_hostile_files(httpserver: HTTPServer) -> None:
    good = {
        "Path": "a b/lora.safetensors",
        "Type": "blob",
        "Size": 9,
        "Sha256": "B" * 64,
        "Revision": REVISION,
    }
    entries = [
        None, "text", {}, good, good | {"Path": "../x.safetensors"}, good | {"Path": 3},
        good | {"Path": "tree.safetensors", "Type": "tree"},
        good | {"Path": "odd.safetensors", "Size": -1, "Sha256": "x", "Revision": "../../etc"},
        good | {"Path": "a.png"}, good | {"Path": "b.PNG", "Sha256": None},
    ]  # fmt: skip
    serve_list(httpserver, [model()], 1)
    detail = {"BaseModel": [None, "black-forest-labs/FLUX.1-schnell"], "License": ["x"]}
    httpserver.expect_request(DETAIL).respond_with_json(legacy(detail))
    httpserver.expect_request(FILES).respond_with_json(legacy({"Files": entries}))
    first, second = listed(at(httpserver.url_for("")))
    assert (first.file, first.size, first.sha256, first.base) == (
        "a b/lora.safetensors", 9, "b" * 64, "flux.1-schnell",
    )  # fmt: skip
    assert first.url.endswith(f"{DETAIL}/repo?Revision={REVISION}&FilePath=a+b%2Flora.safetensors")
    assert (second.file, second.size, second.sha256) == ("odd.safetensors", None, None)
    assert "Revision=master&" in second.url
    assert [one.sha256 for one in first.renderings] == ["b" * 64, None]


def test_a_closed_model_gives_nothing(httpserver: HTTPServer) -> None:
    serve_list(httpserver, [model()], 1)
    httpserver.expect_request(DETAIL).respond_with_json(legacy({"ProtectedMode": 1}))
    httpserver.expect_request(FILES).respond_with_json(legacy({"Files": []}))
    assert listed(at(httpserver.url_for(""))) == []


def serve_files(server: HTTPServer, paths: list[str], most: int) -> list[tuple[str, str]]:
    """Serve the files of ann/ink, silently cut off after `most`; return what was asked for."""
    asked: list[tuple[str, str]] = []
    folders = {path.rsplit("/", depth)[0] for path in paths for depth in range(1, path.count("/") + 1)}
    tree = [(path, "blob") for path in paths] + [(path, "tree") for path in sorted(folders)]

    def answer(request: Request) -> Response:
        root, recursive = request.args.get("Root", ""), request.args["Recursive"] == "True"
        asked.append((root, request.args["Recursive"]))
        inside = f"{root}/" if root else ""
        shown = [(path, kind) for path, kind in tree if path.startswith(inside)]
        shown = [(path, kind) for path, kind in shown if recursive or "/" not in path.removeprefix(inside)]
        files = [{"Path": path, "Type": kind, "Size": 1, "Revision": REVISION} for path, kind in shown[:most]]
        return Response(json.dumps(legacy({"Files": files})))

    serve_list(server, [model()], 1)
    server.expect_request(DETAIL).respond_with_json(legacy({}))
    server.expect_request(FILES).respond_with_handler(answer)
    return asked


def test_a_list_of_files_that_was_cut_off_is_read_folder_by_folder(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modelscope_client, "REACH", 8)
    paths = [f"{folder}/{number}.safetensors" for folder in ("a", "a/b", "c") for number in range(5)]
    asked = serve_files(httpserver, [*paths, "z.safetensors"], most=8)
    page = at(httpserver.url_for("")).page(RULES, None, TODAY)
    found = at(httpserver.url_for("")).complete(page.models[0], RULES, {})
    assert sorted(one.file for one in found) == sorted([*paths, "z.safetensors"])
    assert asked[:2] == [("", "True"), ("", "False")] and len(asked) <= 7


def test_a_model_without_end_is_given_up(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelscope_client, "REACH", 2)
    monkeypatch.setattr(modelscope_client, "MAX_LISTINGS", 20)
    asked = serve_files(httpserver, ["/".join("abcdefghijklmnopq") + f"/{n}.bin" for n in range(9)], most=2)
    page = at(httpserver.url_for("")).page(RULES, None, TODAY)
    with pytest.raises(HubError, match="more than 20 requests would be needed"):
        at(httpserver.url_for("")).complete(page.models[0], RULES, {})
    assert len(asked) <= 20


def test_the_official_client_asks_the_same(httpserver: HTTPServer, tmp_path: Path) -> None:
    """Requests for a list, a page and files, of ours and of modelscope_hub, differ in no parameter but paging."""
    from modelscope_hub import HubApi

    seen: list[tuple[str, dict[str, str]]] = []

    def answer(request: Request) -> Response:
        seen.append((request.path, dict(request.args)))
        data = {"models": [model()], "total_count": 1, "page_number": 1, "page_size": 50, "Files": []}
        return Response(
            json.dumps({"Code": 200, "Success": True, "success": True, "Data": data, "data": data})
        )

    for path in (LIST, DETAIL, FILES):
        httpserver.expect_request(path).respond_with_handler(answer)
    endpoint = httpserver.url_for("").rstrip("/")
    assert listed(at(endpoint)) == []
    ours, seen[:] = list(seen), []
    official = HubApi(endpoint=endpoint)
    official.list_repos("model", search="flux", sort="last_modified", page_size=50, custom_tag="LoRA")
    official.legacy.get_repo_info("ann/ink", "model")
    official.list_repo_files("ann/ink", "model")
    assert seen == ours
