"""The listeners: which API a request is for, what was ordered to go wrong with it, and how an answer is sent."""

import contextlib
import logging
import socket
import struct
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from playground.hubs import control, storage
from playground.hubs.civitai import api as civitai
from playground.hubs.exchange import Answer, Api, Refused, Request, Route, content_kind
from playground.hubs.faults import FAULTS
from playground.hubs.huggingface import api as huggingface
from playground.hubs.modelscope import api as modelscope
from playground.hubs.orders import Call

if TYPE_CHECKING:
    from playground.hub import Hub

logger = logging.getLogger(__name__)

MAIN = (control.API, civitai.API, modelscope.API, huggingface.API)
"""the one without a prefix last"""
STORAGE = (storage.API,)
MAX_BODY = 1 << 20


class Server(ThreadingHTTPServer):
    """A listener; it can forget its clients at once, and reset a connection."""

    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        """Bind without asking the name service for the host's full name, which can take seconds."""
        self.connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.resets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection and remember it."""
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """End a connection: politely, or with a reset where that was asked for."""
        if request in self.resets:
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return self.close_request(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the port and every connection that a client keeps open."""
        super().server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """Answer one connection's requests; `hub` and `apis` are bound by a subclass."""

    hub: "Hub"
    apis: tuple[Api, ...]
    root = ""
    """what the paths of a listener that serves one API alone lack"""
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle(self) -> None:
        """Answer until the client goes, however it does."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()

    def do_GET(self) -> None:
        """Find the route, count the request, and send its answer or the fault that is due."""
        url = urlsplit(self.path)
        path = self.root + url.path
        api = next(api for api in self.apis if f"{path}/".startswith(f"{api.prefix}/"))
        request = self.read_request(api, unquote(path.removeprefix(api.prefix)), url.query)
        try:
            found, groups = find_route(api, request)
            answer = self.answer(api, request, found, groups)
        except Refused as error:
            answer = api.refuse(request, error)
        self.send(answer)

    do_HEAD = do_POST = do_PUT = do_GET

    def read_request(self, api: Api, path: str, query: str) -> Request:
        """Return the request, its body and the words in which the client called us."""
        host = self.headers.get("Host") or f"{self.server.server_name}:{self.server.server_port}"
        length = min(int(self.headers.get("Content-Length") or 0), MAX_BODY)
        return Request(
            method=self.command,
            path=path,
            query=parse_qs(query, keep_blank_values=True),
            headers=self.headers,
            body=self.rfile.read(length),
            base=f"http://{host}{'' if self.root else api.prefix}",
            redirects=api.name in self.hub.redirecting,
            lifetime_s=self.hub.lifetime_s,
        )

    def answer(self, api: Api, request: Request, found: Route, groups: dict[str, str]) -> Answer:
        """Return the route's answer, or the one that was ordered in its place.

        Raises Refused where the route does.
        """
        hub_name = groups.get("api", api.name)
        kind = find_kind(found, request)
        if kind:
            self.hub.counts.add(
                hub_name, kind, f"{self.command} {unquote(self.root + urlsplit(self.path).path)}"
            )
        label = f"{api.prefix}{request.path} {api.label(self.hub, request, groups)}"
        order = self.hub.due(hub_name, kind, label) if kind else None
        if not order:
            return found.reply(self.hub, request, **groups)
        call = Call(self.hub, api, request, order, lambda changed: found.reply(self.hub, changed, **groups))
        return FAULTS[order.fault].commit(call)

    def send(self, answer: Answer) -> None:
        """Send an answer as it says: all, part, slowly, or a reset."""
        answer.encode()
        self.close_connection |= answer.closes or answer.resets or not answer.status
        if answer.resets:
            self.server.resets.add(self.connection)
        if not answer.status:
            self.hub.stopping.wait(answer.waits_s)
            return
        self.log_request(answer.status)
        self.send_response_only(answer.status)
        headers = {"Server": "playground", "Date": self.date_time_string(), **answer.headers}
        for name, value in (headers | {"Content-Length": str(answer.length)}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.send_pieces(answer)

    def send_pieces(self, answer: Answer) -> None:
        """Send a body, with pauses where that was ordered."""
        for piece in answer.pieces:
            self.wfile.write(piece)
            if answer.waits_s:
                self.wfile.flush()
                if self.hub.stopping.wait(answer.waits_s):
                    return
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Log a request through logging, which is quiet unless asked."""
        logger.info(format, *args)


def find_route(api: Api, request: Request) -> tuple[Route, dict[str, str]]:
    """Return the route of a request and the groups of its pattern.

    Raises Refused (404) when there is none.
    """
    for route in api.routes:
        if request.method in route.methods and (match := route.pattern.fullmatch(request.path)):
            return route, {name: value for name, value in match.groupdict().items() if value is not None}
    raise Refused(404, "Not found")


def find_kind(route: Route, request: Request) -> str:
    """Return what a request is counted as: its route's kind, and for files what is asked of which file."""
    if route.kind != "file":
        return route.kind
    if request.method == "HEAD":
        return "head"
    kind = content_kind(request.text("FilePath") or request.path)
    return "download" if request.redirects and kind != "file" else kind
