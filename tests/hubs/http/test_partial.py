"""Partial downloads over real sockets: resuming, restarting from byte 0, and pruning."""

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from autolora.errors import HubError
from autolora.hubs.http.download import download
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.http.partial import partial_download, prune_downloads
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
from tests.support.sockets import Server, http_response, serve, stalling_after


def test_resumes_after_a_truncated_body(downloader: Downloader) -> None:
    with serve(TRUNCATED, remainder(HALF)) as server:
        assert downloader.download(server) == SHA256
    assert downloader.waits == [1.0]
    ranges = [(request.get("range"), request.get("if-range")) for request in server.requests]
    assert ranges == [(None, None), (f"bytes={HALF}-", '"v1"')]
    assert downloader.leftovers() == []


def test_a_chunked_remainder_that_ends_early_is_resumed(downloader: Downloader) -> None:
    """Its last chunk says that it is complete; only the range says how long it should be."""
    middle = HALF + 100
    head, body = remainder(HALF, **{"Content-Length": "", "Transfer-Encoding": "chunked"}).split(
        b"\r\n\r\n", 1
    )
    short = head + f"\r\n\r\n{100:x}\r\n".encode() + body[:100] + b"\r\n0\r\n\r\n"
    with serve(TRUNCATED, short, remainder(middle)) as server:
        assert downloader.download(server) == SHA256
    assert [request.get("range") for request in server.requests] == [
        None,
        f"bytes={HALF}-",
        f"bytes={middle}-",
    ]


def test_keeps_the_partial_download_after_the_last_attempt(downloader: Downloader) -> None:
    with (
        serve(TRUNCATED, http_response(b"no", 503)) as server,
        pytest.raises(HubError, match="in 3 attempts: status 503"),
    ):
        downloader.download(server)
    assert downloader.leftovers() == [".part", ".part.json"]
    assert not downloader.target.exists()
    with serve(remainder(HALF)) as second_server:
        partial = downloader.partial(second_server)
        files = sorted(downloader.target.parent.iterdir())
        for old, new in zip(files, (partial.path, partial.metadata_path), strict=True):
            old.rename(new)
        assert downloader.download(second_server) == SHA256
    assert second_server.requests[0]["range"] == f"bytes={HALF}-"


def range_response(start: int, content_range: str) -> bytes:
    return http_response(CONTENT[start:], 206, {**ETAG, "Content-Range": content_range})


@pytest.mark.parametrize(
    "second",
    [
        range_response(HALF + 1, f"bytes {HALF + 1}-{len(CONTENT) - 1}/*"),
        range_response(HALF, f"bytes {HALF}-{len(CONTENT) - 1}/{LIMIT}"),
        range_response(HALF, f"bytes {HALF}-{len(CONTENT)}/{len(CONTENT) + 1}"),
        range_response(HALF, ""),
        remainder(HALF, ETag='"v2"'),
        http_response(b"", 416, {"Content-Range": "bytes */5"}),
        http_response(b"", 416),
    ],
    ids=["gap", "other size", "longer", "no range", "other version", "beyond the end", "no size"],
)
def test_restarts_after_a_range_mismatch(downloader: Downloader, second: bytes) -> None:
    with serve(TRUNCATED, second, COMPLETE) as server:
        assert downloader.download(server) == SHA256
    assert [request.get("range") for request in server.requests] == [None, f"bytes={HALF}-", None]


def test_restarts_if_the_file_has_changed(downloader: Downloader) -> None:
    with serve(TRUNCATED, http_response(CONTENT[::-1], headers={"ETag": '"v2"'})) as server:
        downloader.download(server)
    assert downloader.target.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("etag", [{}, {"ETag": 'W/"v1"'}, {"ETag": "v1"}])
def test_does_not_resume_without_a_strong_etag(downloader: Downloader, etag: dict[str, str]) -> None:
    truncated = http_response(CONTENT[:HALF], headers={**etag, "Content-Length": str(len(CONTENT))})
    with serve(truncated, COMPLETE) as server:
        assert downloader.download(server) == SHA256
    assert [request.get("range") for request in server.requests] == [None, None]


def test_rejects_a_range_that_was_not_requested(downloader: Downloader) -> None:
    with serve(remainder(HALF)) as server, pytest.raises(HubError, match="not the requested range"):
        downloader.download(server)


def test_complete_partial_download_needs_no_request(downloader: Downloader) -> None:
    server = Server("http://127.0.0.1:1")
    partial = downloader.partial(server)
    partial.path.parent.mkdir()
    partial.path.write_bytes(CONTENT)
    partial.write_metadata(None, len(CONTENT))
    assert downloader.download(server) == SHA256


def test_complete_partial_download_of_unknown_size_needs_one_request(downloader: Downloader) -> None:
    with serve(http_response(b"", 416, {"Content-Range": f"bytes */{len(CONTENT)}"})) as server:
        partial = downloader.partial(server)
        partial.path.parent.mkdir()
        partial.path.write_bytes(CONTENT)
        partial.write_metadata('"v1"', None)
        assert downloader.download(server) == SHA256


INVALID_METADATA = (
    "", "[]", '{"etag": 5}', '{"etag": 5, "total": 99}', r'{"etag": "\"v1\"", "total": "9"}',
    r'{"etag": "\"v1\"", "total": 7}',
)  # fmt: skip


@pytest.mark.parametrize("metadata", INVALID_METADATA)
def test_restarts_if_the_metadata_is_invalid(downloader: Downloader, metadata: str) -> None:
    with serve(COMPLETE) as server:
        partial = downloader.partial(server)
        partial.path.parent.mkdir()
        partial.path.write_bytes(b"something else")
        partial.metadata_path.write_text(metadata)
        assert downloader.download(server) == SHA256
    assert "range" not in server.requests[0]


DOWNLOAD_SCRIPT = """
import sys
from pathlib import Path
from autolora.hubs.http.download import download
from autolora.hubs.http.endpoint import Endpoint
url, target = sys.argv[1:]
download(Endpoint("civitai", url, 120.0, 1, None), url + "/file", Path(target), 10**6)
"""


def test_resumes_the_download_of_a_killed_process(downloader: Downloader) -> None:
    first_quarter = TRUNCATED[: -HALF // 2]
    with serve(stalling_after(first_quarter), remainder(HALF // 2)) as server:
        partial = downloader.partial(server)
        process = subprocess.Popen(
            [sys.executable, "-c", DOWNLOAD_SCRIPT, server.endpoint, str(downloader.target)]
        )
        deadline = time.monotonic() + 120
        while not (partial.path.exists() and partial.path.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert partial.path.read_bytes() == CONTENT[: HALF // 2]
        assert json.loads(partial.metadata_path.read_text()) == {"etag": '"v1"', "total": len(CONTENT)}
        assert downloader.download(server) == SHA256
    assert server.requests[1]["range"] == f"bytes={HALF // 2}-"
    assert downloader.leftovers() == []


@pytest.mark.long(full=2000, sample=8)
def test_random_failures_leave_a_complete_file_or_none(tmp_path: Path, seed: int) -> None:
    """The server truncates, fails, contradicts itself and changes the file; two versions must never mix."""
    rng = random.Random(seed)
    versions = [rng.randbytes(rng.randrange(1, 200_000)) for _ in range(2)]
    target, limit = tmp_path / "incoming" / "x", max(map(len, versions))
    with ExitStack() as stack:
        server = stack.enter_context(serve(lambda connection: misbehave(connection, server, versions, rng)))
        endpoint = Endpoint("civitai", server.endpoint, 5.0, 2, None, lambda _: None)
        partial = partial_download(f"{server.endpoint}/file", target.parent)
        for _ in range(8):
            with suppress(HubError):
                sha256 = download(endpoint, f"{server.endpoint}/file", target, limit)
                content = target.read_bytes()
                assert content in versions and sha256 == hashlib.sha256(content).hexdigest()
                target.unlink()
            assert not target.exists()
            assert not partial.path.exists() or 0 < partial.path.stat().st_size <= limit
    prune_downloads(target.parent, [])
    assert not target.parent.exists()


def misbehave(connection: socket.socket, server: Server, versions: list[bytes], rng: random.Random) -> None:
    """Respond with a random version of the file, truncated or replaced by an error status at random."""
    version = rng.choice([0, 0, 0, 1])
    content, request = versions[version], server.requests[-1]
    etag = {"ETag": f'"{version}"'} if rng.random() < 0.9 else {}
    start = int(request.get("range", "bytes=0-")[6:-1]) if request.get("if-range") == f'"{version}"' else 0
    headers = etag | {"Content-Length": str(len(content) - start)}
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    response = http_response(content[start:], 206 if start else 200, headers)
    if start >= len(content) or rng.random() < 0.1:
        response = http_response(b"", 416, {"Content-Range": f"bytes */{len(content)}"})
    failure = rng.random()
    if failure < 0.5:
        response = response[: rng.randrange(len(response))]
    elif failure < 0.6:
        response = http_response(b"no", rng.choice([429, 500, 503, 404, 418]))
    connection.sendall(response)


def test_prune_downloads_removes_everything_but_the_wanted_partials(tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    (folder / "folder").mkdir(parents=True)
    wanted, without_metadata, unwanted = (
        partial_download(f"https://hub/{name}", folder) for name in ("a", "b", "c")
    )
    for partial in (wanted, unwanted):
        partial.path.write_bytes(b"x")
        partial.write_metadata('"v1"', 5)
    without_metadata.path.write_bytes(b"x")
    (folder / "left").write_bytes(b"x")
    prune_downloads(folder, ["https://hub/a", "https://hub/b"])
    assert set(folder.iterdir()) == {wanted.path, wanted.metadata_path}
    prune_downloads(folder, [])
    assert not folder.exists()
    prune_downloads(folder, [])
