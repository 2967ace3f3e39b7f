"""JSON requests over real sockets to a hub that fails in many ways; only the waits are simulated."""

import datetime
import gzip
import json
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import format_datetime
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from autolora.errors import HubError
from autolora.hubs.http import api
from autolora.hubs.http.api import Unavailable, get_json
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.http.retry import MAX_WAIT_S, retry_after

NOW = datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC)
TIMEOUT_S = 60.0


class Hub:
    """A hub that sends its responses one after the other, and the last one for all further requests."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("").rstrip("/")
        self.waits: list[float] = []
        self.requests: list[Request] = []
        self.responses: list[Response | Callable[[], Response]] = []
        self.endpoint = Endpoint("huggingface", self.url, TIMEOUT_S, 3, "secret", self.waits.append)
        server.expect_request("/api").respond_with_handler(self.respond)

    def respond(self, request: Request) -> Response:
        self.requests.append(request)
        response = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        return response() if callable(response) and not isinstance(response, Response) else response

    def get(self, *responses: Response | Callable[[], Response]) -> Any:
        """Return the value of a request that is answered with the given responses."""
        self.responses = list(responses)
        return get_json(self.endpoint, f"{self.url}/api", [("a", "1"), ("a", "2 b")]).value


@pytest.fixture
def hub(httpserver: HTTPServer) -> Hub:
    return Hub(httpserver)


def ok(value: Any = "ok", **headers: str) -> Response:
    return Response(json.dumps(value), headers=headers)


def compressed(body: bytes) -> Response:
    return Response(gzip.compress(body, 1), headers={"Content-Encoding": "gzip"})


def test_returns_value_and_next_page(hub: Hub) -> None:
    link = f'<{hub.url}/api?cursor=x%3D>; rel="next"'
    assert hub.get(ok([1, None])) == [1, None]
    assert get_json(hub.endpoint, f"{hub.url}/api").next_url is None
    hub.responses = [ok(Link=link)]
    assert get_json(hub.endpoint, f"{hub.url}/api").next_url == f"{hub.url}/api?cursor=x%3D"
    assert hub.requests[0].query_string == b"a=1&a=2+b"
    assert hub.requests[0].headers["Authorization"] == "Bearer secret"
    assert hub.waits == []


@pytest.mark.parametrize("status", [401, 403])
def test_error_states_whether_a_token_was_sent(hub: Hub, status: int) -> None:
    denied = Response(status=status, headers={"X-Error-Message": "not for you"})
    message = rf"{status} not for you \(the token in HF_TOKEN was sent\)$"
    with pytest.raises(Unavailable, match=message) as caught:
        hub.get(denied)
    assert "secret" not in str(caught.value)
    with pytest.raises(Unavailable, match=r"\(no token was sent: HF_TOKEN is not set\)$"):
        get_json(replace(hub.endpoint, token=None), f"{hub.url}/api")


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, 1.0),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "soon"}, 1.0),
        ({"Retry-After": "-5"}, 1.0),
        ({"RateLimit": '"api";r=0;t=55'}, 56.0),
        ({"RateLimit": '"api";r=3;t=55'}, 1.0),
        ({"RateLimit": "nonsense", "Retry-After": "2"}, 2.0),
    ],
)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_retries_after_the_requested_delay(
    hub: Hub, status: int, headers: dict[str, str], wait_s: float
) -> None:
    assert hub.get(Response(status=status, headers=headers), ok()) == "ok"
    assert hub.waits == [wait_s]


def test_does_not_retry_if_the_requested_delay_is_too_long(hub: Hub) -> None:
    for headers in ({"Retry-After": "86400"}, {"Retry-After": "1e9"}, {"RateLimit": '"api";r=0;t=999999'}):
        with pytest.raises(HubError, match="more than the 300 s limit; try again later"):
            hub.get(Response(status=429, headers=headers), ok())
    assert (len(hub.requests), hub.waits) == (3, [])


def test_fails_after_the_last_attempt(hub: Hub) -> None:
    with pytest.raises(HubError, match="failed in 3 attempts: status 503"):
        hub.get(Response(status=503))
    assert hub.waits == [1.0, 2.0]


def test_retry_after_reads_seconds_and_dates() -> None:
    later = format_datetime(NOW + datetime.timedelta(seconds=90), usegmt=True)
    earlier = format_datetime(NOW - datetime.timedelta(days=9), usegmt=True)
    assert retry_after({"Retry-After": later}, NOW) == 90.0
    assert retry_after({"Retry-After": earlier}, NOW) == 0.0
    assert retry_after({"Retry-After": "9" * 400}, NOW) is None
    assert retry_after({"Retry-After": "0"}) == 0.0
    assert retry_after({}) is None
    assert MAX_WAIT_S == 300.0


@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
def test_does_not_retry_unavailable_resources(hub: Hub, status: int) -> None:
    headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
    with pytest.raises(Unavailable, match=f"returned status {status} Repository not found") as caught:
        hub.get(Response(status=status, headers=headers))
    assert (caught.value.status, caught.value.error_code) == (status, "RepoNotFound")
    assert len(hub.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        "<html>Sorry</html>", "", '{"models": [', '{"a": ' * 50_000, "[" * 50_000 + "]" * 50_000, "9" * 5000,
        b"\xff\xfe\x00", '"\\ud800', "nul",
    ],
)  # fmt: skip
def test_retries_invalid_json(hub: Hub, body: str | bytes) -> None:
    with pytest.raises(HubError, match="in 3 attempts: the response is not valid JSON"):
        hub.get(Response(body))
    assert hub.get(Response(body), ok()) == "ok"


def test_response_size_is_limited(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_RESPONSE_BYTES", 1 << 20)
    for response in (Response(b" " * (2 << 20)), compressed(b" " * (2 << 20)), compressed(b" " * (50 << 20))):
        with pytest.raises(HubError, match="returned more than 1 MiB"):
            hub.get(response)
    assert len(hub.requests) == 3


def test_decompresses_gzip_and_rejects_other_encodings(hub: Hub) -> None:
    assert hub.get(compressed(b'{"a": 1}')) == {"a": 1}
    with pytest.raises(HubError, match="Content-Encoding 'br', expected gzip or identity"):
        hub.get(Response(b"...", headers={"Content-Encoding": "br"}))
    with pytest.raises(HubError, match="is not valid JSON"):
        hub.get(Response(b'{"a": 1}', headers={"Content-Encoding": "gzip"}))


def test_retries_a_truncated_response(hub: Hub) -> None:
    truncated = Response(iter([b'{"a": ']), headers={"Content-Length": "100"})
    truncated_gzip = Response(gzip.compress(b'{"a": 1}')[:-9], headers={"Content-Encoding": "gzip"})
    assert hub.get(truncated, truncated_gzip, ok()) == "ok"
    assert hub.waits == [1.0, 2.0]


@pytest.mark.slow
def test_aborts_and_retries_a_slow_response(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_RESPONSE_TIMEOUTS", 0.2 / TIMEOUT_S)

    def slow() -> Response:
        return Response((time.sleep(0.05) or b" " for _ in range(100)), direct_passthrough=True)

    with pytest.raises(HubError, match="in 3 attempts: the response took more than"):
        hub.get(slow)


def test_rejects_redirects_to_other_hosts(hub: Hub, httpserver: HTTPServer) -> None:
    tokens: list[str | None] = []

    def respond(request: Request) -> Response:
        tokens.append(request.headers.get("Authorization"))
        return ok("moved")

    httpserver.expect_request("/moved").respond_with_handler(respond)
    assert hub.get(Response(status=307, headers={"Location": "/moved"})) == "moved"
    assert tokens == ["Bearer secret"]
    for location in (
        f"http://127.0.0.1:{httpserver.port}/moved",
        "file:///etc/passwd",
        "ftp://x/y",
    ):
        with pytest.raises(HubError):
            hub.get(Response(status=302, headers={"Location": location}))
    with pytest.raises(HubError, match="more than 5 redirects"):
        hub.get(Response(status=302, headers={"Location": "/api"}))
    assert tokens == ["Bearer secret", None]


def test_rejects_urls_of_other_hosts(hub: Hub) -> None:
    for url in (
        "http://elsewhere.org/api",
        "file:///etc/passwd",
        hub.url.replace("localhost", "a.localhost"),
    ):
        with pytest.raises(HubError, match="is not allowed: expected a URL of"):
            get_json(hub.endpoint, url)


def test_unreachable_hub_is_an_error() -> None:
    message = r"hub x at http://127.0.0.1:1 cannot be reached: .*: check the connection, that it is running"
    with pytest.raises(HubError, match=message):
        get_json(Endpoint("x", "http://127.0.0.1:1", 1.0, 1, None), "http://127.0.0.1:1/api")


def test_every_request_counts_for_the_rate_limit(hub: Hub) -> None:
    acquired: list[float] = []
    hub.endpoint.request_limiter.acquire = (  # type: ignore[method-assign]
        lambda amount=1.0: acquired.append(amount)
    )
    hub.get(Response(status=503), ok())
    assert acquired == [1.0, 1.0]
