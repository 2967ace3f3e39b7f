"""A chat completions API as vLLM speaks it, on a real socket, that answers what a test tells it to."""

import json
import threading
import time
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response


class Server:
    """A chat completions API on a real socket that answers from a list, then always "a red house"."""

    def __init__(self, http: HTTPServer, name: str) -> None:
        self.name = name
        self.asked: list[dict[str, Any]] = []
        self.answers: list[tuple[int, object]] = []
        self.in_flight = self.most_in_flight = 0
        self._lock = threading.Lock()
        http.expect_request("/v1/models").respond_with_json(
            {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "vllm"}]}
        )
        http.expect_request("/v1/chat/completions", method="POST").respond_with_handler(self.answer)

    def answer(self, request: Request) -> Response:
        with self._lock:
            self.asked.append(request.get_json())
            status, text = self.answers.pop(0) if self.answers else (200, "a red house")
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        time.sleep(0.02)
        with self._lock:
            self.in_flight -= 1
        choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": self.name, "choices": choices}
        return Response(json.dumps(body), status=status, content_type="application/json")
