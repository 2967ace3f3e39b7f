"""Downloads over real sockets: statuses, retries, size limits, rates and local failures."""

import resource
import socket
import threading
import time
from pathlib import Path

import pytest

from autolora.errors import DiskFull, HubError, RefusedFile
from autolora.hubs.http.download import download
from autolora.hubs.http.endpoint import TOKEN_VARIABLES, Endpoint, RateLimiter
from tests.hubs.http.download_fixture import (
    COMPLETE,
    CONTENT,
    ETAG,
    HALF,
    LIMIT,
    SHA256,
    TRUNCATED,
    Downloader,
    remainder,
)
from tests.support.sockets import Server, byte_by_byte, http_response, serve, stalling_after


def test_download_writes_the_file_and_returns_its_sha256(downloader: Downloader) -> None:
    with serve(COMPLETE) as server:
        assert downloader.download(server) == SHA256
    assert downloader.target.read_bytes() == CONTENT
    assert (downloader.waits, downloader.leftovers()) == ([], [])
    assert server.requests[0]["user-agent"] == "autolora"
    assert server.requests[0]["authorization"] == "Bearer secret"
    assert server.requests[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [
        (429, {"Retry-After": "7"}, 7.0),
        (429, {}, 1.0),
        (429, {"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}, 56.0),
        (503, {"Retry-After": "2", "Cache-Control": "no-store"}, 2.0),
        (500, {}, 1.0),
        (502, {"Retry-After": "soon"}, 1.0),
    ],
)
def test_retries_after_the_requested_delay(
    downloader: Downloader, status: int, headers: dict[str, str], wait_s: float
) -> None:
    with serve(http_response(b"no", status, headers), COMPLETE) as server:
        assert downloader.download(server) == SHA256
    assert downloader.waits == [wait_s]


def test_does_not_retry_if_the_requested_delay_is_too_long(downloader: Downloader) -> None:
    with (
        serve(http_response(b"no", 429, {"Retry-After": "9999"})) as server,
        pytest.raises(HubError, match="the hub asks to wait 9999 s, more than the 300 s limit"),
    ):
        downloader.download(server)
    assert (len(server.requests), downloader.waits) == (1, [])


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b"{}", "returned status 404; it may have been withdrawn"),
        (410, b'{"error":"Archived"}', "returned status 410; it was withdrawn.*Archived"),
        (
            401,
            b"{}",
            r"status 401; the file requires the hub's access token \(the token in CIVITAI_API_TOKEN was sent\)",
        ),
        (
            403,
            b'{"error":"Early Access","deadline":"x"}',
            "returned status 403.*early access.*TOKEN was.*Early Access",
        ),
        (418, b"", "returned status 418"),
    ],
)
def test_does_not_retry_unavailable_files(
    downloader: Downloader, status: int, body: bytes, message: str
) -> None:
    response = http_response(body, status, {"Content-Type": "application/json"})
    with serve(response) as server, pytest.raises(HubError, match=message):
        downloader.download(server)
    assert (downloader.waits, downloader.leftovers()) == ([], [])


def test_error_names_the_missing_token(downloader: Downloader) -> None:
    with serve(http_response(b"no", 401)) as server:
        for name, variable in TOKEN_VARIABLES.items():
            with pytest.raises(HubError, match=rf"401.*\(no token was sent: {variable} is not set\)"):
                downloader.download(server, name=name, token=None)


def test_retries_transient_statuses_of_the_hub(downloader: Downloader) -> None:
    with serve(http_response(b"no", 404), COMPLETE) as server:
        assert downloader.download(server, transient_statuses=(404,)) == SHA256
    with (
        serve(http_response(b"no", 404)) as server,
        pytest.raises(HubError, match="404; it may have been withdrawn"),
    ):
        downloader.download(server, transient_statuses=(404,))


@pytest.mark.parametrize(
    "response",
    [
        COMPLETE,
        http_response(CONTENT, headers={"Content-Length": ""}),
        http_response(b"%x\r\n%s\r\n0\r\n\r\n" % (len(CONTENT), CONTENT), 200,
                      {"Content-Length": "", "Transfer-Encoding": "chunked"}),
    ],
    ids=["content length", "no content length", "chunked"],
)  # fmt: skip
def test_refuses_files_above_the_size_limit(downloader: Downloader, response: bytes) -> None:
    with serve(response) as server:
        with pytest.raises(RefusedFile, match="larger than 100 bytes") as caught:
            downloader.download(server, limit=100)
        assert caught.value.code == "too-large"
        assert downloader.leftovers() == []
        assert downloader.download(server, limit=len(CONTENT)) == SHA256


def test_partial_file_never_exceeds_the_size_limit(downloader: Downloader) -> None:
    body = http_response(CONTENT, headers={"Content-Length": ""})
    with serve(body) as server, pytest.raises(RefusedFile):
        partial = downloader.partial(server)
        sizes: list[int] = []
        limiter = RateLimiter(float("inf"))
        limiter.acquire = lambda amount=1.0: sizes.append(  # type: ignore[method-assign]
            partial.path.stat().st_size
        )
        downloader.download(server, limit=HALF, bandwidth_limiter=limiter)
    assert all(size <= HALF for size in sizes)


def test_unreachable_hub_fails_without_retry(downloader: Downloader) -> None:
    with pytest.raises(HubError, match=r"cannot be reached: .*check the connection, that it is running"):
        downloader.download(Server("http://127.0.0.1:1"))
    assert downloader.waits == []


@pytest.mark.parametrize("start", [0, len(http_response(headers=ETAG))], ids=["headers", "body"])
def test_aborts_downloads_below_the_minimum_rate(downloader: Downloader, start: int) -> None:
    def send(connection: socket.socket) -> None:
        connection.sendall(COMPLETE[:start])
        byte_by_byte(COMPLETE[start:])(connection)

    with serve(send) as server, pytest.raises(HubError, match="is less than 1 kB/s"):
        downloader.download(server, timeout_s=1.5, min_kb_per_s=1.0, attempts=2)
    assert len(server.requests) == 2


def test_retries_after_a_stalled_response_times_out(downloader: Downloader) -> None:
    with serve(stalling_after(TRUNCATED), remainder(HALF)) as server:
        assert downloader.download(server, timeout_s=2.0) == SHA256


def test_bandwidth_is_limited(downloader: Downloader) -> None:
    slept: list[float] = []
    limiter = RateLimiter(1000.0, lambda: sum(slept), slept.append)
    with serve(COMPLETE) as server:
        downloader.download(server, bandwidth_limiter=limiter, timeout_s=60.0, min_kb_per_s=1e9)
    limiter.acquire(0)
    assert sum(slept) == pytest.approx(len(CONTENT) / 1000)


def test_redirects_and_retries_count_for_the_request_limit(downloader: Downloader) -> None:
    slept: list[float] = []
    limiter = RateLimiter(1.0, lambda: sum(slept), slept.append)
    redirect = http_response(b"", 302, {"Location": "/near"})
    with serve(redirect, http_response(b"", 503), COMPLETE) as server:
        downloader.download(server, request_limiter=limiter)
    assert slept == [1.0, 1.0]


@pytest.mark.parametrize(
    "content_type", ["text/html; charset=utf-8", "application/xhtml+xml", "Application/JSON"]
)
def test_rejects_an_error_page_instead_of_a_file(downloader: Downloader, content_type: str) -> None:
    page = http_response(b"<html>Please log in", headers={"Content-Type": content_type})
    with serve(page) as server, pytest.raises(HubError, match="instead of a file"):
        downloader.download(server)
    assert (downloader.waits, downloader.leftovers()) == ([], [])


def test_rejects_a_compressed_body(downloader: Downloader) -> None:
    compressed = http_response(CONTENT, headers={"Content-Encoding": "gzip"})
    with serve(compressed) as server, pytest.raises(HubError, match="'gzip', expected identity"):
        downloader.download(server)


@pytest.mark.parametrize(
    "response", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n", b"HTTP/1.1 200 OK\r\nA" * 9999]
)  # fmt: skip
def test_invalid_http_is_an_error_after_all_attempts(downloader: Downloader, response: bytes) -> None:
    with serve(response) as server, pytest.raises(HubError, match="in 3 attempts"):
        downloader.download(server)
    assert downloader.leftovers() == []


def test_full_disk_raises_disk_full_and_leaves_no_files(downloader: Downloader) -> None:
    """A limit on the file size stands in for a full disk: the kernel reports it by the same system call."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serve(COMPLETE) as server, pytest.raises(DiskFull, match=r"disk .*incoming is full \(.*\)"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, before[1]))
        try:
            downloader.download(server)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (downloader.waits, downloader.leftovers()) == ([], [])
    assert not downloader.target.exists()


def test_concurrent_downloads_of_one_url_do_not_mix(tmp_path: Path) -> None:
    with serve(COMPLETE) as server:
        endpoint = Endpoint("civitai", server.endpoint, 60.0, 10_000, None, lambda _: time.sleep(0.005))
        hashes: dict[int, str] = {}

        def fetch(number: int) -> None:
            hashes[number] = download(endpoint, f"{server.endpoint}/file", tmp_path / str(number), LIMIT)

        threads = [threading.Thread(target=fetch, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert hashes == dict.fromkeys(range(4), SHA256)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3"]
