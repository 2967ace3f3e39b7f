"""Injected faults in JSON responses, on each of the playground's hubs."""

import json
from collections.abc import Callable

import httpx2
import pytest

from playground.hubs.repos import HUBS
from tests.playground.conftest import LIST_PATHS, FaultyHub

each_hub = pytest.mark.parametrize("hub", HUBS)


@each_hub
def test_only_one_entry_is_corrupted(faulty: FaultyHub, hub: str) -> None:
    regular = faulty.entries(hub)
    for fault in ("missing-fields", "null-fields", "wrong-types"):
        faulty.fail(fault, hub=hub, kind="listing", entry="bob/cat")
        first, second = faulty.entries(hub)
        assert first == regular[0] and second != regular[1]
        faulty.fail(fault, hub=hub, kind="listing", field="tags")
        first, second = faulty.entries(hub)
        assert second == regular[1] and first.get("tags") != regular[0]["tags"]
        assert first["id"] == regular[0]["id"]
    faulty.fail("missing-fields", hub=hub, kind="listing")
    assert faulty.entries(hub)[0].keys() < regular[0].keys()


@each_hub
def test_wrong_lists_of_files(faulty: FaultyHub, hub: str) -> None:
    regular = json.dumps(faulty.files(hub))
    kind = "tree" if hub == "modelscope" else "info"
    digest = "".join(reversed(faulty.hub.repos["ann/ink"].head.blobs["lora.safetensors"].sha256))
    for fault, expected in (
        ("wrong-hash", digest),
        ("hostile-names", '"../../../lora.safetensors"'),
        ("truncated-files", ""),
        ("wrong-size", ""),
    ):
        faulty.fail(fault, hub=hub, kind=kind)
        corrupted = json.dumps(faulty.files(hub))
        assert corrupted != regular and expected.lower() in corrupted.lower(), fault
    faulty.fail("truncated-files", hub=hub, kind=kind)
    assert "lora.safetensors" not in json.dumps(faulty.files(hub))


@each_hub
def test_hostile_texts_dates_and_urls(faulty: FaultyHub, hub: str) -> None:
    faulty.fail("hostile-text", hub=hub, kind="listing")
    assert r"\u001b" in faulty.list_page(hub).text
    for fault, year in (("future-dates", "2099"), ("dates-1970", "1970")):
        faulty.fail(fault, hub=hub, kind="listing")
        response = faulty.list_page(hub)
        assert f"{year}-01-01T" in response.text and "2026-" not in response.text
        assert response.headers["Date"][12:16] in (year, str(int(year) - 1), str(int(year) + 1))
    faulty.fail("hostile-urls", hub=hub, kind="listing")
    assert ("169.254.169.254" in faulty.list_page(hub).text) == (hub != "modelscope")


@each_hub
def test_endless_empty_and_inconsistent_lists(faulty: FaultyHub, hub: str) -> None:
    ids = [entry["id"] for entry in faulty.entries(hub)]
    faulty.fail("endless-pages", hub=hub, times=50)
    urls = page_urls(faulty, hub, 20)
    assert len(set(urls)) == 20
    faulty.hub.change({"heal": True})
    faulty.fail("duplicate-ids", hub=hub)
    assert [entry["id"] for entry in faulty.entries(hub)] == [ids[0], ids[0], ids[1], ids[1]]
    faulty.fail("empty-page", hub=hub)
    assert len(page_urls(faulty, hub, 9)) == 2
    faulty.fail("empty-list", hub=hub)
    assert len(page_urls(faulty, hub, 9)) == 1
    faulty.fail("moving-entry", hub=hub)
    assert faulty.entries(hub)[0]["id"] == ids[0]
    assert faulty.entries(hub)[0]["id"] not in ids


def page_urls(faulty: FaultyHub, hub: str, limit: int) -> list[str]:
    """Return the URLs of the consecutive pages of a hub's list, at most `limit` of them."""
    urls: list[str] = [LIST_PATHS[hub]]
    while len(urls) < limit:
        url = NEXT_URL[hub](faulty.client.get(urls[-1]), len(urls))
        if not url:
            break
        urls.append(url)
    return urls


def next_numbered_url(response: httpx2.Response, page: int) -> str:
    """Return the URL of ModelScope's next page; empty after the last one."""
    data = response.json()["data"]
    has_next = data["total_count"] > page * data["page_size"]
    return f"{LIST_PATHS['modelscope']}&page_number={page + 1}" if has_next else ""


NEXT_URL: dict[str, Callable[[httpx2.Response, int], str]] = {
    "huggingface": lambda response, _: response.links.get("next", {}).get("url", ""),
    "civitai": lambda response, _: response.json()["metadata"].get("nextPage", ""),
    "modelscope": next_numbered_url,
}
