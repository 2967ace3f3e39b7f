"""HTTP servers for tests that send given bytes, also invalid ones, and record the requests."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Response = bytes | Callable[[socket.socket], None]
"""the bytes to send, or a function that writes to the connection"""
PAUSE_S = 0.02


@dataclass(slots=True)
class Server:
    """A running server and the requests that it received."""

    endpoint: str
    """URL"""
    requests: list[dict[str, str]] = field(default_factory=list)
    """headers by lower-case name; `:path` is the requested path"""


@contextmanager
def serve(*responses: Response) -> Iterator[Server]:
    """Run a server that sends one response per request, and the last response for all further requests.

    It closes each connection after the response.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=_accept, args=(listener, server, responses), daemon=True).start()
        yield server
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def http_response(body: bytes = b"", status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a response. `headers` may replace Content-Length; an empty value removes it."""
    all_headers = {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
    lines = [f"{name}: {value}" for name, value in all_headers.items() if value]
    return "\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode() + body


def byte_by_byte(content: bytes) -> Callable[[socket.socket], None]:
    """Return a response that is sent byte by byte, one per PAUSE_S."""

    def send(connection: socket.socket) -> None:
        for byte in content:
            connection.sendall(bytes([byte]))
            time.sleep(PAUSE_S)

    return send


def stalling_after(content: bytes) -> Callable[[socket.socket], None]:
    """Return a response that sends `content` and then nothing for ten seconds."""

    def send(connection: socket.socket) -> None:
        connection.sendall(content)
        time.sleep(10)

    return send


def _accept(listener: socket.socket, server: Server, responses: tuple[Response, ...]) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_respond, args=(connection, server, responses), daemon=True).start()


def _respond(connection: socket.socket, server: Server, responses: tuple[Response, ...]) -> None:
    with connection, suppress(OSError):
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        first, *lines = received.decode().split("\r\n\r\n")[0].split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        server.requests.append({":path": first.split()[1], **headers})
        response = responses[min(len(server.requests), len(responses)) - 1]
        connection.sendall(response) if isinstance(response, bytes) else response(connection)
