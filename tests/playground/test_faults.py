"""What the playground's hub does when it is told to fail, on each of its three hubs."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from playground.hub import Hub, running
from playground.hubs.faults import FAULTS
from playground.hubs.repos import HUBS
from tests.support.tiny_pool import make_pool

ROOT = Path(__file__).parents[2]
LISTS = {
    "huggingface": "/api/models?sort=lastModified&full=true&cardData=true",
    "civitai": "/civitai/api/v1/models?sort=Newest",
    "modelscope": "/modelscope/openapi/v1/models?page_size=2",
}
STATUSES = ("401", "403", "404", "410", "429", "500", "502", "503", "503-retry-after")
STATUSES += ("429-retry-after", "429-retry-date", "429-ratelimit")
BROKEN = (httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.ReadTimeout)


class Fixture:
    """A hub that is about to fail, and a client without patience."""

    def __init__(self, hub: Hub, endpoint: str, pool: Path) -> None:
        self.hub, self.endpoint = hub, endpoint
        self.client = httpx2.Client(base_url=endpoint, timeout=2, headers={"Accept-Encoding": "identity"})
        self.content = (pool / "ann/ink/lora.safetensors").read_bytes()

    def fail(self, fault: str, **order: Any) -> None:
        self.hub.change({"fail": {"fault": fault, **order}})

    def page(self, hub: str) -> httpx2.Response:
        return self.client.get(LISTS[hub])

    def info(self, hub: str) -> Any:
        number = self.hub.numbers.model(self.hub.repos["ann/ink"])
        place = {
            "huggingface": "/api/models/ann/ink?blobs=true",
            "civitai": f"/civitai/api/v1/models/{number}",
            "modelscope": "/modelscope/api/v1/models/ann/ink/repo/files?Recursive=True",
        }
        return self.client.get(place[hub]).json()

    def file(self, hub: str, follow: bool = True, **headers: str) -> httpx2.Response:
        number = self.hub.numbers.version(self.hub.repos["ann/ink"])
        place = {
            "huggingface": "/ann/ink/resolve/main/lora.safetensors",
            "civitai": f"/civitai/api/download/models/{number}",
            "modelscope": "/modelscope/models/ann/ink/resolve/master/lora.safetensors",
        }
        return self.client.get(place[hub], headers=headers, follow_redirects=follow)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Fixture]:
    pool = make_pool(tmp_path / "pool")
    hub = Hub(pool, day=1, page_size=2)
    with running(hub) as endpoint:
        yield Fixture(hub, endpoint, pool)


each_hub = pytest.mark.parametrize("hub", HUBS)


def entries(hub: str, page: Any) -> list[dict[str, Any]]:
    found = {"huggingface": lambda: page, "civitai": lambda: page["items"]}
    listed: list[dict[str, Any]] = found.get(hub, lambda: page["data"]["models"])()
    return listed


@each_hub
def test_a_status_comes_in_the_words_of_the_hub(failing: Fixture, hub: str) -> None:
    for fault in STATUSES:
        failing.fail(fault, hub=hub, kind="listing")
        answer = failing.page(hub)
        assert answer.status_code == int(fault[:3])
        assert {"huggingface": "error", "civitai": "error", "modelscope": "message"}[hub] in answer.json()
        assert ("Retry-After" in answer.headers) == ("retry" in fault)
        assert answer.headers.get("RateLimit") == ('"api";r=0;t=2' if "ratelimit" in fault else None)
        if fault.endswith("retry-after"):
            assert answer.headers["Retry-After"] == "2"
    assert failing.page(hub).status_code == 200


@each_hub
def test_gates_and_redirects(failing: Fixture, hub: str) -> None:
    failing.fail("gated", hub=hub)
    gated = failing.file(hub)
    assert gated.status_code in (401, 403)
    assert gated.headers.get("X-Error-Code") == ("GatedRepo" if hub == "huggingface" else None)
    for fault, host in (
        ("redirect-private", "10.255.255.1"),
        ("redirect-metadata", "169.254.169.254"),
        ("redirect-elsewhere", "elsewhere.invalid"),
    ):
        failing.fail(fault, hub=hub)
        assert httpx2.URL(failing.file(hub, follow=False).headers["Location"]).host == host
    failing.fail("redirect-file", hub=hub)
    assert failing.file(hub, follow=False).headers["Location"].startswith("file://")
    failing.fail("redirect-loop", hub=hub, times=99)
    with pytest.raises(httpx2.TooManyRedirects):
        failing.file(hub)
    failing.hub.change({"heal": True})
    failing.fail("expired-url", hub=hub)
    assert failing.file(hub).status_code == 403
    assert failing.file(hub).content == failing.content


@each_hub
def test_a_connection_breaks(failing: Fixture, hub: str) -> None:
    for fault in ("reset", "reset-midway", "cut-body", "length-long", "hang"):
        for ask in (failing.page, failing.file):
            failing.fail(fault, hub=hub, seconds=0.1)
            with pytest.raises(BROKEN):
                ask(hub)
    assert failing.file(hub).content == failing.content


@each_hub
def test_bodies_are_other_than_they_should_be(failing: Fixture, hub: str) -> None:
    size = len(failing.content)
    failing.fail("wrong-bytes", hub=hub, path="ann/ink")
    assert len(failing.file(hub).content) == size and failing.file(hub).content == failing.content
    failing.fail("length-short", hub=hub, kind="weights")
    assert failing.file(hub).content == failing.content[: size // 2]
    failing.fail("empty-body", hub=hub, kind="weights")
    empty = failing.file(hub)
    assert (empty.status_code, empty.content, empty.headers["Content-Length"]) == (200, b"", "0")
    failing.fail("hostile-filename", hub=hub)
    assert "../" in failing.file(hub).headers["Content-Disposition"]
    failing.fail("gzip", hub=hub, kind="weights")
    assert failing.file(hub).content == failing.content
    failing.fail("gzip-bomb", hub=hub, kind="weights", mb=20)
    bomb = failing.file(hub)
    assert len(bomb.content) == size + 20_000_000 and int(bomb.headers["Content-Length"]) < 10**6


@each_hub
def test_a_body_drips(failing: Fixture, hub: str) -> None:
    sound = failing.file(hub)
    failing.fail("drip", hub=hub, kind="weights", seconds=0.01)
    with failing.client.stream("GET", sound.url) as answer:
        pieces = [piece for _, piece in zip(range(3), answer.iter_raw(), strict=False)]
    assert b"".join(pieces) == failing.content[: sum(map(len, pieces))] and len(pieces[0]) < 10


@each_hub
def test_ranges_are_wrong(failing: Fixture, hub: str) -> None:
    for fault in ("wrong-range", "lying-range", "ignored-range"):
        failing.fail(fault, hub=hub, times=2)
        with pytest.raises(BROKEN):
            failing.file(hub)
        part = failing.file(hub, Range="bytes=100-")
        if fault == "ignored-range":
            assert (part.status_code, part.content) == (200, failing.content)
            continue
        begin = 101 if fault == "wrong-range" else 100
        assert part.status_code == 206
        assert part.headers["Content-Range"].startswith(f"bytes {begin}-")
        assert (part.content == failing.content[100:]) == (fault == "wrong-range")


@each_hub
def test_json_is_none(failing: Fixture, hub: str) -> None:
    for fault in ("html", "truncated-json", "deep-json", "not-utf8", "huge-number"):
        failing.fail(fault, hub=hub, kind="listing")
        answer = failing.page(hub)
        assert answer.status_code == 200
        with pytest.raises((ValueError, RecursionError)):
            answer.json()
    failing.fail("huge-page", hub=hub, kind="listing", mb=5)
    answer = failing.page(hub)
    assert len(answer.content) > 5_000_000 and answer.json() == failing.page(hub).json()


@each_hub
def test_an_entry_is_damaged_and_the_others_are_not(failing: Fixture, hub: str) -> None:
    sound = entries(hub, failing.page(hub).json())
    for fault in ("missing-fields", "null-fields", "wrong-types"):
        failing.fail(fault, hub=hub, kind="listing", entry="bob/cat")
        first, second = entries(hub, failing.page(hub).json())
        assert first == sound[0] and second != sound[1]
        failing.fail(fault, hub=hub, kind="listing", field="tags")
        first, second = entries(hub, failing.page(hub).json())
        assert second == sound[1] and first.get("tags") != sound[0]["tags"]
        assert first["id"] == sound[0]["id"]
    failing.fail("missing-fields", hub=hub, kind="listing")
    assert entries(hub, failing.page(hub).json())[0].keys() < sound[0].keys()


@each_hub
def test_hashes_sizes_names_and_lists_of_files_lie(failing: Fixture, hub: str) -> None:
    sound = json.dumps(failing.info(hub))
    digest = "".join(reversed(failing.hub.repos["ann/ink"].head.blobs["lora.safetensors"].sha256))
    for fault, seen in (
        ("wrong-hash", digest),
        ("hostile-names", '"../../../lora.safetensors"'),
        ("truncated-files", ""),
        ("wrong-size", ""),
    ):
        failing.fail(fault, hub=hub, kind="tree" if hub == "modelscope" else "info")
        told = json.dumps(failing.info(hub))
        assert told != sound and seen.lower() in told.lower(), fault
    failing.fail("truncated-files", hub=hub, kind="tree" if hub == "modelscope" else "info")
    assert "lora.safetensors" not in json.dumps(failing.info(hub))


@each_hub
def test_texts_dates_and_urls_are_hostile(failing: Fixture, hub: str) -> None:
    failing.fail("hostile-text", hub=hub, kind="listing")
    assert r"\u001b" in failing.page(hub).text
    for fault, year in (("future-dates", "2099"), ("dates-1970", "1970")):
        failing.fail(fault, hub=hub, kind="listing")
        answer = failing.page(hub)
        assert f"{year}-01-01T" in answer.text and "2026-" not in answer.text
        assert answer.headers["Date"][12:16] in (year, str(int(year) - 1), str(int(year) + 1))
    failing.fail("hostile-urls", hub=hub, kind="listing")
    assert ("169.254.169.254" in failing.page(hub).text) == (hub != "modelscope")


@each_hub
def test_lists_do_not_end_or_say_nothing(failing: Fixture, hub: str) -> None:
    sound = [entry["id"] for entry in entries(hub, failing.page(hub).json())]
    failing.fail("endless-pages", hub=hub, times=50)
    places = walk(failing, hub, 20)
    assert len(set(places)) == 20
    failing.hub.change({"heal": True})
    failing.fail("duplicate-ids", hub=hub)
    assert [entry["id"] for entry in entries(hub, failing.page(hub).json())] == [sound[0]] * 2 + [
        sound[1]
    ] * 2
    failing.fail("empty-page", hub=hub)
    assert len(walk(failing, hub, 9)) == 2
    failing.fail("empty-list", hub=hub)
    assert len(walk(failing, hub, 9)) == 1
    failing.fail("moving-entry", hub=hub)
    assert entries(hub, failing.page(hub).json())[0]["id"] == sound[0]
    assert entries(hub, failing.page(hub).json())[0]["id"] not in sound


def walk(failing: Fixture, hub: str, most: int) -> list[str]:
    """Return the places of the pages that follow each other, at most so many."""
    places: list[str] = [LISTS[hub]]
    while len(places) < most:
        answer = failing.client.get(places[-1])
        place = following[hub](answer, len(places))
        if not place:
            break
        places.append(place)
    return places


def next_number(answer: httpx2.Response, page: int) -> str:
    data = answer.json()["data"]
    more = data["total_count"] > page * data["page_size"]
    return f"{LISTS['modelscope']}&page_number={page + 1}" if more else ""


following: dict[str, Callable[[httpx2.Response, int], str]] = {
    "huggingface": lambda answer, _: answer.links.get("next", {}).get("url", ""),
    "civitai": lambda answer, _: answer.json()["metadata"].get("nextPage", ""),
    "modelscope": next_number,
}


def test_an_order_waits_and_counts(failing: Fixture) -> None:
    failing.fail("500", hub="civitai", kind="listing", after=1, times=2)
    failing.fail("404", path="no/such")
    assert [failing.page("civitai").status_code for _ in range(4)] == [200, 500, 500, 200]
    assert {failing.page(hub).status_code for hub in HUBS} == {200}


@pytest.mark.parametrize(
    "order",
    [
        {"fault": "laziness"},
        {"fault": "500", "hub": "github"},
        {"fault": "500", "kind": "weight"},
        {"fault": "500", "times": "often"},
        {"fault": "null-fields", "entry": "no/body"},
        {"fault": "status"},
        {"kind": "listing"},
        {"body": "boiled"},
    ],
    ids=str,
)
def test_an_order_that_is_none_is_refused(failing: Fixture, order: dict[str, Any]) -> None:
    assert failing.client.post("/_playground", json={"fail": order}).status_code == 400
    assert {failing.page(hub).status_code for hub in HUBS} == {200}


def test_the_table_is_printed_and_documented() -> None:
    command = [sys.executable, "-m", "playground.hub", "--list-faults"]
    printed = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout
    assert [line.split()[0] for line in printed.splitlines()] == list(FAULTS)
    readme = (ROOT / "playground/README.md").read_text()
    assert [name for name in FAULTS if f"`{name}`" not in readme] == []
