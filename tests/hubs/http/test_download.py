"""Downloads over real sockets, from hubs that do what they should not."""

import hashlib
import ipaddress
import json
import logging
import os
import random
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from autolora.errors import DiskFull, HubError, RefusedFile
from autolora.hubs.http.download import download
from autolora.hubs.http.endpoint import TOKENS, Source
from autolora.hubs.http.partial import keep_parts, part_of
from autolora.hubs.http.rate_limit import Pace
from autolora.hubs.http.transport import is_public
from tests.support.sockets import Server, dripping, hanging, reply, serving

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2
LIMIT = 1_000_000
TAG = {"ETag": '"v1"'}
WHOLE = reply(CONTENT, headers=TAG)
CUT = reply(CONTENT[:HALF], headers={**TAG, "Content-Length": str(len(CONTENT))})


def rest(start: int, **headers: str) -> bytes:
    told = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
    return reply(CONTENT[start:], 206, {**TAG, "Content-Range": told} | headers)


class Fixture:
    """A place for a download, and how long the hub was waited for."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "incoming" / "x"
        self.waits: list[float] = []

    def source(self, server: Server, **changes: Any) -> Source:
        given = Source("civitai", server.endpoint, 5.0, 3, "secret", self.waits.append)
        return replace(given, **changes)

    def download(self, server: Server, limit: int = LIMIT, **changes: Any) -> str:
        return download(self.source(server, **changes), f"{server.endpoint}/file", self.target, limit)

    def beside(self) -> list[str]:
        """What lies beside the target."""
        folder = self.target.parent
        return sorted(path.name[64:] for path in folder.iterdir() if path != self.target)


@pytest.fixture
def fixture(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path)


def test_a_file_arrives_with_its_hash(fixture: Fixture) -> None:
    with serving(WHOLE) as server:
        assert fixture.download(server) == SHA256
    assert fixture.target.read_bytes() == CONTENT
    assert (fixture.waits, fixture.beside()) == ([], [])
    assert server.requests[0]["user-agent"] == "autolora"
    assert server.requests[0]["authorization"] == "Bearer secret"
    assert server.requests[0]["accept-encoding"] == "identity"


def test_a_cut_body_is_resumed(fixture: Fixture) -> None:
    with serving(CUT, rest(HALF)) as server:
        assert fixture.download(server) == SHA256
    assert fixture.waits == [1.0]
    asked = [(request.get("range"), request.get("if-range")) for request in server.requests]
    assert asked == [(None, None), (f"bytes={HALF}-", '"v1"')]
    assert fixture.beside() == []


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
def test_a_busy_hub_is_waited_for(
    fixture: Fixture, status: int, headers: dict[str, str], wait_s: float
) -> None:
    with serving(reply(b"no", status, headers), WHOLE) as server:
        assert fixture.download(server) == SHA256
    assert fixture.waits == [wait_s]


def test_a_hub_that_asks_for_hours_is_left_alone(fixture: Fixture) -> None:
    with (
        serving(reply(b"no", 429, {"Retry-After": "9999"})) as server,
        pytest.raises(HubError, match="9999 s"),
    ):
        fixture.download(server)
    assert (len(server.requests), fixture.waits) == (1, [])


def test_patience_ends_and_what_has_come_is_kept(fixture: Fixture) -> None:
    with (
        serving(CUT, reply(b"no", 503)) as server,
        pytest.raises(HubError, match="in 3 tries: it answered 503"),
    ):
        fixture.download(server)
    assert fixture.beside() == [".part", ".part.json"]
    assert not fixture.target.exists()
    with serving(rest(HALF)) as later:
        source = fixture.source(later)
        moved = part_of(f"{later.endpoint}/file", fixture.target.parent)
        for old, new in zip(sorted(fixture.target.parent.iterdir()), (moved.path, moved.note), strict=True):
            old.rename(new)
        assert download(source, f"{later.endpoint}/file", fixture.target, LIMIT) == SHA256
    assert later.requests[0]["range"] == f"bytes={HALF}-"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"{}", "answered 404; it may have been withdrawn"),
        (410, b'{"error":"Archived"}', "answered 410; it was withdrawn.*Archived"),
        (401, b"{}", r"answered 401; it needs the hub's token \(the token in CIVITAI_API_TOKEN was sent\)"),
        (
            403,
            b'{"error":"Early Access","deadline":"x"}',
            "answered 403.*early access.*TOKEN was.*Early Access",
        ),
        (418, b"", "answered 418"),
    ],
)
def test_what_is_not_for_us_is_not_asked_for_again(
    fixture: Fixture, status: int, body: bytes, words: str
) -> None:
    answer = reply(body, status, {"Content-Type": "application/json"})
    with serving(answer) as server, pytest.raises(HubError, match=words):
        fixture.download(server)
    assert (fixture.waits, fixture.beside()) == ([], [])


def test_a_refusal_says_which_token_is_missing(fixture: Fixture) -> None:
    with serving(reply(b"no", 401)) as server:
        for name, variable in TOKENS.items():
            with pytest.raises(HubError, match=rf"401.*\(no token was sent: {variable} is not set\)"):
                fixture.download(server, name=name, token=None)


def test_a_fickle_hub_is_asked_again_before_it_is_believed(fixture: Fixture) -> None:
    with serving(reply(b"no", 404), WHOLE) as server:
        assert fixture.download(server, fickle=(404,)) == SHA256
    with (
        serving(reply(b"no", 404)) as server,
        pytest.raises(HubError, match="404; it may have been withdrawn"),
    ):
        fixture.download(server, fickle=(404,))


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE,
        reply(CONTENT, headers={"Content-Length": ""}),
        reply(b"%x\r\n%s\r\n0\r\n\r\n" % (len(CONTENT), CONTENT), 200,
              {"Content-Length": "", "Transfer-Encoding": "chunked"}),
    ],
    ids=["told", "untold", "chunked"],
)  # fmt: skip
def test_more_bytes_than_allowed_are_refused(fixture: Fixture, answer: bytes) -> None:
    with serving(answer) as server:
        with pytest.raises(RefusedFile, match="larger than 100 bytes") as caught:
            fixture.download(server, limit=100)
        assert caught.value.code == "too-large"
        assert fixture.beside() == []
        assert fixture.download(server, limit=len(CONTENT)) == SHA256


def test_a_part_is_never_larger_than_the_limit(fixture: Fixture) -> None:
    body = reply(CONTENT, headers={"Content-Length": ""})
    with serving(body) as server, pytest.raises(RefusedFile):
        part = part_of(f"{server.endpoint}/file", fixture.target.parent)
        sizes: list[int] = []
        pace = Pace(float("inf"))
        pace.take = lambda amount=1.0: sizes.append(part.path.stat().st_size)  # type: ignore[method-assign]
        fixture.download(server, limit=HALF, bandwidth=pace)
    assert all(size <= HALF for size in sizes)


def test_nobody_there(fixture: Fixture) -> None:
    with pytest.raises(HubError, match=r"cannot be reached: .*is it running"):
        fixture.download(Server("http://127.0.0.1:1"))
    assert fixture.waits == []


@pytest.mark.parametrize(
    "url",
    [
        "http://elsewhere.org/x",
        "http://10.0.0.1/x",
        "file:///etc/passwd",
        "ftp://hub/x",
        "//hub/x",
        "https://user:word@elsewhere.org/x",
        "http://127.0.0.1:1@elsewhere.org/x",
        "https:///x",
        "nonsense",
    ],
)
def test_only_https_or_the_hub_is_asked(fixture: Fixture, url: str) -> None:
    source = fixture.source(Server("http://127.0.0.1:1"))
    with pytest.raises(HubError, match="neither https nor at") as caught:
        download(source, url, fixture.target, LIMIT)
    assert "word" not in str(caught.value)


PRIVATE = (
    "0.0.0.0", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "[fe80::1]", "[fd00::1]",
    "[64:ff9b::a00:1]", "[2002:a00:1::]", "[::ffff:10.0.0.1]", "[::10.0.0.1]", "[fec0::1]",
    "167772161", "224.0.0.1", "255.255.255.255",
)  # fmt: skip
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1")


@pytest.mark.parametrize("host", PRIVATE)
def test_no_private_address_is_asked(fixture: Fixture, host: str) -> None:
    away = reply(b"", 302, {"Location": f"https://{host}/x"})
    with serving(away) as server, pytest.raises(HubError, match="no public address"):
        fixture.download(server)
    assert fixture.beside() == []


@pytest.mark.parametrize("host", [*PRIVATE, *LOOPBACK])
def test_a_hub_elsewhere_sends_nobody_to_this_machine(fixture: Fixture, host: str) -> None:
    with serving(WHOLE) as server:
        source = fixture.source(Server("https://civitai.com"))
        url = f"https://{host}:{server.endpoint.rpartition(':')[2]}/x"
        with pytest.raises(HubError, match="no public address"):
            download(source, url, fixture.target, LIMIT)
        with pytest.raises(HubError, match="neither https nor at"):
            download(source, url.replace("https", "http"), fixture.target, LIMIT)
    assert (server.requests, fixture.beside()) == ([], [])


def test_a_hub_on_this_machine_may_send_to_another_port_without_its_token(fixture: Fixture) -> None:
    with serving(WHOLE) as other:
        away = reply(b"", 302, {"Location": other.endpoint.replace("127.0.0.1", "localhost")})
        with serving(away) as server:
            assert fixture.download(server) == SHA256
    assert "authorization" not in other.requests[0]


def test_public_addresses_are_public() -> None:
    for text in ("93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"):
        assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/loop", "more than 5 redirects"),
        ("http://10.0.0.1/x", "neither https nor at"),
        ("http://example.org/x", "neither https nor at"),
        ("http://127.0.0.1:1/x", "cannot be reached"),
        ("file:///etc/passwd", "neither https nor at"),
        ("http://hub:port/x", "is no URL"),
        ("", "neither https nor at"),
    ],
)
def test_redirects_are_checked_hop_by_hop(fixture: Fixture, location: str, words: str) -> None:
    with serving(reply(b"", 302, {"Location": location})) as server, pytest.raises(HubError, match=words):
        fixture.download(server)
    assert fixture.beside() == []


def test_a_redirect_within_the_hub_is_followed_with_its_token(fixture: Fixture) -> None:
    with serving(reply(b"", 307, {"Location": "/near?x=1"}), WHOLE) as server:
        assert fixture.download(server) == SHA256
    assert [(asked[":path"], asked["authorization"]) for asked in server.requests] == [
        ("/file", "Bearer secret"),
        ("/near?x=1", "Bearer secret"),
    ]


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    """An https server of another host than the hub: `localhost`, not 127.0.0.1."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    order = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
    order += f" -addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}"
    subprocess.run(order.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with HTTPServer(host="127.0.0.1", ssl_context=context) as server:
        yield server


def test_the_token_stays_with_its_hub(fixture: Fixture, storage: HTTPServer) -> None:
    seen: list[Any] = []

    def answer(request: Request) -> Response:
        seen.append((request.headers.get("Authorization"), request.headers["Host"]))
        return Response(CONTENT)

    storage.expect_request("/far").respond_with_handler(answer)
    far = f"https://localhost:{storage.port}/far?Signature=hush"
    with serving(reply(b"", 302, {"Location": far})) as server:
        assert fixture.download(server) == SHA256
        assert "secret" not in repr(fixture.source(server))
    assert seen == [(None, f"localhost:{storage.port}")]


def test_a_certificate_of_another_name_is_refused(fixture: Fixture, storage: HTTPServer) -> None:
    far = f"https://127.0.0.1:{storage.port}/far"
    words = r"127\.0\.0\.1 cannot be reached.*certificate"
    with serving(reply(b"", 302, {"Location": far})) as server, pytest.raises(HubError, match=words):
        fixture.download(server)


def test_an_expired_link_is_begun_again_at_its_first_url(
    fixture: Fixture, storage: HTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    storage.expect_request("/far", query_string="Signature=old").respond_with_data("Expired", status=403)
    storage.expect_request("/far", query_string="Signature=new").respond_with_data(CONTENT)
    far = f"https://localhost:{storage.port}/far?Signature="
    first, then = (reply(b"", 302, {"Location": far + word}) for word in ("old", "new"))
    with serving(first, then) as server:
        assert fixture.download(server) == SHA256
    assert fixture.waits == [1.0]
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("autolora"))
    assert "the link to it has expired" in ours and "Signature" not in ours


def test_a_name_that_resolves_differently_the_second_time_gains_nothing(
    fixture: Fixture, storage: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, asked = socket.getaddrinfo, []

    def rebinding(host: str, *rest: Any, **more: Any) -> Any:
        if host == "localhost":
            asked.append(host)
            host = "127.0.0.1" if len(asked) == 1 else "10.0.0.1"
        return resolve(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    storage.expect_request("/far").respond_with_data(CONTENT)
    far = reply(b"", 302, {"Location": f"https://localhost:{storage.port}/far"})
    with serving(far) as server:
        assert fixture.download(server) == SHA256
        assert asked == ["localhost"]
    with serving(far) as other, pytest.raises(HubError, match=r"localhost is at 10\.0\.0\.1"):
        fixture.download(other)


@pytest.mark.parametrize(
    "second",
    [
        reply(CONTENT[HALF + 1 :], 206, {**TAG, "Content-Range": f"bytes {HALF + 1}-{len(CONTENT) - 1}/*"}),
        reply(CONTENT[HALF:], 206, {**TAG, "Content-Range": f"bytes {HALF}-{len(CONTENT) - 1}/{LIMIT}"}),
        reply(CONTENT[HALF:], 206, {**TAG, "Content-Range": f"bytes {HALF}-{len(CONTENT)}/{len(CONTENT) + 1}"}),
        reply(CONTENT[HALF:], 206, TAG),
        rest(HALF, ETag='"v2"'),
        reply(b"", 416, {"Content-Range": "bytes */5"}),
        reply(b"", 416),
    ],
    ids=["gap", "other size", "longer", "no range", "other version", "too far", "no size"],
)  # fmt: skip
def test_a_range_that_does_not_fit_starts_over(fixture: Fixture, second: bytes) -> None:
    with serving(CUT, second, WHOLE) as server:
        assert fixture.download(server) == SHA256
    assert [request.get("range") for request in server.requests] == [None, f"bytes={HALF}-", None]


def test_a_file_that_changed_is_taken_anew(fixture: Fixture) -> None:
    with serving(CUT, reply(CONTENT[::-1], headers={"ETag": '"v2"'})) as server:
        fixture.download(server)
    assert fixture.target.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("tag", [{}, {"ETag": 'W/"v1"'}, {"ETag": "v1"}])
def test_without_a_firm_version_nothing_is_resumed(fixture: Fixture, tag: dict[str, str]) -> None:
    cut = reply(CONTENT[:HALF], headers={**tag, "Content-Length": str(len(CONTENT))})
    with serving(cut, WHOLE) as server:
        assert fixture.download(server) == SHA256
    assert [request.get("range") for request in server.requests] == [None, None]


def test_a_partial_answer_that_nobody_asked_for_is_not_taken(fixture: Fixture) -> None:
    with serving(rest(HALF)) as server, pytest.raises(HubError, match="another range"):
        fixture.download(server)


def test_what_is_whole_already_is_not_asked_for(fixture: Fixture) -> None:
    server = Server("http://127.0.0.1:1")
    part = part_of(f"{server.endpoint}/file", fixture.target.parent)
    part.path.parent.mkdir()
    part.path.write_bytes(CONTENT)
    part.describe(None, len(CONTENT))
    assert fixture.download(server) == SHA256


def test_a_whole_part_of_untold_size_is_asked_for_its_end(fixture: Fixture) -> None:
    with serving(reply(b"", 416, {"Content-Range": f"bytes */{len(CONTENT)}"})) as server:
        part = part_of(f"{server.endpoint}/file", fixture.target.parent)
        part.path.parent.mkdir()
        part.path.write_bytes(CONTENT)
        part.describe('"v1"', None)
        assert fixture.download(server) == SHA256


NOTES = (
    "", "[]", '{"etag": 5}', '{"etag": 5, "total": 99}', r'{"etag": "\"v1\"", "total": "9"}',
    r'{"etag": "\"v1\"", "total": 7}',
)  # fmt: skip


@pytest.mark.parametrize("note", NOTES)
def test_a_part_without_a_note_of_its_own_is_begun_anew(fixture: Fixture, note: str) -> None:
    with serving(WHOLE) as server:
        part = part_of(f"{server.endpoint}/file", fixture.target.parent)
        part.path.parent.mkdir()
        part.path.write_bytes(b"something else")
        part.note.write_text(note)
        assert fixture.download(server) == SHA256
    assert "range" not in server.requests[0]


KILLED = """
import sys
from pathlib import Path
from autolora.hubs.http.download import download
from autolora.hubs.http.endpoint import Source
endpoint, target = sys.argv[1:]
download(Source("civitai", endpoint, 20.0, 1, None), endpoint + "/file", Path(target), 10**6)
"""


def test_a_killed_process_is_gone_on_with(fixture: Fixture) -> None:
    head = CUT[: -HALF // 2]
    with serving(hanging(head), rest(HALF // 2)) as server:
        part = part_of(f"{server.endpoint}/file", fixture.target.parent)
        process = subprocess.Popen([sys.executable, "-c", KILLED, server.endpoint, str(fixture.target)])
        deadline = time.monotonic() + 30
        while not (part.path.exists() and part.path.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert part.path.read_bytes() == CONTENT[: HALF // 2]
        assert json.loads(part.note.read_text()) == {"etag": '"v1"', "total": len(CONTENT)}
        assert fixture.download(server) == SHA256
    assert server.requests[1]["range"] == f"bytes={HALF // 2}-"
    assert fixture.beside() == []


@pytest.mark.parametrize("start", [0, len(reply(headers=TAG))], ids=["headers", "body"])
def test_a_slow_drip_is_given_up(fixture: Fixture, start: int) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(WHOLE[:start])
        dripping(WHOLE[start:])(connection)

    with serving(drip) as server, pytest.raises(HubError, match="are less than 1 kB/s"):
        fixture.download(server, timeout_s=0.3, min_kb_per_s=1.0, attempts=2)
    assert len(server.requests) == 2


def test_a_hub_that_stops_in_the_middle_is_not_waited_for_longer_than_the_timeout(fixture: Fixture) -> None:
    with serving(hanging(CUT), rest(HALF)) as server:
        assert fixture.download(server, timeout_s=0.2) == SHA256


def test_a_download_is_no_faster_than_allowed(fixture: Fixture) -> None:
    slept: list[float] = []
    pace = Pace(1000.0, lambda: sum(slept), slept.append)
    with serving(WHOLE) as server:
        fixture.download(server, bandwidth=pace, timeout_s=1.0, min_kb_per_s=1e9)
    pace.take(0)
    assert sum(slept) == pytest.approx(len(CONTENT) / 1000)


def test_a_turn_is_taken_for_every_request_to_the_hub(fixture: Fixture) -> None:
    slept: list[float] = []
    pace = Pace(1.0, lambda: sum(slept), slept.append)
    with serving(reply(b"", 302, {"Location": "/near"}), reply(b"", 503), WHOLE) as server:
        fixture.download(server, requests=pace)
    assert slept == [1.0, 1.0]


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/xhtml+xml", "Application/JSON"])
def test_a_page_in_place_of_a_file_is_refused(fixture: Fixture, kind: str) -> None:
    page = reply(b"<html>Please log in", headers={"Content-Type": kind})
    with serving(page) as server, pytest.raises(HubError, match="in place of a file"):
        fixture.download(server)
    assert (fixture.waits, fixture.beside()) == ([], [])


def test_a_packed_body_is_refused(fixture: Fixture) -> None:
    packed = reply(CONTENT, headers={"Content-Encoding": "gzip"})
    with serving(packed) as server, pytest.raises(HubError, match="encoding"):
        fixture.download(server)


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n", b"HTTP/1.1 200 OK\r\nA" * 9999]
)  # fmt: skip
def test_what_is_no_http_is_nonsense(fixture: Fixture, answer: bytes) -> None:
    with serving(answer) as server, pytest.raises(HubError, match="in 3 tries"):
        fixture.download(server)
    assert fixture.beside() == []


def test_a_full_disk_is_named_and_nothing_half_written_stays(fixture: Fixture) -> None:
    """What ends this disk is a limit on the size of a file, which the kernel reports in the same place."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(WHOLE) as server, pytest.raises(DiskFull, match=r"the disk of .*incoming is full \(.*\)"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, before[1]))
        try:
            fixture.download(server)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (fixture.waits, fixture.beside()) == ([], [])
    assert not fixture.target.exists()


def test_two_downloads_of_one_url_do_not_mix(tmp_path: Path) -> None:
    with serving(WHOLE) as server:
        source = Source("civitai", server.endpoint, 5.0, 50, None, lambda _: time.sleep(0.005))
        found: dict[int, str] = {}

        def fetch(number: int) -> None:
            found[number] = download(source, f"{server.endpoint}/file", tmp_path / str(number), LIMIT)

        threads = [threading.Thread(target=fetch, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == dict.fromkeys(range(4), SHA256)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3"]


@pytest.mark.long(full=2000, sample=8)
def test_whatever_happens_a_file_is_whole_or_not_there(tmp_path: Path, seed: int) -> None:
    """A hub that cuts, refuses, contradicts itself and changes the file in between; never a mixture of two files."""
    draw = random.Random(seed)
    files = [draw.randbytes(draw.randrange(1, 200_000)) for _ in range(2)]
    target, limit = tmp_path / "incoming" / "x", max(map(len, files))
    with ExitStack() as stack:
        server = stack.enter_context(serving(lambda connection: misbehave(connection, server, files, draw)))
        source = Source("civitai", server.endpoint, 5.0, 2, None, lambda _: None)
        part = part_of(f"{server.endpoint}/file", target.parent)
        for _ in range(8):
            with suppress(HubError):
                sha256 = download(source, f"{server.endpoint}/file", target, limit)
                content = target.read_bytes()
                assert content in files and sha256 == hashlib.sha256(content).hexdigest()
                target.unlink()
            assert not target.exists()
            assert not part.path.exists() or 0 < part.path.stat().st_size <= limit
    keep_parts(target.parent, [])
    assert not target.parent.exists()


def misbehave(connection: socket.socket, server: Server, files: list[bytes], draw: random.Random) -> None:
    """Answer as a hub does that has a file, now this and now that, and is not well."""
    version = draw.choice([0, 0, 0, 1])
    content, asked = files[version], server.requests[-1]
    tag = {"ETag": f'"{version}"'} if draw.random() < 0.9 else {}
    start = int(asked.get("range", "bytes=0-")[6:-1]) if asked.get("if-range") == f'"{version}"' else 0
    told = tag | {"Content-Length": str(len(content) - start)}
    if start:
        told["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    answer = reply(content[start:], 206 if start else 200, told)
    if start >= len(content) or draw.random() < 0.1:
        answer = reply(b"", 416, {"Content-Range": f"bytes */{len(content)}"})
    fate = draw.random()
    if fate < 0.5:
        answer = answer[: draw.randrange(len(answer))]
    elif fate < 0.6:
        answer = reply(b"no", draw.choice([429, 500, 503, 404, 418]))
    connection.sendall(answer)


def test_parts_that_nobody_wants_any_more_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    (folder / "folder").mkdir(parents=True)
    wanted, torn, unwanted = (part_of(f"https://hub/{name}", folder) for name in ("a", "b", "c"))
    for part in (wanted, unwanted):
        part.path.write_bytes(b"x")
        part.describe('"v1"', 5)
    torn.path.write_bytes(b"x")
    (folder / "left").write_bytes(b"x")
    keep_parts(folder, ["https://hub/a", "https://hub/b"])
    assert set(folder.iterdir()) == {wanted.path, wanted.note}
    keep_parts(folder, [])
    assert not folder.exists()
    keep_parts(folder, [])
