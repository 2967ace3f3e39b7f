"""One GET request: each URL of a redirect chain is checked, and only the hub receives its token."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpcore2
import httpx2

from autolora.errors import HubError, rerun
from autolora.hubs.http.endpoint import (
    MAX_REDIRECTS,
    REDIRECT_STATUSES,
    USER_AGENT,
    Endpoint,
    has_same_origin,
    is_local,
    unreachable,
)
from autolora.hubs.http.retry import TransientError
from autolora.hubs.http.transport import connection_pool


@dataclass(frozen=True, slots=True)
class Response:
    """The response after all redirects; its body can be read until `get` closes it."""

    url: str
    """the last URL of the redirect chain, without its query, which may be a secret signature"""
    redirected: bool
    status: int
    headers: httpx2.Headers
    chunks: Iterator[bytes]
    """the body as sent; reading raises httpcore2's exceptions, which `get` translates"""


@contextmanager
def get(endpoint: Endpoint, url: str, headers: dict[str, str]) -> Iterator[Response]:
    """Yield the response to a GET request after at most MAX_REDIRECTS redirects.

    Raises HubError if a URL is not allowed or the hub is unreachable, and TransientError for failures that a
    retry may avoid, also while the body is read.
    """
    next_url = allowed_url(endpoint, url)
    own_url = endpoint.url if endpoint.is_own else None
    pool = connection_pool(endpoint.name, own_url, endpoint.timeout_s, endpoint.min_kb_per_s)
    try:
        for hop in range(MAX_REDIRECTS + 1):
            request_headers = _request_headers(endpoint, next_url) | headers
            timeouts = dict.fromkeys(("connect", "read", "write", "pool"), endpoint.timeout_s)
            target = httpcore2.URL(
                scheme=next_url.raw_scheme,
                host=next_url.raw_host,
                port=next_url.port,
                target=next_url.raw_path,
            )
            with pool.stream(
                "GET", target, headers=list(request_headers.items()), extensions={"timeout": timeouts}
            ) as response:
                received = httpx2.Headers(response.headers)
                if response.status not in REDIRECT_STATUSES:
                    yield Response(
                        redacted_url(next_url), hop > 0, response.status, received, response.iter_stream()
                    )
                    return
            next_url = allowed_url(endpoint, received.get("Location", ""), next_url)
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
        if has_same_origin(endpoint, str(next_url)):
            raise unreachable(endpoint.name, endpoint.url, error) from error
        raise TransientError(f"{next_url.host} cannot be reached: {error}") from error
    except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
        raise TransientError(f"{type(error).__name__}: {error}") from error
    except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
        raise HubError(
            f"hub {endpoint.name}: the request for {redacted_url(next_url)} is not valid: {error}"
        ) from error
    raise HubError(
        f"hub {endpoint.name}: more than {MAX_REDIRECTS} redirects, the last one to {redacted_url(next_url)}"
    )


def allowed_url(endpoint: Endpoint, url: str, base: httpx2.URL | None = None) -> httpx2.URL:
    """Return a URL that may be requested: https on any host, http only at the user's endpoint, without credentials.

    An endpoint on this machine may redirect to any port of this machine: the playground stores its files
    there.
    base: the URL that a relative `url` refers to. Raises HubError for any other URL.
    """
    try:
        parsed = base.join(url) if base and url else httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError, TypeError) as error:
        raise HubError(f"hub {endpoint.name}: {url[:200]!r} is not a valid URL: {error}") from error
    local = parsed.scheme == "http" and is_local(parsed) and is_local(httpx2.URL(endpoint.url))
    own = endpoint.is_own and (local or has_same_origin(endpoint, str(parsed)))
    allowed = parsed.scheme == "https" or own
    if parsed.userinfo or not parsed.host or not allowed:
        other = f"or a URL of {endpoint.url}" if endpoint.is_own else "since another person has named the hub"
        raise HubError(
            f"hub {endpoint.name}: {redacted_url(parsed)!r} is not allowed: expected https, {other}; if the hub has "
            f"moved, {rerun('crawl')}"
        )
    return parsed


def _request_headers(endpoint: Endpoint, url: httpx2.URL) -> dict[str, str]:
    """Return the headers of a request. For the hub itself, wait for its rate limit and add its token."""
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if has_same_origin(endpoint, str(url)):
        endpoint.request_limiter.acquire()
        headers |= {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
    return headers


def redacted_url(url: httpx2.URL) -> str:
    """Return a URL without query, fragment and credentials, for messages."""
    return str(url.copy_with(query=None, fragment=None, userinfo=b""))
