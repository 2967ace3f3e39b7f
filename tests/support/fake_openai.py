"""A fake of vLLM's chat completions API on a real socket, whose responses a test chooses."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

RESPONSE_DELAY_S = 0.02
NO_CHOICES = object()
"""as a text: the response has no choices"""


class FakeOpenAI:
    """A chat completions API that answers from the list `responses`, and with `reply` if the list is empty."""

    def __init__(self, http: HTTPServer, model: str) -> None:
        self.model = model
        self.requests: list[dict[str, Any]] = []
        """bodies of all requests"""
        self.responses: list[tuple[int, object]] = []
        """(status, text) of the next responses"""
        self.status: Callable[[dict[str, Any]], int] = lambda request: 200
        """status of the responses that `responses` does not determine"""
        self.reply: Callable[[dict[str, Any]], object] = lambda request: "a red house"
        self.finish_reason: Callable[[dict[str, Any]], str] = lambda request: "stop"
        """`length` if the answer to a request is cut at its max_tokens"""
        self.in_flight = self.max_in_flight = 0
        self._lock = threading.Lock()
        http.expect_request("/v1/models").respond_with_json(
            {"object": "list", "data": [{"id": model, "object": "model", "created": 0, "owned_by": "vllm"}]}
        )
        http.expect_request("/v1/chat/completions", method="POST").respond_with_handler(self._respond)

    def _respond(self, http_request: Request) -> Response:
        request = http_request.get_json()
        with self._lock:
            self.requests.append(request)
            status, text = (
                self.responses.pop(0) if self.responses else (self.status(request), self.reply(request))
            )
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        time.sleep(RESPONSE_DELAY_S)  # so that requests overlap
        with self._lock:
            self.in_flight -= 1
        message = {"role": "assistant", "content": None if text is NO_CHOICES else text}
        choices: list[dict[str, Any]] = [
            {"index": 0, "message": message, "finish_reason": self.finish_reason(request)}
        ]
        if text is NO_CHOICES:
            choices = []
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": self.model, "choices": choices}
        return Response(json.dumps(body), status=status, content_type="application/json")
