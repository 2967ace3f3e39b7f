"""The settings of requests to one hub: URL, access token, timeouts, retries and rate limits."""

import ipaddress
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import httpx2

from autolora.errors import HubError
from autolora.params import HubsParams

USER_AGENT = "autolora"
TOKEN_VARIABLES = {
    "civitai": "CIVITAI_API_TOKEN",
    "huggingface": "HF_TOKEN",
    "modelscope": "MODELSCOPE_API_TOKEN",
}
"""hub -> environment variable that contains its access token"""
MAX_REDIRECTS = 5
AUTH_STATUSES = (401, 403)
RETRY_STATUSES = (429, 500, 502, 503, 504)
REDIRECT_STATUSES = (301, 302, 303, 307, 308)


class RateLimiter:
    """Limits an amount, such as requests or bytes, to `per_s` per second, without bursts.

    The caller of `acquire` does not wait for its own amount: the next caller waits until that amount is
    covered.
    """

    def __init__(
        self,
        per_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.per_s = per_s
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._next_start = clock()

    def acquire(self, amount: float = 1.0) -> None:
        """Wait until all earlier amounts are covered, then take `amount`. Idle time gives no credit."""
        with self._lock:
            now = self._clock()
            start = max(self._next_start, now)
            self._next_start = start + amount / self.per_s
        if start > now:
            self._sleep(start - now)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One hub's base URL and the settings of requests to it."""

    name: str
    """the hub's name in params.yaml"""
    url: str
    """without a trailing slash; only this host receives the token, and only if `is_own` it may be asked by http or at
    a private address"""
    timeout_s: float
    attempts: int
    token: str | None = field(repr=False)
    sleep: Callable[[float], None] = time.sleep
    request_limiter: RateLimiter = field(default_factory=lambda: RateLimiter(math.inf), repr=False)
    """counts the requests to the hub"""
    bandwidth_limiter: RateLimiter = field(default_factory=lambda: RateLimiter(math.inf), repr=False)
    """counts the bytes of all downloads together"""
    min_kb_per_s: float = 0.0
    """a download that is slower than this over `timeout_s` is aborted"""
    transient_statuses: tuple[int, ...] = ()
    """statuses of downloads that are retried in addition to RETRY_STATUSES"""
    is_own: bool = True
    """whether the user has chosen the URL; one of a published index comes from its publisher"""


def make_endpoint(
    name: str,
    url: str,
    params: HubsParams,
    token: str | None,
    transient_statuses: tuple[int, ...] = (),
    is_own: bool = True,
) -> Endpoint:
    """Return an endpoint with the settings of params.yaml. All endpoints of a hub share its rate limits."""
    max_mb_per_s = math.inf if params.max_mb_per_s is None else params.max_mb_per_s
    return Endpoint(
        name=name,
        url=url.rstrip("/"),
        timeout_s=params.timeout_s,
        attempts=params.attempts,
        token=token or None,
        request_limiter=_shared_limiter(name, "requests", params.requests_per_s),
        bandwidth_limiter=_shared_limiter(name, "bytes", max_mb_per_s * 1e6),
        min_kb_per_s=params.min_kb_per_s,
        transient_statuses=transient_statuses,
        is_own=is_own,
    )


def has_same_origin(endpoint: Endpoint, url: str) -> bool:
    """Return whether a URL has the hub's scheme, host and port and no credentials.

    Raises httpx2.InvalidURL if the URL is not valid.
    """
    parsed, hub = httpx2.URL(url), httpx2.URL(endpoint.url)
    same = (parsed.scheme, parsed.host, port_of(parsed)) == (hub.scheme, hub.host, port_of(hub))
    return same and not parsed.userinfo


def is_local(url: httpx2.URL) -> bool:
    """Return whether a URL's host is this machine, as for the hubs of the playground."""
    try:
        return url.host == "localhost" or ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False


def port_of(url: httpx2.URL) -> int | None:
    """Return the port of a URL, by default that of its scheme; None for schemes other than http and https."""
    return url.port or {"http": 80, "https": 443}.get(url.scheme)


def token_hint(endpoint: Endpoint) -> str:
    """Return a note on the hub's token variable and whether a token was sent; "" if it has no tokens."""
    if endpoint.name not in TOKEN_VARIABLES:
        return ""
    variable = TOKEN_VARIABLES[endpoint.name]
    if endpoint.token:
        return f" (the token in {variable} was sent)"
    return f" (no token was sent: {variable} is not set)"


def unreachable(name: str, url: str, error: Exception) -> HubError:
    """Return the error for a hub that accepts no connection."""
    return HubError(
        f"hub {name} at {url} cannot be reached: {error}: check the connection, that it is running, and its "
        f"address (hubs.{name}.endpoint in params.yaml; of a published index, in its publication.json)"
    )


@cache
def _shared_limiter(name: str, unit: str, per_s: float) -> RateLimiter:
    """Return the process-wide rate limiter of a hub's requests or bytes."""
    return RateLimiter(per_s)
