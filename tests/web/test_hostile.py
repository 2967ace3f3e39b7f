"""1,000 hostile requests: none reads a foreign file, changes anything, or makes the server fail or stop."""

import random
import re
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.attacks import ATTACKS, HARMLESS

SECRET = b"this file is none of the page's business"
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def state(root: Path) -> Callable[[], tuple[object, ...]]:
    """Return a function that returns what no hostile request may change: files of the project, and images."""
    (root / "secret.txt").write_bytes(SECRET)

    def read() -> tuple[object, ...]:
        paths = [
            path for path in root.rglob("*") if ".git" not in path.parts and "web_images" not in path.parts
        ]
        return tuple(sorted((str(path), path.stat().st_size) for path in paths if path.is_file()))

    return read


@pytest.mark.slow
@pytest.mark.long(full=1000, sample=60)
def test_a_hostile_request_does_not_succeed(
    url: str, state: Callable[[], tuple[object, ...]], seed: int
) -> None:
    draw, address = random.Random(seed), urlsplit(url)
    before, images = state(), fetch(f"{url}api/images")
    attack = draw.choice(ATTACKS)
    response = send(address.hostname or "", address.port or 0, attack(draw, address.netloc))
    note = f"{attack.__name__}: {response[:300]!r}"
    status = re.match(rb"HTTP/1\.1 (\d{3})", response)
    assert not response or status, note
    assert SECRET not in response and b"root:x:0" not in response and b"models:\n" not in response, note
    if status:
        assert 300 <= int(status[1]) < 500 or (int(status[1]) == 200 and attack in HARMLESS), note
    headers = response.partition(b"\r\n\r\n")[0].lower()
    assert b"injected" not in headers and b"access-control" not in headers and b"evil" not in headers, note
    assert (state(), fetch(f"{url}api/images")) == (before, images), note
    assert b"AutoLoRA" in fetch(url), note


def fetch(url: str) -> bytes:
    """Return what a friendly request gets."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        content: bytes = answer.read()
        return content


def send(host: str, port: int, request: bytes) -> bytes:
    """Send bytes and return all that the server sends until it closes the connection, or nothing more comes."""
    answer = b""
    with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65_536):
                answer += chunk
        except OSError:
            pass  # the server closes connections whose requests it does not read to the end
    return answer
