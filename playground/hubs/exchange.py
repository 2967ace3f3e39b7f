"""One request in, one answer out: what the three APIs, the storage and the faults hand to each other."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, Any

from playground.hubs.repos import PICTURES, WEIGHTS, Blob

if TYPE_CHECKING:
    from playground.hub import Hub

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Refused(Exception):
    """A request that is answered with an error; each API has its own words for it."""

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
    """asked for without regard to case"""
    body: bytes
    base: str
    """URL of the API's root in the client's own words, without a slash at the end"""
    redirects: bool
    """whether files are answered with a redirect to the storage"""
    lifetime_s: float
    """how long such a redirect holds"""

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter's last value."""
        return self.query.get(name, [default])[-1]

    def flag(self, name: str) -> bool:
        """Return a boolean parameter; false where it is missing."""
        return self.text(name).lower() in ("true", "1")

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Return an integer parameter.

        Raises Refused (400) when it is none, or out of bounds.
        """
        text = self.text(name, str(default))
        if not re.fullmatch(r"-?\d{1,9}", text) or not least <= int(text) <= most:
            raise Refused(400, f"{name} must be an integer from {least} to {most}, not {text[:50]!r}")
        return int(text)


@dataclass(kw_only=True, slots=True)
class Answer:
    """One answer: JSON (`value`) until it is encoded, or the pieces of a body; and how it is sent."""

    status: int = 200
    """0: none at all"""
    headers: dict[str, str] = field(default_factory=dict)
    value: Any = None
    pieces: Iterable[bytes] = ()
    length: int = 0
    """what Content-Length says"""
    closes: bool = False
    """close the connection afterwards"""
    resets: bool = False
    """and let the client find it reset"""
    waits_s: float = 0.0
    """seconds before each piece, or before there is no answer"""

    def encode(self) -> "Answer":
        """Turn the JSON value, if there is one, into a body."""
        if self.value is not None:
            content = json.dumps(self.value).encode()
            self.headers = {"Content-Type": "application/json; charset=utf-8", **self.headers}
            self.value, self.pieces, self.length = None, (content,), len(content)
        return self


@dataclass(frozen=True, slots=True)
class Route:
    """One route: which requests it answers, what they are counted as (`` for not at all), and how."""

    methods: tuple[str, ...]
    pattern: re.Pattern[str]
    kind: str
    reply: Callable[..., Answer]
    """called with hub, request and the pattern's groups; may raise Refused"""


def say_nothing(hub: "Hub", request: Request, groups: Mapping[str, str]) -> str:
    """Return no repository: the path of every request says which it is about."""
    return ""


@dataclass(frozen=True, slots=True)
class Api:
    """One API: its name, where it lies, its routes, and its words for an error."""

    name: str
    prefix: str
    routes: tuple[Route, ...]
    refuse: Callable[[Request, Refused], Answer]
    label: Callable[["Hub", Request, Mapping[str, str]], str] = say_nothing
    """the repository that a request is about, where its path does not say so"""


def route(methods: str, pattern: str, kind: str, reply: Callable[..., Answer]) -> Route:
    """Make a line of a routing table."""
    return Route(tuple(methods.split()), re.compile(pattern), kind, reply)


def content_kind(name: str) -> str:
    """Return what a file is counted as: weights, renderings or file."""
    lower = name.lower()
    return "weights" if lower.endswith(WEIGHTS) else "renderings" if lower.endswith(PICTURES) else "file"


def send_blob(request: Request, blob: Blob, headers: Mapping[str, str]) -> Answer:
    """Answer with a file, whole or the range that is asked for.

    Raises Refused (416) when the range begins behind the file's end.
    """
    start, stop = find_range(request.headers, blob, headers["ETag"])
    if start >= stop and blob.size:
        raise Refused(416, "Range Not Satisfiable", {"Content-Range": f"bytes */{blob.size}"})
    answer = Answer(headers={"Accept-Ranges": "bytes", **headers}, length=stop - start)
    answer.pieces = blob.pieces(start, stop)
    if answer.length != blob.size:
        answer.status = 206
        answer.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    return answer


def find_range(headers: Message, blob: Blob, etag: str) -> tuple[int, int]:
    """Return the bytes [start, stop) that are asked for; all where the range is none or out of date."""
    match = RANGE.fullmatch(headers.get("Range") or "")
    if not match or (headers.get("If-Range") or etag) != etag:
        return 0, blob.size
    first, last = match.groups()
    if not first:
        return max(0, blob.size - int(last or 0)), blob.size
    return int(first), min(int(last) + 1 if last else blob.size, blob.size)
