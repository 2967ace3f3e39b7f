"""Listings of the Hugging Face hub, from the playground's hub and from one that answers nonsense."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from autolora.errors import HubError
from autolora.hubs.directory import open_hub
from autolora.hubs.huggingface import HuggingFace
from autolora.params import HubParams, HubsParams
from autolora.records import Listing
from playground.hub import Hub, running
from tests.tiny_pool import RULES, make_pool

TODAY = datetime.date(2026, 1, 5)
SHA = "a" * 40


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(make_pool(tmp_path / "pool"), day=1, page_size=3)


@pytest.fixture
def huggingface(hub: Hub) -> Iterator[HuggingFace]:
    with running(hub) as endpoint:
        yield HuggingFace(endpoint, 5.0, 1, None)


def listed(huggingface: HuggingFace, known: list[Listing] | None = None, **rules: Any) -> list[Listing]:
    from dataclasses import replace

    return list(huggingface.listings(replace(RULES, **rules), known or [], TODAY))


def test_every_safetensors_file_is_listed(huggingface: HuggingFace, hub: Hub) -> None:
    found = {listing.id: listing for listing in listed(huggingface)}
    assert found.keys() == {"ann/ink", "ann/neon", "bob/cat", "eve/pickle"}
    ink, repo = found["ann/ink"], hub.repos["ann/ink"]
    blob = repo.head.blobs["lora.safetensors"]
    assert (ink.version, ink.sha256, ink.size) == (repo.head.sha, blob.sha256, blob.size)
    assert (ink.licence, ink.base_model, ink.trigger_words) == (
        "mit",
        "black-forest-labs/FLUX.1-dev",
        ("word0",),
    )
    assert ink.url == f"{huggingface.endpoint}/ann/ink/resolve/{ink.version}/lora.safetensors"
    assert [rendering.sha256 for rendering in ink.renderings] == [
        repo.head.blobs[f"images/{number}.png"].sha256 for number in range(RULES.max_renderings)
    ]
    assert ink.renderings[0].prompt == "a cat, word0"
    assert ink.first_seen == TODAY


def test_what_is_known_costs_listing_pages_only(huggingface: HuggingFace, hub: Hub) -> None:
    first = listed(huggingface)
    assert hub.requests()["tree"] == 4
    hub.change({"reset": True})
    assert listed(huggingface, first) == first
    assert hub.requests().keys() == {"listing", "paths"}
    hub.change({"licence": ["ann/ink", "cc0-1.0"], "reset": True})
    assert listed(huggingface, first) != first
    assert hub.requests()["tree"] == 1


def test_more_pictures_are_asked_for_when_the_rules_want_more(huggingface: HuggingFace, hub: Hub) -> None:
    few = listed(huggingface)
    many = listed(huggingface, few, max_renderings=3)
    assert {len(listing.renderings) for listing in many} == {3}
    hub.change({"reset": True})
    assert listed(huggingface, many) == few
    assert "tree" not in hub.requests()


def test_rules_spare_requests(huggingface: HuggingFace, hub: Hub) -> None:
    hub.change({"licence": ["ann/ink", "cc0-1.0"]})
    assert [listing.id for listing in listed(huggingface, licences=("cc0-1.0",))] == ["ann/ink"]
    assert hub.requests()["tree"] == 1
    assert listed(huggingface, max_file_mb=0.0001) == []


def test_a_repository_that_leaves_meanwhile_is_passed_over(huggingface: HuggingFace, hub: Hub) -> None:
    hub.change({"fail": {"kind": "tree", "path": "ann/ink", "status": 404}})
    assert {listing.id for listing in listed(huggingface)} == {"ann/neon", "bob/cat", "eve/pickle"}


def test_a_busy_hub_is_an_error_in_the_end(huggingface: HuggingFace, hub: Hub) -> None:
    hub.change({"fail": {"kind": "tree", "status": 503}})
    with pytest.raises(HubError, match="answered 503"):
        listed(huggingface)


def test_nobody_there() -> None:
    with pytest.raises(
        HubError, match=r"hub huggingface at http://127.0.0.1:1 cannot be reached: .* is it running"
    ):
        listed(HuggingFace("http://127.0.0.1:1", 1.0, 1, None))


@pytest.mark.parametrize("page", ["<html>", '{"error": "no"}', "null", '"text"'])
def test_pages_of_nonsense(httpserver: HTTPServer, page: str) -> None:
    httpserver.expect_request("/api/models").respond_with_data(page)
    with pytest.raises(HubError, match="answered"):
        listed(HuggingFace(httpserver.url_for("").rstrip("/"), 5.0, 1, None))


def test_a_next_page_elsewhere_is_not_followed(httpserver: HTTPServer) -> None:
    headers = {"Link": '<http://elsewhere.org/api/models>; rel="next"'}
    httpserver.expect_request("/api/models").respond_with_data("[]", headers=headers)
    with pytest.raises(HubError, match="sends its next page elsewhere"):
        listed(HuggingFace(httpserver.url_for("").rstrip("/"), 5.0, 1, "secret"))


def test_hostile_items_harm_only_themselves(httpserver: HTTPServer) -> None:
    files = [
        {"rfilename": "lora.safetensors"},
        {"rfilename": "../../up.safetensors"},
        {"rfilename": "ghost.safetensors"},
    ]
    good = {
        "id": "ann/ink",
        "sha": SHA,
        "siblings": files,
        "cardData": {"self": 1, "ignore_metadata_errors": 2},
    }
    items = [
        None,
        [],
        {"id": 3},
        {"id": "../x", "sha": SHA, "siblings": files},
        good,
        good,
        good | {"gated": "auto"},
    ]
    entries = [
        None,
        {"path": ["list"], "size": 3},
        {"path": "lora.safetensors", "size": 10, "lfs": {"oid": "not a hash"}},
        {"path": "ghost.safetensors", "size": "10"},
        {"path": "../../up.safetensors", "size": 10},
    ]
    httpserver.expect_request("/api/models").respond_with_json(items)
    httpserver.expect_request(f"/api/models/ann/ink/tree/{SHA}").respond_with_json(entries)
    (listing,) = listed(HuggingFace(httpserver.url_for("").rstrip("/"), 5.0, 1, None))
    assert (listing.file, listing.size, listing.sha256) == ("lora.safetensors", 10, None)
    assert listing.key == f"huggingface:ann/ink@{SHA}/lora.safetensors"


def test_the_directory_opens_hubs_by_name() -> None:
    params = HubsParams(huggingface=HubParams(endpoint="http://hub/"), timeout_s=3.0, attempts=2, downloads=4)
    assert open_hub("huggingface", params, "") == HuggingFace("http://hub", 3.0, 2, None)
    assert "secret" not in repr(open_hub("huggingface", params, "secret"))
    with pytest.raises(HubError, match="does not know"):
        open_hub("elsewhere", params, None)
