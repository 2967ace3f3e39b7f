"""JSON requests to a hub's API, with bounded size and time, retries and a rate limit.

The official clients are not used for crawling: `huggingface_hub` 2.4 and `modelscope_hub` 0.5 wait as long as
a hub asks and read responses of any size, and `modelscope_hub` sends its token as a cookie to any host that
the hub redirects to. Tests compare our requests with theirs.
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
from autolora.hubs.http.endpoint import AUTH_STATUSES, RETRY_STATUSES, Endpoint, has_same_origin, token_hint
from autolora.hubs.http.request import Response, get
from autolora.hubs.http.retry import TransientError, retry, retry_after
from autolora.hubs.validation import clean_text

MAX_RESPONSE_BYTES = 16 << 20
"""after decompression"""
MAX_RESPONSE_TIMEOUTS = 3
"""multiple of `timeout_s` that a whole response may take"""
UNAVAILABLE_STATUSES = (401, 403, 404, 410, 451)


@dataclass(frozen=True, slots=True)
class JsonResponse:
    """A parsed response of a hub's API."""

    value: Any
    """JSON of any type"""
    next_url: str | None
    """URL of the next page in the Link header"""


class Unavailable(HubError):
    """A resource does not exist on the hub or is not accessible to us."""

    def __init__(
        self, message: str, status: int, error_code: str = "", error_message: str = "", value: Any = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        """header X-Error-Code; empty if it is missing"""
        self.error_message = error_message
        """header X-Error-Message; empty if it is missing"""
        self.value = value
        """JSON body of any type; None if the body is not valid JSON"""


def get_json(endpoint: Endpoint, url: str, query: Iterable[tuple[str, str]] = ()) -> JsonResponse:
    """Return the JSON response to a GET request to the hub.

    Statuses 429 and 5xx, broken connections and invalid JSON are retried, in `attempts` attempts in total.
    Raises Unavailable if the resource does not exist or access is denied, HubError for any other failure.
    """
    parameters = urlencode(list(query))
    url = f"{url}?{parameters}" if parameters else url
    label = f"hub {endpoint.name}: {url}"
    return retry(label, endpoint.attempts, endpoint.sleep, lambda: _get_json_once(endpoint, url))


def _get_json_once(endpoint: Endpoint, url: str) -> JsonResponse:
    if not has_same_origin(endpoint, url):
        raise HubError(f"hub {endpoint.name}: {url!r} is not allowed: expected a URL of {endpoint.url}")
    with get(endpoint, url, {"Accept": "application/json", "Accept-Encoding": "gzip"}) as response:
        if not has_same_origin(endpoint, response.url):
            raise HubError(
                f"hub {endpoint.name}: {url} redirects to {response.url}: expected a URL of {endpoint.url}"
            )
        _check_status(endpoint, url, response)
        try:
            value = json.loads(_read_body(endpoint, url, response))
        except (ValueError, RecursionError, zlib.error) as error:
            raise TransientError(f"the response is not valid JSON: {error}") from error
    return JsonResponse(value, _next_page_url(response.headers))


def _check_status(endpoint: Endpoint, url: str, response: Response) -> None:
    """Raise TransientError, Unavailable or HubError, according to the status of a response other than 200."""
    status = response.status
    if status in RETRY_STATUSES:
        raise TransientError(f"status {status}", retry_after(response.headers))
    error_code, error_message = (
        clean_text(response.headers.get(f"X-Error-{name}")) or "" for name in ("Code", "Message")
    )
    message = f"hub {endpoint.name}: {url} returned status {status} {error_message}".rstrip()
    message += token_hint(endpoint) if status in AUTH_STATUSES else ""
    if status in UNAVAILABLE_STATUSES:
        raise Unavailable(message, status, error_code, error_message, _read_error(endpoint, url, response))
    if status != 200:
        raise HubError(message)


def _read_error(endpoint: Endpoint, url: str, response: Response) -> Any:
    """Return the JSON value of an error response; None if its body is not valid JSON, incomplete or too large."""
    try:
        return json.loads(_read_body(endpoint, url, response))
    except (ValueError, RecursionError, zlib.error, HubError, TransientError):
        return None


def _read_body(endpoint: Endpoint, url: str, response: Response) -> bytes:
    """Return the decompressed body.

    Raises HubError if the body is too large or has an unexpected encoding, TransientError if it is incomplete
    or slow.
    """
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("gzip", "identity"):
        raise HubError(
            f"hub {endpoint.name}: {url} returned Content-Encoding {encoding[:40]!r}, expected gzip or identity"
        )
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    max_seconds = MAX_RESPONSE_TIMEOUTS * endpoint.timeout_s
    body, deadline = bytearray(), time.monotonic() + max_seconds
    for chunk in response.chunks:
        body += decompressor.decompress(chunk, MAX_RESPONSE_BYTES + 1) if decompressor else chunk
        if len(body) > MAX_RESPONSE_BYTES:
            raise HubError(f"hub {endpoint.name}: {url} returned more than {MAX_RESPONSE_BYTES >> 20} MiB")
        if time.monotonic() > deadline:
            raise TransientError(f"the response took more than {max_seconds:.0f} s")
    if decompressor and not decompressor.eof:
        raise TransientError("the compressed response is incomplete")
    return bytes(body)


def _next_page_url(headers: httpx2.Headers) -> str | None:
    links = httpx2.Response(200, headers=headers).links
    url = links.get("next", {}).get("url")
    return url or None
