"""A proxy on loopback that counts the requests to a server behind it, and their answers."""

import hashlib
import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COUNTED = "/v1/chat/completions"


class Counts:
    """Counts of chat requests by outcome and sha256 of the body."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        """the server accepted the request and died"""
        self.repeated: Counter[str] = Counter()
        """the server received the request again after it had answered it"""
        self.in_flight = 0
        """requests whose outcome is not counted yet"""
        self._lock = threading.Lock()

    @contextmanager
    def request_in_flight(self) -> Iterator[None]:
        """Count a request as in flight until the block ends."""
        with self._lock:
            self.in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1

    def add(self, counter: Counter[str], key: str) -> None:
        """Count one request in one of the counters."""
        with self._lock:
            counter[key] += 1


class _Handler(BaseHTTPRequestHandler):
    """Forward a request and its answer; close the connection if the server dies."""

    protocol_version = "HTTP/1.1"
    upstream: int
    counts: Counts

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = hashlib.sha256(body).hexdigest() if self.path == COUNTED else None
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=300)
        try:
            with self.counts.request_in_flight():
                connection.connect()  # nothing else is counted if this fails
                if key and self.counts.answered[key]:
                    self.counts.add(self.counts.repeated, key)
                self._exchange(connection, body, key)
        except OSError:
            self.close_connection = True
        finally:
            connection.close()

    do_GET = do_POST

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes, key: str | None) -> None:
        try:
            headers = {
                name: self.headers[name] for name in ("Content-Type", "Authorization") if self.headers[name]
            }
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            if key:
                self.counts.add(self.counts.lost, key)
            self.close_connection = True
            return
        if key and answer.status == 200:
            self.counts.add(self.counts.answered, key)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def counted(upstream: int) -> Iterator[tuple[str, Counts]]:
    """Start a proxy for the server at port `upstream`; yield the proxy's address and the counts."""
    counts = Counts()
    handler = type("Handler", (_Handler,), {"upstream": upstream, "counts": counts})
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", counts
    finally:
        server.shutdown()
        server.server_close()
