"""Questions to a hub's API that misbehaves, over real sockets; only waiting is not real."""

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
from autolora.hubs.http.api import Gone, ask
from autolora.hubs.http.endpoint import Source
from autolora.hubs.http.retry import MAX_WAIT_S, asked_wait

NOW = datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC)


class Hub:
    """A hub that gives its answers one after the other, the last one for ever."""

    def __init__(self, server: HTTPServer) -> None:
        self.endpoint = server.url_for("").rstrip("/")
        self.waits: list[float] = []
        self.requests: list[Request] = []
        self.answers: list[Response | Callable[[], Response]] = []
        self.source = Source("huggingface", self.endpoint, 1.0, 3, "secret", self.waits.append)
        server.expect_request("/api").respond_with_handler(self.answer)

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer() if callable(answer) and not isinstance(answer, Response) else answer

    def ask(self, *answers: Response | Callable[[], Response]) -> Any:
        self.answers = list(answers)
        return ask(self.source, f"{self.endpoint}/api", [("a", "1"), ("a", "2 b")]).value


@pytest.fixture
def hub(httpserver: HTTPServer) -> Hub:
    return Hub(httpserver)


def ok(value: Any = "ok", **headers: str) -> Response:
    return Response(json.dumps(value), headers=headers)


def test_a_question_and_its_answer(hub: Hub) -> None:
    link = f'<{hub.endpoint}/api?cursor=x%3D>; rel="next"'
    assert hub.ask(ok([1, None])) == [1, None]
    assert ask(hub.source, f"{hub.endpoint}/api").next is None
    hub.answers = [ok(Link=link)]
    assert ask(hub.source, f"{hub.endpoint}/api").next == f"{hub.endpoint}/api?cursor=x%3D"
    assert hub.requests[0].query_string == b"a=1&a=2+b"
    assert hub.requests[0].headers["Authorization"] == "Bearer secret"
    assert hub.waits == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_whether_a_token_was_sent(hub: Hub, status: int) -> None:
    refused = Response(status=status, headers={"X-Error-Message": "not for you"})
    with pytest.raises(Gone, match=rf"{status} not for you \(the token in HF_TOKEN was sent\)$") as caught:
        hub.ask(refused)
    assert "secret" not in str(caught.value)
    with pytest.raises(Gone, match=r"\(no token was sent: HF_TOKEN is not set\)$"):
        ask(replace(hub.source, token=None), f"{hub.endpoint}/api")


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
def test_a_busy_hub_is_waited_for(hub: Hub, status: int, headers: dict[str, str], wait_s: float) -> None:
    assert hub.ask(Response(status=status, headers=headers), ok()) == "ok"
    assert hub.waits == [wait_s]


def test_a_hub_that_asks_for_too_long_a_wait_is_left_alone(hub: Hub) -> None:
    for headers in ({"Retry-After": "86400"}, {"Retry-After": "1e9"}, {"RateLimit": '"api";r=0;t=999999'}):
        with pytest.raises(HubError, match="s; do so later"):
            hub.ask(Response(status=429, headers=headers), ok())
    assert (len(hub.requests), hub.waits) == (3, [])


def test_patience_ends(hub: Hub) -> None:
    with pytest.raises(HubError, match="failed in 3 tries: it answered 503"):
        hub.ask(Response(status=503))
    assert hub.waits == [1.0, 2.0]


def test_headers_that_ask_to_wait() -> None:
    later = format_datetime(NOW + datetime.timedelta(seconds=90), usegmt=True)
    earlier = format_datetime(NOW - datetime.timedelta(days=9), usegmt=True)
    assert asked_wait({"Retry-After": later}, NOW) == 90.0
    assert asked_wait({"Retry-After": earlier}, NOW) == 0.0
    assert asked_wait({"Retry-After": "9" * 400}, NOW) is None
    assert asked_wait({"Retry-After": "0"}) == 0.0
    assert asked_wait({}) is None
    assert MAX_WAIT_S == 300.0


@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
def test_what_is_not_there_is_not_asked_for_again(hub: Hub, status: int) -> None:
    headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
    with pytest.raises(Gone, match=f"answered {status} Repository not found") as caught:
        hub.ask(Response(status=status, headers=headers))
    assert (caught.value.status, caught.value.code) == (status, "RepoNotFound")
    assert len(hub.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        "<html>Sorry</html>", "", '{"models": [', '{"a": ' * 50_000, "[" * 50_000 + "]" * 50_000, "9" * 5000,
        b"\xff\xfe\x00", '"\\ud800', "nul",
    ],
)  # fmt: skip
def test_what_is_no_json(hub: Hub, body: str | bytes) -> None:
    with pytest.raises(HubError, match="in 3 tries: its answer is no JSON"):
        hub.ask(Response(body))
    assert hub.ask(Response(body), ok()) == "ok"


def test_an_answer_without_end_is_bounded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_ANSWER", 1 << 20)
    for response in (Response(b" " * (2 << 20)), packed(b" " * (2 << 20)), packed(b" " * (50 << 20))):
        with pytest.raises(HubError, match="answered more than 1 MiB"):
            hub.ask(response)
    assert len(hub.requests) == 3


def packed(body: bytes) -> Response:
    return Response(gzip.compress(body, 1), headers={"Content-Encoding": "gzip"})


def test_a_packed_answer_is_unpacked(hub: Hub) -> None:
    assert hub.ask(packed(b'{"a": 1}')) == {"a": 1}
    with pytest.raises(HubError, match="in an encoding that was not asked for"):
        hub.ask(Response(b"...", headers={"Content-Encoding": "br"}))
    with pytest.raises(HubError, match="is no JSON"):
        hub.ask(Response(b'{"a": 1}', headers={"Content-Encoding": "gzip"}))


def test_a_cut_answer_is_asked_for_again(hub: Hub) -> None:
    cut = Response(iter([b'{"a": ']), headers={"Content-Length": "100"})
    torn = Response(gzip.compress(b'{"a": 1}')[:-9], headers={"Content-Encoding": "gzip"})
    assert hub.ask(cut, torn, ok()) == "ok"
    assert hub.waits == [1.0, 2.0]


def test_an_answer_that_drips_is_given_up(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "PATIENCE", 0.2)

    def drip() -> Response:
        return Response((time.sleep(0.05) or b" " for _ in range(100)), direct_passthrough=True)

    started = time.monotonic()
    assert hub.ask(drip, ok()) == "ok"
    assert time.monotonic() - started < 2


def test_redirects_stay_within_the_hub(hub: Hub, httpserver: HTTPServer) -> None:
    seen: list[str | None] = []

    def elsewhere(request: Request) -> Response:
        seen.append(request.headers.get("Authorization"))
        return ok("moved")

    httpserver.expect_request("/moved").respond_with_handler(elsewhere)
    assert hub.ask(Response(status=307, headers={"Location": "/moved"})) == "moved"
    assert seen == ["Bearer secret"]
    for place in (
        f"http://127.0.0.1:{httpserver.port}/moved",
        "file:///etc/passwd",
        "ftp://x/y",
    ):
        with pytest.raises(HubError):
            hub.ask(Response(status=302, headers={"Location": place}))
    with pytest.raises(HubError, match="more than 5 redirects"):
        hub.ask(Response(status=302, headers={"Location": "/api"}))
    assert seen == ["Bearer secret", None]


def test_only_the_hub_is_asked(hub: Hub) -> None:
    for url in (
        "http://elsewhere.org/api",
        "file:///etc/passwd",
        hub.endpoint.replace("localhost", "a.localhost"),
    ):
        with pytest.raises(HubError, match="is not asked"):
            ask(hub.source, url)


def test_nobody_there() -> None:
    with pytest.raises(HubError, match=r"hub x at http://127.0.0.1:1 cannot be reached: .* is it running"):
        ask(Source("x", "http://127.0.0.1:1", 1.0, 1, None), "http://127.0.0.1:1/api")


def test_every_request_takes_its_turn(hub: Hub) -> None:
    turns: list[float] = []
    hub.source.requests.take = lambda amount=1.0: turns.append(amount)  # type: ignore[method-assign]
    hub.ask(Response(status=503), ok())
    assert turns == [1.0, 1.0]
