"""Requests to a vLLM server: their content, and what happens after errors."""

import base64
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from autolora import vlm
from autolora.errors import CaptionError
from autolora.params import VllmParams
from tests.support.fake_openai import NO_CHOICES, FakeOpenAI
from tests.vlm.engines import MODELS, VALUES, answer, connect, describe, image_of


def test_request_contains_image_instruction_and_greedy_settings(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    assert describe(connect(url), images[:1]) == [answer()]
    (request,) = fake.requests
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("name", 0, 9)
    image_part, text_part = request["messages"][0]["content"]
    assert text_part == {"type": "text", "text": "Describe it."}
    head, data = image_part["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == images[0].read_bytes()


def test_requests_about_one_image_follow_each_other_and_begin_with_the_image(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    fake.reply = lambda request: request["messages"][0]["content"][1]["text"]
    results = describe(connect(url, concurrency=1), images, "Name it.", "Describe it.")
    asked = [request["messages"][0]["content"] for request in fake.requests]
    assert [content[1]["text"] for content in asked] == ["Name it.", "Describe it."] * 6
    assert [asked[i][0] for i in range(0, 12, 2)] == [asked[i][0] for i in range(1, 12, 2)]
    assert results == [
        answer(text, position, text) for position in range(6) for text in ("Name it.", "Describe it.")
    ]


def test_concurrent_requests_are_limited_over_all_batches(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    client = connect(url, concurrency=3)
    batches = [threading.Thread(target=lambda: describe(client, images * 2)) for _ in range(2)]
    for batch in batches:
        batch.start()
    for batch in batches:
        batch.join()
    assert len(fake.requests) == 24
    assert 1 < fake.max_in_flight <= 3


@pytest.mark.parametrize("status", [500, 503, 429])
def test_request_is_retried_after_a_temporary_error(
    server: tuple[FakeOpenAI, str], images: list[Path], status: int
) -> None:
    fake, url = server
    fake.responses = [(status, ""), (status, "")]
    assert describe(connect(url), images[:1]) == [answer()]
    assert len(fake.requests) == 3


def test_retries_end_after_the_configured_attempts_and_later_requests_fail_at_once(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    fake.responses = [(503, "")] * 99
    with pytest.raises(CaptionError, match="no vLLM server answers at"):
        describe(connect(url, attempts=2, concurrency=1), images)
    assert len(fake.requests) == 2


def test_captions_are_yielded_before_the_error_of_the_server(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    fake.responses = [(200, "a red house"), (401, "")]
    results = []
    requests = [vlm.CaptionRequest(image=image, instructions=("Describe it.",)) for image in images[:4]]
    with pytest.raises(CaptionError, match="refused the request"):
        for result in connect(url, concurrency=1).describe(requests, 9, 1024):
            results.append(result)
    assert results == [answer(position=position) for position in (0, 2, 3)]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refused_image_fails_alone_and_its_other_instructions_are_not_sent(
    server: tuple[FakeOpenAI, str], images: list[Path], status: int
) -> None:
    fake, url = server
    fake.status = lambda request: status if image_of(request) == Image.open(images[1]) else 200
    results = describe(connect(url), images[:3], "Name it.", "Describe it.")
    (failed,) = (result for result in results if isinstance(result, vlm.FailedImage))
    assert failed.position == 1 and f"refused the request: Error code: {status}" in failed.reason
    assert {result.position for result in results} == {0, 1, 2}
    assert len(fake.requests) == len(results) == 5


def test_image_at_which_the_server_always_fails_fails_alone(
    server: tuple[FakeOpenAI, str], images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, url = server
    monkeypatch.setattr("autolora.vlm.vllm_client.FIRST_DELAY_S", 1.0)  # the others are answered meanwhile
    fake.status = lambda request: 500 if image_of(request) == Image.open(images[1]) else 200
    client = connect(url, attempts=2, concurrency=3)
    results = describe(client, images[:3], "Name it.", "Describe it.")
    (failed,) = (result for result in results if isinstance(result, vlm.FailedImage))
    assert failed.position == 1 and "failed at this request 2 times, but answered others" in failed.reason
    with pytest.raises(CaptionError, match="no vLLM server answers at"):
        describe(client, images[1:2])


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusal_of_all_requests_is_an_error_of_the_server(
    server: tuple[FakeOpenAI, str], images: list[Path], status: int
) -> None:
    fake, url = server
    fake.status = lambda request: status
    with pytest.raises(CaptionError, match=f"refused the request: Error code: {status}"):
        describe(connect(url), images[:1])


@pytest.mark.parametrize("text", ["", " \n ", None, "...", "a h\ufffdouse", "a\x00b", NO_CHOICES])
def test_answer_that_is_not_a_text_is_requested_again_and_then_fails_its_image(
    server: tuple[FakeOpenAI, str], images: list[Path], text: object
) -> None:
    fake, url = server
    fake.responses = [(200, text)] * 2
    assert describe(connect(url), images[:1]) == [answer()]
    fake.responses = [(200, text)] * 3
    first, second = describe(connect(url, concurrency=1), images[:2])
    assert isinstance(first, vlm.FailedImage) and "expected a text" in first.reason
    assert second == answer(position=1)
    assert len(fake.requests) == 3 + 4


def test_unreachable_server_error_names_both_remedies(images: list[Path]) -> None:
    with pytest.raises(CaptionError, match=r"autolora vllm.*captions\.engine: transformers"):
        connect("http://127.0.0.1:9/v1").check()


def test_errors_of_the_server_name_the_command_that_serves_the_model_of_params(
    server: tuple[FakeOpenAI, str],
) -> None:
    hub = replace(MODELS, vlm="owner/name", vlm_revision="c0ffee", device="cuda")
    for url, problem in (("http://127.0.0.1:9/v1", "start"), (server[1], "restart")):
        params = VllmParams(urls=(url,), timeout_s=60, attempts=1)
        captions = replace(VALUES.captions, engine="vllm")
        with pytest.raises(CaptionError, match=rf"{problem} it.*`autolora vllm`"):
            vlm.captioner(hub, captions, params)
        with pytest.raises(CaptionError, match="`autolora vllm --cpu`"):
            vlm.captioner(MODELS, captions, params)


def test_server_with_another_model_is_refused(server: tuple[FakeOpenAI, str]) -> None:
    connect(server[1]).check()
    with pytest.raises(CaptionError, match=r"serves name, not the VLM of params\.yaml"):
        connect(server[1], model="other").check()


def test_cut_answer_is_requested_once_more_with_twice_the_tokens(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    fake.finish_reason = lambda request: "length" if request["max_tokens"] < 18 else "stop"
    assert describe(connect(url), images[:1]) == [answer()]
    assert [request["max_tokens"] for request in fake.requests] == [9, 18]


def test_answer_that_is_cut_again_is_shortened_and_marked(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    fake.finish_reason = lambda request: "length"
    fake.responses = [(200, "a red"), (200, "a red house by the s")]
    assert describe(connect(url), images[:1]) == [answer("a red house by the", cut=True)]


def test_cut_answer_is_kept_and_marked_if_the_context_holds_no_longer_one(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    fake.finish_reason = lambda request: "length"
    fake.responses = [(200, "a red hou"), (400, "")]
    assert describe(connect(url), images[:1]) == [answer("a red", cut=True)]
