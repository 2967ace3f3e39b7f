"""The HTTP server of the playground's hub: routes requests, injects faults, and sends responses."""

import contextlib
import logging
import socket
import struct
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from playground.hubs import control, storage
from playground.hubs.civitai import api as civitai
from playground.hubs.fault_injection import FaultContext
from playground.hubs.faults import FAULTS
from playground.hubs.http_messages import Api, HttpError, Request, Response, Route, file_kind
from playground.hubs.huggingface import api as huggingface
from playground.hubs.modelscope import api as modelscope
from playground.hubs.state import Hub

logger = logging.getLogger(__name__)

MAIN = (control.API, civitai.API, modelscope.API, huggingface.API)
"""APIs of the main port; the API without a prefix matches every path, so it is the last"""
STORAGE = (storage.API,)
MAX_BODY = 1 << 26
"""bytes of a request, such as an uploaded file"""


class Server(ThreadingHTTPServer):
    """A listener that can close all its connections at once, and reset a connection."""

    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        """Bind without looking up the host's full name, which can take seconds."""
        self.connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.to_reset: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections may linger
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection and register it in `connections`."""
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; reset it if it is in `to_reset`."""
        if request in self.to_reset:
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return self.close_request(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the port and every open connection."""
        super().server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """Handle one connection's requests; a subclass sets `hub`, `apis` and `root`."""

    hub: Hub
    apis: tuple[Api, ...]
    root = ""
    """prefix that is missing in the paths of a listener for one API"""
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle(self) -> None:
        """Handle requests until the client disconnects."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()

    def do_GET(self) -> None:
        """Find the route, count the request, and send the route's response or an injected fault."""
        url = urlsplit(self.path)
        path = self.root + url.path
        api = next(api for api in self.apis if f"{path}/".startswith(f"{api.prefix}/"))
        request = self.read_request(api, unquote(path.removeprefix(api.prefix)), url.query)
        try:
            route, groups = find_route(api, request)
            response = self.respond(api, request, route, groups)
        except HttpError as error:
            response = api.refuse(request, error)
        self.send(response)

    do_HEAD = do_POST = do_PUT = do_GET

    def read_request(self, api: Api, path: str, query: str) -> Request:
        """Return the request with its body and the URL that the client used for the API's root."""
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

    def respond(self, api: Api, request: Request, route: Route, groups: dict[str, str]) -> Response:
        """Return the route's response, or that of an injected fault.

        Raises HttpError if the route does.
        """
        hub_name = groups.get("api", api.name)
        kind = request_kind(route, request)
        if not kind:
            return route.reply(self.hub, request, **groups)
        path = unquote(self.root + urlsplit(self.path).path)
        self.hub.counts.add(hub_name, kind, f"{self.command} {path}")
        label = f"{api.prefix}{request.path} {api.find_repo_id(self.hub, request, groups)}"
        injection = self.hub.take_injection(hub_name, kind, label)
        if not injection:
            return route.reply(self.hub, request, **groups)
        context = FaultContext(
            self.hub, api, request, injection, lambda changed: route.reply(self.hub, changed, **groups)
        )
        return FAULTS[injection.fault].respond(context)

    def send(self, response: Response) -> None:
        """Send a response with its delays, and close or reset the connection if it says so."""
        response.encode()
        self.close_connection |= response.close_after or response.reset_after or not response.status
        if response.reset_after:
            self.server.to_reset.add(self.connection)
        if not response.status:
            self.hub.stopping.wait(response.delay_s)
            return
        self.log_request(response.status)
        self.send_response_only(response.status)
        headers = {"Server": "playground", "Date": self.date_time_string(), **response.headers}
        for name, value in (headers | {"Content-Length": str(response.length)}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.send_pieces(response)

    def send_pieces(self, response: Response) -> None:
        """Send a body piece by piece, with its delays."""
        for piece in response.pieces:
            self.wfile.write(piece)
            if response.delay_s:
                self.wfile.flush()
                if self.hub.stopping.wait(response.delay_s):
                    return
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Log a request at level INFO instead of writing it to stderr."""
        logger.info(format, *args)


def start(hub: Hub, port: int = 0, own_ports: dict[str, int] | None = None) -> str:
    """Listen on loopback and serve in background threads until `hub.stop()`; return the endpoint (URL).

    port: 0 for any free port; the storage listens on the next one, so that its URLs stay valid after a restart.
    own_ports: hub -> a further port that serves this hub alone, without its prefix.
    """
    hub.stopping.clear()
    hub.storage = f"http://localhost:{_listen(hub, port and port + 1, STORAGE)}"
    endpoint = f"http://127.0.0.1:{_listen(hub, port, MAIN)}"
    for name, own_port in (own_ports or {}).items():
        (api,) = (api for api in MAIN if api.name == name)
        hub.ports[name] = _listen(hub, own_port, (api,), api.prefix)
    return endpoint


@contextmanager
def running(hub: Hub) -> Iterator[str]:
    """Serve within a `with` block and yield the endpoint."""
    try:
        yield start(hub)
    finally:
        hub.stop()


def _listen(hub: Hub, port: int, apis: tuple[Api, ...], root: str = "") -> int:
    handler = type("BoundHandler", (Handler,), {"hub": hub, "apis": apis, "root": root})
    server = Server(("127.0.0.1", port), handler)
    hub.listeners.append(server)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server.server_port


def find_route(api: Api, request: Request) -> tuple[Route, dict[str, str]]:
    """Return the route of a request and the groups of its pattern; a HEAD request has the route of a GET.

    Raises HttpError (404) if there is none.
    """
    method = "GET" if request.method == "HEAD" else request.method
    for route in api.routes:
        if method in route.methods and (match := route.pattern.fullmatch(request.path)):
            return route, {name: value for name, value in match.groupdict().items() if value is not None}
    raise HttpError(404, "Not found")


def request_kind(route: Route, request: Request) -> str:
    """Return the kind under which a request is counted.

    This is the kind of its route or, for files: `head`, `download` (a redirect) or the kind of file.
    """
    if route.kind != "file":
        return route.kind
    if request.method == "HEAD":
        return "head"
    kind = file_kind(request.text("FilePath") or request.path)
    return "download" if request.redirects and kind != "file" else kind
