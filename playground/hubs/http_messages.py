"""Requests, responses, routes and APIs: the types that the three hubs, the storage and the faults share."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from playground.hubs.repos import IMAGE_SUFFIXES, WEIGHT_SUFFIXES, Blob

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class HttpError(Exception):
    """A request that gets an error response; each API formats it in its own way (`Api.refuse`)."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request, as a route sees it."""

    method: str
    path: str
    """unquoted, below the API's prefix"""
    query: Mapping[str, list[str]]
    headers: Message
    """looked up case-insensitively"""
    body: bytes
    base: str
    """URL of the API's root as the client addressed it, without a trailing slash"""
    redirects: bool
    """whether downloads are redirected to the storage"""
    lifetime_s: float
    """validity of such a redirect's URL"""

    def text(self, name: str, default: str = "") -> str:
        """Return the last value of a query parameter."""
        return self.query.get(name, [default])[-1]

    def flag(self, name: str) -> bool:
        """Return a boolean query parameter; false if it is missing."""
        return self.text(name).lower() in ("true", "1")

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Return an integer query parameter.

        Raises HttpError (400) if it is not an integer from `least` to `most`.
        """
        text = self.text(name, str(default))
        if not re.fullmatch(r"-?\d{1,9}", text) or not least <= int(text) <= most:
            raise HttpError(400, f"{name} must be an integer from {least} to {most}, not {text[:50]!r}")
        return int(text)


@dataclass(kw_only=True, slots=True)
class Response:
    """One response: a JSON value until it is encoded, then the pieces of a body; and how it is sent."""

    status: int = 200
    """0: no response is sent"""
    headers: dict[str, str] = field(default_factory=dict)
    value: Any = None
    pieces: Iterable[bytes] = ()
    length: int = 0
    """value of Content-Length"""
    close_after: bool = False
    """close the connection after the response"""
    reset_after: bool = False
    """reset the connection after the response"""
    delay_s: float = 0.0
    """seconds before each piece or, if the status is 0, before the connection closes"""

    def encode(self) -> "Response":
        """Encode the JSON value, if there is one, as the body; return the response itself."""
        if self.value is not None:
            content = json.dumps(self.value).encode()
            self.headers = {"Content-Type": "application/json; charset=utf-8", **self.headers}
            self.value, self.pieces, self.length = None, (content,), len(content)
        return self


@dataclass(frozen=True, slots=True)
class Route:
    """One route of an API."""

    methods: tuple[str, ...]
    pattern: re.Pattern[str]
    kind: str
    """name under which its requests are counted; empty: not counted"""
    reply: Callable[..., Response]
    """called with the hub (`state.Hub`), the request and the pattern's groups; may raise HttpError"""


def no_repo_id(hub: object, request: Request, groups: Mapping[str, str]) -> str:
    """Return an empty repository id, for APIs whose paths contain it."""
    return ""


@dataclass(frozen=True, slots=True)
class Api:
    """One API: its name, the prefix of its paths, its routes, and its format of errors."""

    name: str
    prefix: str
    routes: tuple[Route, ...]
    refuse: Callable[[Request, HttpError], Response]
    find_repo_id: Callable[..., str] = no_repo_id
    """called with the hub, the request and the route's groups: returns the id of the repository that a request
    concerns, if its path does not contain it"""


def route(methods: str, pattern: str, kind: str, reply: Callable[..., Response]) -> Route:
    """Return a route; `methods` is separated by spaces."""
    return Route(tuple(methods.split()), re.compile(pattern), kind, reply)


def file_kind(name: str) -> str:
    """Return the name under which downloads of a file are counted: weights, renderings or file."""
    lower = name.lower()
    return (
        "weights"
        if lower.endswith(WEIGHT_SUFFIXES)
        else "renderings"
        if lower.endswith(IMAGE_SUFFIXES)
        else "file"
    )


def send_blob(request: Request, blob: Blob, headers: Mapping[str, str]) -> Response:
    """Return a response with a file: all of it, or the requested range.

    Raises HttpError (416) if the range begins after the file's end.
    """
    start, stop = find_range(request.headers, blob, headers["ETag"])
    if start >= stop and blob.size:
        raise HttpError(416, "Range Not Satisfiable", {"Content-Range": f"bytes */{blob.size}"})
    response = Response(headers={"Accept-Ranges": "bytes", **headers}, length=stop - start)
    response.pieces = blob.pieces(start, stop)
    if response.length != blob.size:
        response.status = 206
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    return response


def find_range(headers: Message, blob: Blob, etag: str) -> tuple[int, int]:
    """Return the requested bytes [start, stop): all if the Range header is missing, invalid or outdated."""
    match = RANGE.fullmatch(headers.get("Range") or "")
    if not match or (headers.get("If-Range") or etag) != etag:
        return 0, blob.size
    first, last = match.groups()
    if not first:
        return max(0, blob.size - int(last or 0)), blob.size
    return int(first), min(int(last) + 1 if last else blob.size, blob.size)
