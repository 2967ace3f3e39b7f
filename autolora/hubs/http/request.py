"""One GET of a file: from where it may come, hop by hop, the token to the hub alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpcore2
import httpx2

from autolora.errors import HubError
from autolora.hubs.http.endpoint import AGENT, MAX_REDIRECTS, REDIRECTS, Source, is_hub, is_local, unreachable
from autolora.hubs.http.retry import Interrupted
from autolora.hubs.http.transport import connections


@dataclass(frozen=True, slots=True)
class Answer:
    """What came at the end of the redirects; its body is read while the exchange is open."""

    place: str
    """the URL that answered, without its query: a signed one is a secret"""
    redirected: bool
    status: int
    headers: httpx2.Headers
    blocks: Iterator[bytes]
    """the body as sent; they raise httpcore2's exceptions, which `get` translates"""


@contextmanager
def get(source: Source, url: str, headers: dict[str, str]) -> Iterator[Answer]:
    """Yield the answer to a GET after at most MAX_REDIRECTS redirects.

    Raises HubError for a URL that may not be asked and where the hub cannot be reached, Interrupted for what may
    go well the next time, also while the body is read.
    """
    asked = askable(source, url)
    pool = connections(source.name, source.endpoint, source.timeout_s, source.min_kb_per_s)
    try:
        for hop in range(MAX_REDIRECTS + 1):
            sent = _headers(source, asked) | headers
            timeouts = dict.fromkeys(("connect", "read", "write", "pool"), source.timeout_s)
            target = httpcore2.URL(
                scheme=asked.raw_scheme, host=asked.raw_host, port=asked.port, target=asked.raw_path
            )
            with pool.stream(
                "GET", target, headers=list(sent.items()), extensions={"timeout": timeouts}
            ) as response:
                found = httpx2.Headers(response.headers)
                if response.status not in REDIRECTS:
                    yield Answer(place(asked), hop > 0, response.status, found, response.iter_stream())
                    return
            asked = askable(source, found.get("Location", ""), asked)
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
        if is_hub(source, str(asked)):
            raise unreachable(source.name, source.endpoint, error) from error
        raise Interrupted(f"{asked.host} cannot be reached: {error}") from error
    except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
        raise Interrupted(f"{type(error).__name__}: {error}") from error
    except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
        raise HubError(f"hub {source.name}: {place(asked)} cannot be asked for: {error}") from error
    raise HubError(f"hub {source.name}: more than {MAX_REDIRECTS} redirects, the last to {place(asked)}")


def askable(source: Source, url: str, base: httpx2.URL | None = None) -> httpx2.URL:
    """Return a URL that may be asked: https anywhere, http at the endpoint alone, no password in it.

    A hub on this machine may send to all of this machine, which it reaches anyway: the playground's files lie on
    another port. base: what a relative URL is relative to. Raises HubError for any other.
    """
    try:
        found = base.join(url) if base and url else httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError, TypeError) as error:
        raise HubError(f"hub {source.name}: {url[:200]!r} is no URL: {error}") from error
    local = found.scheme == "http" and is_local(found) and is_local(httpx2.URL(source.endpoint))
    allowed = found.scheme == "https" or local or is_hub(source, str(found))
    if found.userinfo or not found.host or not allowed:
        raise HubError(
            f"hub {source.name}: {place(found)!r} is neither https nor at {source.endpoint}, so it is not asked; "
            f"where the hub has moved, crawl it again"
        )
    return found


def _headers(source: Source, url: httpx2.URL) -> dict[str, str]:
    """Return who we are and, for the hub alone, its token; that waits for the hub's pace."""
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
    if is_hub(source, str(url)):
        source.requests.take()
        headers |= {"Authorization": f"Bearer {source.token}"} if source.token else {}
    return headers


def place(url: httpx2.URL) -> str:
    """Return a URL without query and password, for messages."""
    return str(url.copy_with(query=None, fragment=None, userinfo=b""))
