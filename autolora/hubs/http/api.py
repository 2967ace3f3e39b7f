"""Asking a hub's API: JSON over GET, paced, waited for, bounded, and never answered by anybody else.

The hubs' own clients do not serve for that: `huggingface_hub` 2.4 and `modelscope_hub` 0.5 wait as long as a hub
says and read whatever it sends, and the latter hands its token, as a cookie, to whomever a hub redirects to.
They are what tests compare with.
"""

import json
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx2

from autolora.errors import HubError
from autolora.hubs.http.endpoint import REFUSED, TRY_AGAIN, Source, about_token, is_hub
from autolora.hubs.http.request import Answer, get
from autolora.hubs.http.retry import Interrupted, asked_wait, persist
from autolora.hubs.validation import clean

MAX_ANSWER = 16 << 20
"""bytes, unpacked"""
PATIENCE = 3
"""times `timeout_s` that one answer may take as a whole"""
GONE = (401, 403, 404, 410, 451)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a hub's API answered."""

    value: Any
    """parsed JSON of any type"""
    next: str | None
    """URL of the next page, as the Link header names it"""


class Gone(HubError):
    """Something that a hub does not have, or not for us."""

    def __init__(self, message: str, status: int, code: str, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        """of the header X-Error-Code; empty where there is none"""
        self.reason = reason
        """the hub's own words"""


def ask(source: Source, url: str, query: Iterable[tuple[str, str]] = ()) -> Reply:
    """GET JSON from a URL of the hub.

    429, 5xx, broken connections and what is no JSON are waited for and tried again, in `attempts` tries in all.
    Raises Gone when it is not there or not for us, HubError when the hub does not answer, or nonsense.
    """
    parameters = urlencode(list(query))
    url = f"{url}?{parameters}" if parameters else url
    return persist(f"hub {source.name}: {url}", source.attempts, source.sleep, lambda: _ask_once(source, url))


def _ask_once(source: Source, url: str) -> Reply:
    if not is_hub(source, url):
        raise HubError(f"hub {source.name} is at {source.endpoint}, so {url!r} is not asked")
    with get(source, url, {"Accept": "application/json", "Accept-Encoding": "gzip"}) as answer:
        if not is_hub(source, answer.place):
            raise HubError(
                f"hub {source.name} at {source.endpoint} has {url} answered elsewhere: {answer.place}"
            )
        _check_status(source, url, answer)
        try:
            value = json.loads(_body(source, url, answer))
        except (ValueError, RecursionError, zlib.error) as error:
            raise Interrupted(f"its answer is no JSON: {error}") from error
    return Reply(value, _next_page(answer.headers))


def _check_status(source: Source, url: str, answer: Answer) -> None:
    """Raise Interrupted for what may pass, Gone or HubError for what will not."""
    status = answer.status
    if status in TRY_AGAIN:
        raise Interrupted(f"it answered {status}", asked_wait(answer.headers))
    code, reason = (clean(answer.headers.get(f"X-Error-{name}")) or "" for name in ("Code", "Message"))
    problem = f"hub {source.name}: {url} answered {status} {reason}".rstrip()
    problem += about_token(source) if status in REFUSED else ""
    if status in GONE:
        raise Gone(problem, status, code, reason)
    if status != 200:
        raise HubError(problem)


def _body(source: Source, url: str, answer: Answer) -> bytes:
    """Return the body, unpacked.

    Raises HubError where it is too large or packed otherwise than asked, Interrupted where it does not end.
    """
    encoding = answer.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("gzip", "identity"):
        raise HubError(f"hub {source.name}: {url} answered in an encoding that was not asked for")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    body, deadline = bytearray(), time.monotonic() + PATIENCE * source.timeout_s
    for block in answer.blocks:
        body += unpacker.decompress(block, MAX_ANSWER + 1) if unpacker else block
        if len(body) > MAX_ANSWER:
            raise HubError(f"hub {source.name}: {url} answered more than {MAX_ANSWER >> 20} MiB")
        if time.monotonic() > deadline:
            raise Interrupted(f"its answer took more than {PATIENCE * source.timeout_s:.0f} s")
    if unpacker and not unpacker.eof:
        raise Interrupted("its answer ended too early")
    return bytes(body)


def _next_page(headers: httpx2.Headers) -> str | None:
    links = httpx2.Response(200, headers=headers).links
    url = links.get("next", {}).get("url")
    return url or None
