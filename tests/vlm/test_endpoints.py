"""Several vLLM servers: balance, and what happens if some of them fail."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from autolora import vlm
from autolora.errors import CaptionError
from tests.support.fake_openai import FakeOpenAI
from tests.vlm.engines import connect, describe


@pytest.fixture
def two_servers(
    server: tuple[FakeOpenAI, str],
) -> Iterator[tuple[tuple[FakeOpenAI, str], tuple[FakeOpenAI, str, HTTPServer]]]:
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        yield server, (FakeOpenAI(http, "name"), http.url_for("/v1"), http)


def test_images_are_balanced_over_servers_and_each_stays_on_one(
    two_servers: tuple[tuple[FakeOpenAI, str], tuple[FakeOpenAI, str, HTTPServer]], images: list[Path]
) -> None:
    (first, first_url), (second, second_url, _) = two_servers
    client = connect(first_url, second_url, concurrency=4)
    client.check()
    results = describe(client, images * 4, "Name it.", "Describe it.", "Describe all of it.")
    assert len(results) == 72
    assert min(len(first.requests), len(second.requests)) >= 24
    # sequences of three requests about one image
    assert len(first.requests) % 3 == len(second.requests) % 3 == 0


def test_killed_server_loses_no_caption_and_the_other_gets_its_requests(
    two_servers: tuple[tuple[FakeOpenAI, str], tuple[FakeOpenAI, str, HTTPServer]],
    images: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("autolora.vlm.endpoints.FIRST_PAUSE_S", 60.0)  # longer than the end of a server takes
    (first, first_url), (second, second_url, http) = two_servers
    killer = threading.Thread(target=http.stop)

    def reply(request: dict[str, Any]) -> str:
        if len(second.requests) == 10:
            second.status = lambda request: 503  # requests in flight fail, later ones find no server
            killer.start()
        return "a red house"

    second.reply = reply
    results = describe(connect(first_url, second_url, concurrency=4), images * 6, "Name it.", "Describe it.")
    killer.join()
    expected = {(position, text) for position in range(36) for text in ("Name it.", "Describe it.")}
    answered = [(result.position, result.instruction) for result in results if isinstance(result, vlm.Answer)]
    assert set(answered) == expected and len(answered) == len(expected)
    assert len(second.requests) < 15 < len(first.requests)


def test_server_that_answers_again_gets_requests_again(
    two_servers: tuple[tuple[FakeOpenAI, str], tuple[FakeOpenAI, str, HTTPServer]],
    images: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (first, first_url), (second, second_url, _) = two_servers
    monkeypatch.setattr("autolora.vlm.endpoints.FIRST_PAUSE_S", 0.1)
    second.responses = [(503, "")]
    assert len(describe(connect(first_url, second_url), images * 6)) == 36
    assert len(second.requests) > 3
    assert len(first.requests) + len(second.requests) == 37


def test_failure_of_all_servers_is_an_error(
    two_servers: tuple[tuple[FakeOpenAI, str], tuple[FakeOpenAI, str, HTTPServer]], images: list[Path]
) -> None:
    (first, first_url), (second, second_url, _) = two_servers
    first.status = second.status = lambda request: 503
    with pytest.raises(CaptionError, match=f"no vLLM server answers at {first_url}, {second_url}"):
        describe(connect(first_url, second_url, attempts=2), images[:1])
    assert len(first.requests) == len(second.requests) == 2


def test_check_passes_if_one_server_answers(server: tuple[FakeOpenAI, str], images: list[Path]) -> None:
    client = connect("http://127.0.0.1:9/v1", server[1])
    client.check()
    assert len(describe(client, images)) == 6
