"""What a request must have before the page answers it: a known host, the right token, an own origin, a bounded size.

Written as ASGI middleware, so that it applies to every route, to static files and to errors.
"""

import hmac
import ipaddress
import re
import socket
from asyncio import sleep
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
COOKIE = "autolora_token"
MAX_BODY = 64_000
"""bytes of a request's body, but for uploads"""
HOST = re.compile(r"(?:(?P<name>[a-z0-9._-]+)|\[(?P<v6>[0-9a-f:.]+)\])(?::[0-9]{1,5})?")
"""what the header Host may be"""
FAILURE_S = 0.5
"""seconds after which a request without the right token is refused, so that guessing takes long"""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
        "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
    )
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""of every response"""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the page."""

    hosts: frozenset[str]
    """host names that a request may give; others are those of a page that resolves its own name to this machine"""
    any_address: bool
    """whether a request may name any IP address, because the page listens on all of them"""
    token: str | None
    """that a visitor must know; None: no token is needed, because only this machine can connect"""

    def allows_host(self, header: str | None) -> bool:
        """Return whether the header Host names this server."""
        named = HOST.fullmatch(header.lower()) if header else None
        if named is None:
            return False
        name = named["name"] or named["v6"]
        return name in self.hosts or (self.any_address and _is_address(name))

    def knows(self, given: str) -> bool:
        """Return whether a text is the token, in a time that does not depend on where they differ."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def access_to(host: str, token: str | None) -> Access:
    """Return who may use a page that listens on `host`."""
    if host in LOOPBACK_NAMES:
        return Access(LOOPBACK_NAMES, any_address=False, token=token)
    names = {host.lower(), socket.gethostname().lower(), *LOOPBACK_NAMES}
    return Access(frozenset(names), any_address=host in ("0.0.0.0", "::"), token=token)


class Guard:
    """Answers requests that are not allowed, and passes on the others with a limit on their bodies."""

    def __init__(self, app: ASGIApp, access: Access, uploads: Mapping[str, int]) -> None:
        """uploads: path -> bytes that the body of a request may have there, if more than MAX_BODY."""
        self._app, self._access, self._uploads = app, access, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no WebSocket is served
            await send({"type": "websocket.close", "code": 1003})
            return
        send = _with_headers(send)
        max_body = self._uploads.get(scope["path"], MAX_BODY)
        refusal = self._refuse(scope, Headers(scope=scope), max_body)
        if refusal is not None:
            if refusal.status_code == 401:
                await sleep(FAILURE_S)
            await refusal(scope, receive, send)
            return
        await self._app(scope, _limited(receive, max_body), send)

    def _refuse(self, scope: Scope, headers: Headers, max_body: int) -> Response | None:
        """Return the answer to a request that is not allowed; None if it is."""
        if len(headers.getlist("host")) != 1 or not self._access.allows_host(headers["host"]):
            return _plain(
                421, "this server is not known by that name: open it by the address that it printed"
            )
        is_visit = scope["method"] in SAFE_METHODS and headers.get("sec-fetch-dest") == "document"
        if not is_visit and not _is_own_origin(headers):
            return _plain(403, "requests from other sites are refused")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > max_body:
            return _plain(413, _too_large(max_body))
        if headers.get("content-encoding", "identity") != "identity":
            return _plain(415, "compressed bodies are refused")
        return self._check_token(scope, headers) if self._access.token is not None else None

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the answer to a request without the token; one with it in its URL gets a cookie and a clean URL."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer if scheme.lower() == "bearer" else _cookies(headers).get(COOKIE, "")
        if self._access.knows(given):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        in_url = dict(query).get("token", "")
        if not self._access.knows(in_url):
            return _plain(
                401, "give the token: open the address that the server printed, or send it as a bearer token"
            )
        rest = urlencode([pair for pair in query if pair[0] != "token"])
        response = RedirectResponse(f"/?{rest}" if rest else "/", status_code=303)
        response.set_cookie(COOKIE, in_url, httponly=True, samesite="strict", path="/")
        return response


def _is_own_origin(headers: Headers) -> bool:
    """Return whether a request comes from a page of this server, or from a program that is not a browser.

    Browsers send Origin with every request that changes something, and Sec-Fetch-Site with every request; it is
    `none` if no page has caused the request.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and origin not in (f"http://{headers['host']}", f"https://{headers['host']}"):
        return False
    return site in (None, "none", "same-origin") and len(headers.getlist("origin")) <= 1


def _cookies(headers: Headers) -> Mapping[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def _too_large(max_body: int) -> str:
    return f"the body has more than {max_body} bytes"


def _plain(status: int, message: str) -> Response:
    return PlainTextResponse(f"{message}\n", status_code=status)


def _with_headers(send: Send) -> Send:
    """Return a sender that adds HEADERS to each response."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "private, no-cache")
        await send(message)

    return send_with_headers


def _limited(receive: Receive, max_body: int) -> Receive:
    """Return a receiver that answers 413 after max_body bytes, whatever length the header gives."""
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_body:
            raise HTTPException(413, _too_large(max_body))
        return message

    return receive_limited
