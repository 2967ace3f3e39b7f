"""A chat completions API as vLLM speaks it, on a real socket, that answers what a test tells it to."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response


class Server:
    """A chat completions API on a real socket that answers from a list, then by `reply`."""

    def __init__(self, http: HTTPServer, name: str) -> None:
        self.name = name
        self.asked: list[dict[str, Any]] = []
        self.answers: list[tuple[int, object]] = []
        self.reply: Callable[[dict[str, Any]], object] = lambda request: "a red house"
        self.likeliest = {"yes": -0.25, "no": -2.0, "a": -3.0}
        self.in_flight = self.most_in_flight = 0
        self._lock = threading.Lock()
        http.expect_request("/v1/models").respond_with_json(
            {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "vllm"}]}
        )
        http.expect_request("/v1/chat/completions", method="POST").respond_with_handler(self.answer)

    def answer(self, request: Request) -> Response:
        with self._lock:
            question = request.get_json()
            self.asked.append(question)
            status, text = self.answers.pop(0) if self.answers else (200, self.reply(question))
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        time.sleep(0.02)
        with self._lock:
            self.in_flight -= 1
        message = {"role": "assistant", "content": text}
        choices: list[dict[str, Any]] = [{"index": 0, "message": message, "finish_reason": "stop"}]
        if request.get_json().get("logprobs"):
            choices[0]["logprobs"] = {"content": [self.told("a")]}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": self.name, "choices": choices}
        return Response(json.dumps(body), status=status, content_type="application/json")

    def told(self, token: str) -> dict[str, Any]:
        """Return the first token's logarithms in the form of the API."""
        tops = [{"token": word, "logprob": value, "bytes": None} for word, value in self.likeliest.items()]
        return {"token": token, "logprob": -1.0, "bytes": None, "top_logprobs": tops}
