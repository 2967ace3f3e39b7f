"""URLs, addresses and redirects that a download may request, and the hosts that receive the token."""

import ipaddress
import logging
import socket
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from autolora.errors import HubError
from autolora.hubs.http.download import download
from autolora.hubs.http.transport import is_public
from tests.hubs.http.download_fixture import COMPLETE, CONTENT, LIMIT, SHA256, Downloader
from tests.support.sockets import Server, http_response, serve

PRIVATE_HOSTS = (
    "0.0.0.0", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "[fe80::1]", "[fd00::1]",
    "[64:ff9b::a00:1]", "[2002:a00:1::]", "[::ffff:10.0.0.1]", "[::10.0.0.1]", "[fec0::1]",
    "167772161", "224.0.0.1", "255.255.255.255",
)  # fmt: skip
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1")


def redirect(location: str, status: int = 302) -> bytes:
    return http_response(b"", status, {"Location": location})


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
def test_rejects_urls_other_than_https_and_the_endpoint(downloader: Downloader, url: str) -> None:
    endpoint = downloader.endpoint(Server("http://127.0.0.1:1"))
    with pytest.raises(HubError, match="is not allowed: expected https, or a URL of") as caught:
        download(endpoint, url, downloader.target, LIMIT)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("host", PRIVATE_HOSTS)
def test_rejects_redirects_to_private_addresses(downloader: Downloader, host: str) -> None:
    with (
        serve(redirect(f"https://{host}/x")) as server,
        pytest.raises(HubError, match="not a public address"),
    ):
        downloader.download(server)
    assert downloader.leftovers() == []


@pytest.mark.parametrize("host", [*PRIVATE_HOSTS, *LOOPBACK_HOSTS])
def test_remote_hub_cannot_direct_requests_to_this_machine(downloader: Downloader, host: str) -> None:
    with serve(COMPLETE) as server:
        endpoint = downloader.endpoint(Server("https://civitai.com"))
        url = f"https://{host}:{server.endpoint.rpartition(':')[2]}/x"
        with pytest.raises(HubError, match="not a public address"):
            download(endpoint, url, downloader.target, LIMIT)
        with pytest.raises(HubError, match="is not allowed"):
            download(endpoint, url.replace("https", "http"), downloader.target, LIMIT)
    assert (server.requests, downloader.leftovers()) == ([], [])


def test_local_hub_may_redirect_to_another_local_port_without_the_token(downloader: Downloader) -> None:
    with (
        serve(COMPLETE) as other,
        serve(redirect(other.endpoint.replace("127.0.0.1", "localhost"))) as server,
    ):
        assert downloader.download(server) == SHA256
    assert "authorization" not in other.requests[0]


def test_accepts_public_addresses() -> None:
    for address in ("93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"):
        assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/loop", "more than 5 redirects"),
        ("http://10.0.0.1/x", "is not allowed"),
        ("http://example.org/x", "is not allowed"),
        ("http://127.0.0.1:1/x", "cannot be reached"),
        ("file:///etc/passwd", "is not allowed"),
        ("http://hub:port/x", "is not a valid URL"),
        ("", "is not allowed"),
    ],
)
def test_checks_every_redirect(downloader: Downloader, location: str, message: str) -> None:
    with serve(redirect(location)) as server, pytest.raises(HubError, match=message):
        downloader.download(server)
    assert downloader.leftovers() == []


def test_redirect_within_the_hub_receives_the_token(downloader: Downloader) -> None:
    with serve(redirect("/near?x=1", status=307), COMPLETE) as server:
        assert downloader.download(server) == SHA256
    assert [(request[":path"], request["authorization"]) for request in server.requests] == [
        ("/file", "Bearer secret"),
        ("/near?x=1", "Bearer secret"),
    ]


def test_other_hosts_do_not_receive_the_token(downloader: Downloader, storage: HTTPServer) -> None:
    received: list[Any] = []

    def respond(request: Request) -> Response:
        received.append((request.headers.get("Authorization"), request.headers["Host"]))
        return Response(CONTENT)

    storage.expect_request("/far").respond_with_handler(respond)
    with serve(redirect(f"https://localhost:{storage.port}/far?Signature=hush")) as server:
        assert downloader.download(server) == SHA256
        assert "secret" not in repr(downloader.endpoint(server))
    assert received == [(None, f"localhost:{storage.port}")]


def test_rejects_a_certificate_for_another_host(downloader: Downloader, storage: HTTPServer) -> None:
    message = r"127\.0\.0\.1 cannot be reached.*certificate"
    with (
        serve(redirect(f"https://127.0.0.1:{storage.port}/far")) as server,
        pytest.raises(HubError, match=message),
    ):
        downloader.download(server)


def test_expired_redirect_is_retried_from_the_first_url(
    downloader: Downloader, storage: HTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    storage.expect_request("/far", query_string="Signature=old").respond_with_data("Expired", status=403)
    storage.expect_request("/far", query_string="Signature=new").respond_with_data(CONTENT)
    url = f"https://localhost:{storage.port}/far?Signature="
    with serve(redirect(f"{url}old"), redirect(f"{url}new")) as server:
        assert downloader.download(server) == SHA256
    assert downloader.waits == [1.0]
    log = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("autolora"))
    assert "the redirect to it has expired" in log and "Signature" not in log


def test_dns_rebinding_is_rejected(
    downloader: Downloader, storage: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, resolved = socket.getaddrinfo, []

    def rebinding(host: str, *args: Any, **options: Any) -> Any:
        if host == "localhost":
            resolved.append(host)
            host = "127.0.0.1" if len(resolved) == 1 else "10.0.0.1"
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    storage.expect_request("/far").respond_with_data(CONTENT)
    response = redirect(f"https://localhost:{storage.port}/far")
    with serve(response) as server:
        assert downloader.download(server) == SHA256
        assert resolved == ["localhost"]
    with serve(response) as other, pytest.raises(HubError, match=r"localhost resolves to 10\.0\.0\.1"):
        downloader.download(other)
