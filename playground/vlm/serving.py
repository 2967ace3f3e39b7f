"""A server of the playground's VLM in this process, with the part of vLLM's API that the stage `captions` uses."""

import base64
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from autolora import vlm
from autolora.params import Params
from autolora.vlm.captioning import Answer, CaptionRequest
from autolora.vlm.in_process import InProcessModel

MAX_WAITING = 128
"""connections that wait to be answered; captions.batch is at most 64"""


@dataclass
class CaptionServer:
    """The model, or what answers in its place."""

    params: Params
    reply: Callable[[bytes], str] | None = None
    """image file -> its caption; None: what the model says"""
    _model: InProcessModel | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, body: dict[str, Any]) -> tuple[str, bool]:
        """Return the caption that a chat request asks for, and whether it is cut."""
        image, instruction = body["messages"][0]["content"]
        content = base64.b64decode(image["image_url"]["url"].partition(",")[2])
        if self.reply is not None:
            return self.reply(content), False
        with self._lock, tempfile.NamedTemporaryFile(suffix=".png") as file:
            file.write(content)
            file.flush()
            self._model = self._model or InProcessModel(replace(self.params.models, threads=1), batch=1)
            request = CaptionRequest(image=Path(file.name), instructions=(instruction["text"],))
            (found,) = self._model.describe(
                [request], body["max_tokens"], self.params.captions.max_image_side
            )
        return (found.text, found.cut) if isinstance(found, Answer) else ("", False)

    @contextmanager
    def running(self, port: int) -> Iterator[None]:
        """Serve on loopback within a `with` block."""
        name = vlm.digest(self.params.models)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:
                _send(handler, {"object": "list", "data": [{"id": name, "object": "model"}]})

            def do_POST(handler) -> None:
                body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                text, is_cut = self.answer(body)
                reason = "length" if is_cut else "stop"
                message = {"role": "assistant", "content": text}
                choices = [{"index": 0, "message": message, "finish_reason": reason}]
                _send(handler, {"id": "1", "object": "chat.completion", "model": name, "choices": choices})

            def log_message(handler, *_: object) -> None:
                """Log nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler, bind_and_activate=False)
        server.request_queue_size = MAX_WAITING
        server.server_bind()
        server.server_activate()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()


def _send(handler: BaseHTTPRequestHandler, value: dict[str, Any]) -> None:
    content = json.dumps(value).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
