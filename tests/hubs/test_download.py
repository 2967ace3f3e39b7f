"""Downloads over real sockets from a hub that misbehaves."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from autolora.errors import HubError, RefusedFile
from autolora.hubs.download import Source, download
from playground.hub import Hub, running
from tests.tiny_pool import make_pool

FILE = "/ann/ink/resolve/main/lora.safetensors"
LIMIT = 1_000_000


class Fixture:
    """A hub, what a download from it needs, and how long it was waited for."""

    def __init__(self, hub: Hub, endpoint: str, folder: Path) -> None:
        self.hub, self.endpoint, self.target = hub, endpoint, folder / "x"
        self.waits: list[float] = []
        self.content = (folder / "pool/ann/ink/lora.safetensors").read_bytes()
        self.source = Source("huggingface", endpoint, 5.0, 3, "secret", self.waits.append)

    def download(self, path: str = FILE, limit: int = LIMIT) -> str:
        return download(self.source, self.endpoint + path, self.target, limit)

    def fail(self, **fault: Any) -> None:
        self.hub.change({"fail": {"kind": "weights", **fault}})


@pytest.fixture
def fixture(tmp_path: Path) -> Iterator[Fixture]:
    hub = Hub(make_pool(tmp_path / "pool"), day=1)
    with running(hub) as endpoint:
        yield Fixture(hub, endpoint, tmp_path)


def test_a_file_arrives_with_its_hash(fixture: Fixture) -> None:
    assert fixture.download() == hashlib.sha256(fixture.content).hexdigest()
    assert fixture.target.read_bytes() == fixture.content
    assert fixture.waits == []


def test_a_cut_body_is_resumed(fixture: Fixture) -> None:
    fixture.fail(body="cut", times=2)
    assert fixture.download() == hashlib.sha256(fixture.content).hexdigest()
    assert fixture.hub.requests()["weights"] == 3
    assert fixture.waits == [1.0, 2.0]


@pytest.mark.parametrize(
    ("fault", "wait_s"),
    [
        ({"status": 429, "retry_after": 7}, 7.0),
        ({"status": 503, "retry_after": 9999}, 60.0),
        ({"status": 503}, 1.0),
        ({"status": 429, "retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 1.0),
    ],
)
def test_a_busy_hub_is_waited_for(fixture: Fixture, fault: dict[str, Any], wait_s: float) -> None:
    fixture.fail(**fault)
    assert fixture.download() == hashlib.sha256(fixture.content).hexdigest()
    assert fixture.waits == [wait_s]


def test_patience_ends(fixture: Fixture) -> None:
    fixture.fail(status=503, times=9)
    with pytest.raises(HubError, match="in 3 tries: it answered 503"):
        fixture.download()
    assert len(fixture.waits) == 2


def test_what_is_not_there_is_not_asked_for_again(fixture: Fixture) -> None:
    with pytest.raises(HubError, match="answered 404; it was withdrawn"):
        fixture.download("/ann/gone/resolve/main/lora.safetensors")
    assert fixture.waits == []


def test_more_bytes_than_allowed_are_refused(fixture: Fixture) -> None:
    with pytest.raises(RefusedFile, match="larger than 100 bytes") as caught:
        fixture.download(limit=100)
    assert caught.value.code == "too-large"
    fixture.download(limit=len(fixture.content))


def test_nobody_there(tmp_path: Path) -> None:
    source = Source("huggingface", "http://127.0.0.1:1", 1.0, 3, None)
    with pytest.raises(HubError, match=r"cannot be reached: .*is it running"):
        download(source, "http://127.0.0.1:1/a/b", tmp_path / "x", LIMIT)


@pytest.mark.parametrize(
    "url", ["http://elsewhere.org/x", "file:///etc/passwd", "ftp://hub/x", "http://127.0.0.1/x"]
)
def test_only_https_or_the_hub_is_asked(fixture: Fixture, url: str) -> None:
    with pytest.raises(HubError, match="neither https nor at"):
        download(fixture.source, url, fixture.target, LIMIT)


def serve(server: HTTPServer, path: str, location: str) -> None:
    def answer(request: Request) -> Response:
        return Response(status=302, headers={"Location": location})

    server.expect_request(path).respond_with_handler(answer)


def test_redirects_are_checked_hop_by_hop(httpserver: HTTPServer, tmp_path: Path) -> None:
    endpoint = httpserver.url_for("").rstrip("/")
    source = Source("huggingface", endpoint, 5.0, 1, "secret")
    seen: list[str | None] = []

    def answer(request: Request) -> Response:
        seen.append(request.headers.get("Authorization"))
        return Response(b"content")

    httpserver.expect_request("/file").respond_with_handler(answer)
    serve(httpserver, "/near", "/file")
    serve(httpserver, "/far", f"http://127.0.0.1:{httpserver.port}/file")
    serve(httpserver, "/local", "file:///etc/passwd")
    serve(httpserver, "/loop", "/loop")
    assert download(source, f"{endpoint}/near", tmp_path / "x", 100) == hashlib.sha256(b"content").hexdigest()
    assert seen == ["Bearer secret"]
    for path in ("/far", "/local"):
        with pytest.raises(HubError, match="neither https nor at"):
            download(source, endpoint + path, tmp_path / "x", 100)
    with pytest.raises(HubError, match="more than 5 redirects"):
        download(source, f"{endpoint}/loop", tmp_path / "x", 100)


def test_the_token_stays_with_its_hub(
    httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host: `127.0.0.1` is not `localhost`; its scheme is let pass, as if it were https."""
    seen: list[str | None] = []

    def answer(request: Request) -> Response:
        seen.append(request.headers.get("Authorization"))
        return Response(b"content")

    httpserver.expect_request("/file").respond_with_handler(answer)
    serve(httpserver, "/far", f"http://127.0.0.1:{httpserver.port}/file")
    monkeypatch.setattr("autolora.hubs.download._check_url", lambda source, url: None)
    source = Source("huggingface", httpserver.url_for("").rstrip("/"), 5.0, 1, "secret")
    download(source, httpserver.url_for("/far"), tmp_path / "x", 100)
    assert seen == [None]
    assert "secret" not in repr(source)


def test_a_wrong_range_starts_over(httpserver: HTTPServer, tmp_path: Path) -> None:
    asked: list[str | None] = []

    def answer(request: Request) -> Response:
        asked.append(request.headers.get("Range"))
        if len(asked) == 1:
            return Response(iter([b"0123"]), headers={"ETag": '"v1"', "Content-Length": "10"})
        if len(asked) == 2:
            return Response(b"45", 206, headers={"ETag": '"v1"', "Content-Range": "bytes 6-7/10"})
        return Response(b"0123456789", headers={"ETag": '"v1"'})

    httpserver.expect_request("/file").respond_with_handler(answer)
    source = Source("huggingface", httpserver.url_for("").rstrip("/"), 5.0, 3, None, lambda _: None)
    download(source, httpserver.url_for("/file"), tmp_path / "x", 100)
    assert (tmp_path / "x").read_bytes() == b"0123456789"
    assert asked == [None, "bytes=4-", None]
