"""Injected faults in statuses, redirects and bodies, on each of the playground's hubs."""

import httpx2
import pytest

from playground.hubs.repos import HUBS
from tests.playground.conftest import FaultyHub

STATUSES = ("401", "403", "404", "410", "429", "500", "502", "503", "503-retry-after")
STATUSES += ("429-retry-after", "429-retry-date", "429-ratelimit")
BROKEN = (httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.ReadTimeout)
each_hub = pytest.mark.parametrize("hub", HUBS)


@each_hub
def test_statuses_have_the_hubs_error_format(faulty: FaultyHub, hub: str) -> None:
    for fault in STATUSES:
        faulty.fail(fault, hub=hub, kind="listing")
        response = faulty.list_page(hub)
        assert response.status_code == int(fault[:3])
        assert {"huggingface": "error", "civitai": "error", "modelscope": "message"}[hub] in response.json()
        assert ("Retry-After" in response.headers) == ("retry" in fault)
        assert response.headers.get("RateLimit") == ('"api";r=0;t=2' if "ratelimit" in fault else None)
        if fault.endswith("retry-after"):
            assert response.headers["Retry-After"] == "2"
    assert faulty.list_page(hub).status_code == 200


@each_hub
def test_gated_files_and_redirects(faulty: FaultyHub, hub: str) -> None:
    faulty.fail("gated", hub=hub)
    gated = faulty.download(hub)
    assert gated.status_code in (401, 403)
    assert gated.headers.get("X-Error-Code") == ("GatedRepo" if hub == "huggingface" else None)
    for fault, host in (
        ("redirect-private", "10.255.255.1"),
        ("redirect-metadata", "169.254.169.254"),
        ("redirect-elsewhere", "elsewhere.invalid"),
    ):
        faulty.fail(fault, hub=hub)
        assert httpx2.URL(faulty.download(hub, follow=False).headers["Location"]).host == host
    faulty.fail("redirect-file", hub=hub)
    assert faulty.download(hub, follow=False).headers["Location"].startswith("file://")
    faulty.fail("redirect-loop", hub=hub, times=99)
    with pytest.raises(httpx2.TooManyRedirects):
        faulty.download(hub)
    faulty.hub.change({"heal": True})
    faulty.fail("expired-url", hub=hub)
    assert faulty.download(hub).status_code == 403
    assert faulty.download(hub).content == faulty.content


@each_hub
def test_broken_connections(faulty: FaultyHub, hub: str) -> None:
    for fault in ("reset", "reset-midway", "cut-body", "length-long", "hang"):
        for request in (faulty.list_page, faulty.download):
            faulty.fail(fault, hub=hub, seconds=0.1)
            with pytest.raises(BROKEN):
                request(hub)
    assert faulty.download(hub).content == faulty.content


@each_hub
def test_wrong_bodies(faulty: FaultyHub, hub: str) -> None:
    size = len(faulty.content)
    faulty.fail("wrong-bytes", hub=hub, path="ann/ink")
    assert len(faulty.download(hub).content) == size and faulty.download(hub).content == faulty.content
    faulty.fail("length-short", hub=hub, kind="weights")
    assert faulty.download(hub).content == faulty.content[: size // 2]
    faulty.fail("empty-body", hub=hub, kind="weights")
    empty = faulty.download(hub)
    assert (empty.status_code, empty.content, empty.headers["Content-Length"]) == (200, b"", "0")
    faulty.fail("hostile-filename", hub=hub)
    assert "../" in faulty.download(hub).headers["Content-Disposition"]
    faulty.fail("gzip", hub=hub, kind="weights")
    assert faulty.download(hub).content == faulty.content
    faulty.fail("gzip-bomb", hub=hub, kind="weights", mb=20)
    bomb = faulty.download(hub)
    assert len(bomb.content) == size + 20_000_000 and int(bomb.headers["Content-Length"]) < 10**6


@each_hub
def test_slow_body_arrives_in_small_pieces(faulty: FaultyHub, hub: str) -> None:
    url = faulty.download(hub).url
    faulty.fail("slow-body", hub=hub, kind="weights", seconds=0.01)
    with faulty.client.stream("GET", url) as response:
        pieces = [piece for _, piece in zip(range(3), response.iter_raw(), strict=False)]
    assert b"".join(pieces) == faulty.content[: sum(map(len, pieces))] and len(pieces[0]) < 10


@each_hub
def test_wrong_ranges(faulty: FaultyHub, hub: str) -> None:
    for fault in ("wrong-range", "range-wrong-bytes", "ignored-range"):
        faulty.fail(fault, hub=hub, times=2)
        with pytest.raises(BROKEN):
            faulty.download(hub)
        part = faulty.download(hub, Range="bytes=100-")
        if fault == "ignored-range":
            assert (part.status_code, part.content) == (200, faulty.content)
            continue
        begin = 101 if fault == "wrong-range" else 100
        assert part.status_code == 206
        assert part.headers["Content-Range"].startswith(f"bytes {begin}-")
        assert (part.content == faulty.content[100:]) == (fault == "wrong-range")


@each_hub
def test_invalid_json(faulty: FaultyHub, hub: str) -> None:
    for fault in ("html", "truncated-json", "deep-json", "not-utf8", "huge-number"):
        faulty.fail(fault, hub=hub, kind="listing")
        response = faulty.list_page(hub)
        assert response.status_code == 200
        with pytest.raises((ValueError, RecursionError)):
            response.json()
    faulty.fail("huge-page", hub=hub, kind="listing", mb=5)
    response = faulty.list_page(hub)
    assert len(response.content) > 5_000_000 and response.json() == faulty.list_page(hub).json()
