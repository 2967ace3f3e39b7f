"""The ways that bench.captions compares send the same requests, in the order that each is named after."""

import asyncio
import sys
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from autolora.errors import CaptionError
from autolora.params import VllmParams
from autolora.vlm.vllm_client import VllmClient
from bench import captions
from tests.support.fake_openai import FakeOpenAI

pytestmark = pytest.mark.slow

INSTRUCTIONS = ("Name it.", "Describe it.")
BY_PASS = [[(0, (text,)), (1, (text,))] for text in INSTRUCTIONS]
BY_IMAGE = [[(0, INSTRUCTIONS), (1, INSTRUCTIONS)]]


def test_client_and_plain_requests_give_the_same_captions_in_both_orders(tmp_path: Path) -> None:
    paths = captions.draw_images(tmp_path, 2)
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        fake, address = FakeOpenAI(http, "name"), http.url_for("").rstrip("/")
        fake.reply = lambda request: request["messages"][0]["content"][1]["text"]
        client = VllmClient(VllmParams(urls=(f"{address}/v1",), timeout_s=60, attempts=1), "name", 1)
        expected = {(position, text): text for position in range(2) for text in INSTRUCTIONS}
        for order in (BY_PASS, BY_IMAGE):
            assert captions.caption(client, paths, order, 9) == expected
            assert asyncio.run(captions.request_plainly(address, "name", paths, order, 9)) == expected
    instructions = [request["messages"][0]["content"][1]["text"] for request in fake.requests]
    first, second = INSTRUCTIONS
    assert instructions[:4] == instructions[4:8] == [first, first, second, second]
    assert instructions[8:12] == [first, second, first, second]


def test_a_server_that_ends_before_it_answers_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(captions, "SERVER", (sys.executable, "-c", "raise SystemExit(1)"))
    reason = "ended before it answered: start it by hand"
    with pytest.raises(CaptionError, match=reason), captions.running_server():
        pytest.fail("there is no server")
