"""Servers of a few bytes: what a hub sends is written down word by word, mistakes included."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Reply = bytes | Callable[[socket.socket], None]
PAUSE_S = 0.02


@dataclass(slots=True)
class Server:
    """What was asked of a server."""

    endpoint: str
    requests: list[dict[str, str]] = field(default_factory=list)
    """headers by name in lower case; `:path` is what was asked for"""


@contextmanager
def serving(*replies: Reply) -> Iterator[Server]:
    """Answer the first request with the first reply, and so on; the last reply is for all others.

    Every connection is closed after its reply.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=_serve, args=(listener, server, replies), daemon=True).start()
        yield server
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def reply(body: bytes = b"", status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    """Return an answer as it is sent; its length is told unless `headers` tell another, or None."""
    told: dict[str, str | None] = {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
    lines = [f"{name}: {value}" for name, value in told.items() if value]
    return "\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode() + body


def dripping(content: bytes) -> Callable[[socket.socket], None]:
    """Return a reply that comes byte by byte, PAUSE_S apart."""

    def send(connection: socket.socket) -> None:
        for byte in content:
            connection.sendall(bytes([byte]))
            time.sleep(PAUSE_S)

    return send


def hanging(content: bytes) -> Callable[[socket.socket], None]:
    """Return a reply of which no more comes after `content`, for ten seconds."""

    def send(connection: socket.socket) -> None:
        connection.sendall(content)
        time.sleep(10)

    return send


def _serve(listener: socket.socket, server: Server, replies: tuple[Reply, ...]) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(connection, server, replies), daemon=True).start()


def _answer(connection: socket.socket, server: Server, replies: tuple[Reply, ...]) -> None:
    with connection, suppress(OSError):
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += connection.recv(65536)
        first, *lines = asked.decode().split("\r\n\r\n")[0].split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        server.requests.append({":path": first.split()[1], **headers})
        chosen = replies[min(len(server.requests), len(replies)) - 1]
        connection.sendall(chosen) if isinstance(chosen, bytes) else chosen(connection)
