"""Downloading one file: bounded, resumed where it was cut, hashed, and only from where it may come from."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx2

from autolora.errors import HubError, RefusedFile
from autolora.files import hash_file

MAX_REDIRECTS = 5
MAX_WAIT_S = 60.0
TRY_AGAIN = (429, 500, 502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)
AGENT = "autolora"

logger = logging.getLogger(__name__)


class _Interrupted(Exception):
    """A try that failed in a way that the next one may not; `wait_s`: what the hub asks to wait till then."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Source:
    """A hub as downloads see it."""

    name: str
    endpoint: str
    """URL without a slash at the end; the only host that may be plain http, and that is sent the token"""
    timeout_s: float
    attempts: int
    token: str | None = field(repr=False)
    sleep: Callable[[float], None] = time.sleep


def download(source: Source, url: str, target: Path, limit: int) -> str:
    """Write the file at `url` to `target`, replacing it, and return the sha256 of its bytes.

    limit: bytes; more raise RefusedFile (`too-large`). Cut bodies are resumed, 429 and 5xx are waited for, in
    `attempts` tries in all; then, and when there is no such file, HubError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    etag: list[str] = []
    for attempt in range(source.attempts):
        try:
            _append(source, url, target, limit, etag)
            return hash_file(target)
        except _Interrupted as error:
            reason = str(error)
            if attempt + 1 < source.attempts:
                wait_s = min(MAX_WAIT_S, 2.0**attempt if error.wait_s is None else error.wait_s)
                logger.info("%s: %s; trying again in %.1f s", url, reason, wait_s)
                source.sleep(wait_s)
    raise HubError(f"hub {source.name}: {url} could not be downloaded in {source.attempts} tries: {reason}")


@cache
def _client(timeout_s: float) -> httpx2.Client:
    """Return the process's client: connections are kept alive, redirects are followed by us."""
    return httpx2.Client(timeout=timeout_s, headers={"User-Agent": AGENT})


def unreachable(name: str, endpoint: str, error: Exception) -> HubError:
    """Return the error for a hub that does not answer."""
    return HubError(
        f"hub {name} at {endpoint} cannot be reached: {error}: is it running, and is its endpoint right?"
    )


def _append(source: Source, url: str, target: Path, limit: int, etag: list[str]) -> None:
    """Fetch what `target` still lacks; `etag` holds the version that its bytes are of."""
    have = target.stat().st_size if target.exists() and etag else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": etag[0]}
    with _answer(source, url, headers) as response:
        if response.status_code == 416:
            etag.clear()
            raise _Interrupted("it has no such range")
        _check_status(source, url, response)
        resumed = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        if response.status_code == 206 and not resumed:
            etag.clear()
            raise _Interrupted("it answered another range than the one asked for")
        etag[:] = [tag for tag in [response.headers.get("ETag", "")] if tag.startswith('"')]
        with target.open("ab" if resumed else "wb") as stream:
            for block in response.iter_raw():
                stream.write(block)
                if stream.tell() > limit:
                    raise RefusedFile("too-large", f"the file is larger than {limit} bytes")
            stream.flush()
            os.fsync(stream.fileno())


@contextmanager
def _answer(source: Source, url: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
    """Yield the streamed answer after redirects: each hop is checked, the token goes to the hub only."""
    try:
        for _ in range(MAX_REDIRECTS + 1):
            _check_url(source, url)
            secret = (
                {"Authorization": f"Bearer {source.token}"} if source.token and _is_hub(source, url) else {}
            )
            with _client(source.timeout_s).stream("GET", url, headers=headers | secret) as response:
                if response.status_code not in REDIRECTS:
                    yield response
                    return
                url = urljoin(url, response.headers.get("Location", ""))
    except httpx2.ConnectError as error:
        raise unreachable(source.name, source.endpoint, error) from error
    except (httpx2.TransportError, httpx2.StreamError) as error:
        raise _Interrupted(f"{type(error).__name__}: {error}") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise HubError(f"hub {source.name}: {url} cannot be asked for: {error}") from error
    raise HubError(f"hub {source.name}: more than {MAX_REDIRECTS} redirects, the last to {url}")


def _check_url(source: Source, url: str) -> None:
    if not (_is_hub(source, url) or url.startswith("https://")):
        raise HubError(
            f"hub {source.name}: {url} is neither https nor at {source.endpoint}, so it is not asked; "
            f"where the hub has moved, crawl it again"
        )


def _is_hub(source: Source, url: str) -> bool:
    asked, own = urlsplit(url), urlsplit(source.endpoint)
    return (asked.scheme, asked.netloc) == (own.scheme, own.netloc)


def _check_status(source: Source, url: str, response: httpx2.Response) -> None:
    status = response.status_code
    if status in TRY_AGAIN:
        after = response.headers.get("Retry-After", "")
        raise _Interrupted(f"it answered {status}", float(after) if after.isdecimal() else None)
    if status not in (200, 206):
        why = {
            401: "; set HF_TOKEN",
            403: "; set HF_TOKEN",
            404: "; it was withdrawn",
            410: "; it was withdrawn",
        }
        raise HubError(f"hub {source.name}: {url} answered {status}{why.get(status, '')}")
