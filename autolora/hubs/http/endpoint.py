"""A hub as our requests see it: where it is, who we are there, how patient and how fast we are."""

import ipaddress
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import httpx2

from autolora.errors import HubError
from autolora.hubs.http.rate_limit import Pace
from autolora.params import HubsParams

AGENT = "autolora"
TOKENS = {"civitai": "CIVITAI_API_TOKEN", "huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}
"""hub -> environment variable that its token is read from"""
MAX_REDIRECTS = 5
REFUSED = (401, 403)
TRY_AGAIN = (429, 500, 502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Source:
    """One hub."""

    name: str
    endpoint: str
    """URL without a slash at the end; the only host that is sent the token, and that may be plain http or private"""
    timeout_s: float
    attempts: int
    token: str | None = field(repr=False)
    sleep: Callable[[float], None] = time.sleep
    requests: Pace = field(default_factory=lambda: Pace(math.inf), repr=False)
    """a turn is taken before every request to the hub"""
    bandwidth: Pace = field(default_factory=lambda: Pace(math.inf), repr=False)
    """bytes of all downloads together"""
    min_kb_per_s: float = 0.0
    """a download that is slower than this over `timeout_s` is given up"""
    fickle: tuple[int, ...] = ()
    """what it answers in passing, besides 429 and 5xx: asked again before it is believed"""


def source_of(
    name: str, endpoint: str, params: HubsParams, token: str | None, fickle: tuple[int, ...] = ()
) -> Source:
    """Return a hub as params.yaml has it; all sources of that name in this process keep one pace."""
    megabytes = math.inf if params.max_mb_per_s is None else params.max_mb_per_s
    return Source(
        name=name,
        endpoint=endpoint.rstrip("/"),
        timeout_s=params.timeout_s,
        attempts=params.attempts,
        token=token or None,
        requests=_pace(name, "requests", params.requests_per_s),
        bandwidth=_pace(name, "bytes", megabytes * 1e6),
        min_kb_per_s=params.min_kb_per_s,
        fickle=fickle,
    )


def is_hub(source: Source, url: str) -> bool:
    """Tell whether a URL is on the hub's own scheme, host and port; httpx2.InvalidURL where it is none."""
    asked, own = httpx2.URL(url), httpx2.URL(source.endpoint)
    return (asked.scheme, asked.host, port_of(asked)) == (
        own.scheme,
        own.host,
        port_of(own),
    ) and not asked.userinfo


def is_local(url: httpx2.URL) -> bool:
    """Tell whether a URL names this machine, as the playground's does."""
    try:
        return url.host == "localhost" or ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False


def port_of(url: httpx2.URL) -> int | None:
    """Return the port that a URL leads to; None where its scheme has none of its own."""
    return url.port or {"http": 80, "https": 443}.get(url.scheme)


def about_token(source: Source) -> str:
    """Return, in brackets, where a hub's token is read from and whether one was sent; "" where it has none."""
    if source.name not in TOKENS:
        return ""
    variable = TOKENS[source.name]
    return (
        f" (the token in {variable} was sent)"
        if source.token
        else f" (no token was sent: {variable} is not set)"
    )


def unreachable(name: str, endpoint: str, error: Exception) -> HubError:
    """Return the error for a hub that does not answer."""
    return HubError(
        f"hub {name} at {endpoint} cannot be reached: {error}: is it running, and is its endpoint right?"
    )


@cache
def _pace(name: str, what: str, per_s: float) -> Pace:
    """Return the one pace of a hub's requests or bytes."""
    return Pace(per_s)
