"""Connections without a request are closed, so that they keep nobody out."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from autolora.web import connections, server
from tests.support.waiting import LIMIT_S
from tests.web.conftest import serving

HEADER = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def address(own_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """Yield host and port of a page with small bounds."""
    monkeypatch.setattr(connections, "HEADER_S", 0.3)
    monkeypatch.setattr(connections, "MAX_WAITING", 20)
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 16)
    with serving(own_root) as served:
        parts = urlsplit(served.url)
        yield parts.hostname or "", parts.port or 0


def connect(address: tuple[str, int], stack: ExitStack, sent: bytes = b"") -> socket.socket:
    connection = stack.enter_context(socket.create_connection(address, LIMIT_S))
    connection.sendall(sent)
    return connection


def status(connection: socket.socket) -> int:
    """Read one whole answer, which may come in several parts, and return its status."""
    response = HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def wait_until_closed(connection: socket.socket) -> bytes:
    """Return what the page sends until it closes a connection; raises TimeoutError if it does not."""
    received = b""
    try:
        while block := connection.recv(1 << 16):
            received += block
    except ConnectionError:
        pass
    return received


@pytest.mark.parametrize("sent", [b"", HEADER], ids=["silent", "half a header"])
def test_connections_without_a_request_keep_nobody_out(
    address: tuple[str, int], stack: ExitStack, sent: bytes
) -> None:
    """A page of 256 connections answered all others with 503, as long as these were held."""
    held = [connect(address, stack, sent) for _ in range(18)]
    assert {wait_until_closed(connection) for connection in held} == {b""}
    assert httpx2.get(f"http://{address[0]}:{address[1]}/health", timeout=LIMIT_S).status_code == 200


def test_single_bytes_do_not_extend_the_time_for_a_header(address: tuple[str, int], stack: ExitStack) -> None:
    dripping = connect(address, stack, HEADER)
    dripping.settimeout(0.05)
    for _ in range(int(LIMIT_S / 0.05)):
        try:
            dripping.sendall(b"x")
            if not dripping.recv(1):
                return
        except TimeoutError:
            continue
        except ConnectionError:
            return
    pytest.fail("the connection is still open")


def test_a_kept_connection_has_the_same_time_for_its_next_header(
    address: tuple[str, int], stack: ExitStack
) -> None:
    kept = connect(address, stack, HEADER + b"\r\n")
    assert status(kept) == 200
    kept.sendall(HEADER)
    assert b"HTTP/1.1" not in wait_until_closed(kept)


def test_a_request_whose_body_takes_longer_is_answered(address: tuple[str, int], stack: ExitStack) -> None:
    upload = b"POST /api/files?name=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    slow, silent = connect(address, stack, upload + b"x"), connect(address, stack)
    wait_until_closed(silent)
    slow.sendall(b"x")
    assert wait_until_closed(slow).startswith(b"HTTP/1.1 4")


def test_new_connections_close_the_one_that_waits_longest(
    address: tuple[str, int], stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEADER_S", 10 * LIMIT_S)
    monkeypatch.setattr(connections, "MAX_WAITING", 4)
    oldest, *_, newest = [connect(address, stack, sent) for sent in (b"", HEADER, b"", HEADER, b"")]
    assert wait_until_closed(oldest) == b""
    newest.sendall(HEADER + b"\r\n")
    assert status(newest) == 200


def test_a_kept_connection_waits_from_its_last_answer_on(
    address: tuple[str, int], stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEADER_S", 10 * LIMIT_S)
    monkeypatch.setattr(connections, "MAX_WAITING", 2)
    kept, silent = connect(address, stack), connect(address, stack)
    kept.sendall(HEADER + b"\r\n")
    assert status(kept) == 200
    connect(address, stack)
    assert wait_until_closed(silent) == b""
    kept.sendall(HEADER + b"\r\n")
    assert status(kept) == 200


def test_a_page_answers_while_more_connections_than_it_takes_are_kept_open(
    own_root: Path, stack: ExitStack
) -> None:
    """At the bounds that the page has: 300 are open at any time, one for each that is closed."""
    with serving(own_root) as served:
        parts = urlsplit(served.url)
        address = parts.hostname or "", parts.port or 0
        for number in range(600):
            connect(address, stack, (b"", HEADER)[number % 2])
            if number % 60 == 59:
                assert httpx2.get(f"{served.url}health", timeout=LIMIT_S).status_code == 200
