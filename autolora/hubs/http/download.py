"""Downloads of single files: bounded in size, resumed after an interruption, and hashed."""

import os
import re
from pathlib import Path
from typing import BinaryIO

from autolora.errors import HubError, RefusedFile
from autolora.hubs.http.endpoint import AUTH_STATUSES, RETRY_STATUSES, Endpoint, token_hint
from autolora.hubs.http.partial import PartialDownload, Progress, partial_download
from autolora.hubs.http.request import Response, get
from autolora.hubs.http.retry import TransientError, retry, retry_after
from autolora.hubs.validation import clean_text
from autolora.storage.files import raising_disk_full
from autolora.storage.hashes import hash_file

CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
ERROR_PAGE_TYPES = ("text/html", "application/xhtml+xml", "application/json")
"""content types of error and login pages, never of a file that we download"""
MAX_EXCERPT_BYTES = 300
STATUS_HINTS = {
    401: "; the file requires the hub's access token",
    403: "; the file requires the token of an account that has access (gated model or early access)",
    404: "; it may have been withdrawn",
    410: "; it was withdrawn",
}


def download(endpoint: Endpoint, url: str, target: Path, limit: int) -> str:
    """Write the file at `url` to `target`, replacing it, and return the sha256 of its bytes.

    limit: bytes; a larger file raises RefusedFile (`too-large`). Incomplete bodies and statuses 429 and 5xx
    are retried, in `attempts` attempts in total, each of which starts at `url` again and follows its
    redirects. Raises HubError after the last attempt or if the file is not available. Completed bytes stay
    beside `target` (see partial.py), and the next call, in any process, resumes from them.
    """
    partial = partial_download(url, target.parent)
    target.unlink(missing_ok=True)
    label = f"hub {endpoint.name}: {url}"
    retry(label, endpoint.attempts, endpoint.sleep, lambda: _attempt(endpoint, url, partial, target, limit))
    return hash_file(target)


def _attempt(endpoint: Endpoint, url: str, partial: PartialDownload, target: Path, limit: int) -> None:
    """Download the missing bytes in one attempt and move the complete file to its target.

    Raises DiskFull if the disk has no space left; the partial download is then removed.
    """
    with raising_disk_full(target.parent), partial.open_locked() as stream:
        try:
            _fetch_missing(endpoint, url, partial, stream, limit)
        except (RefusedFile, OSError):
            partial.discard()
            raise
        partial.move_to(target)


def _fetch_missing(
    endpoint: Endpoint, url: str, partial: PartialDownload, stream: BinaryIO, limit: int
) -> None:
    """Request the bytes that are missing from the partial download and append them."""
    progress = partial.progress(limit)
    if progress.is_complete:
        return
    headers = {}
    if progress.size and progress.etag:
        headers = {"Range": f"bytes={progress.size}-", "If-Range": progress.etag}
    with get(endpoint, url, headers) as response:
        if response.status == 416:
            if progress.size and response.headers.get("Content-Range") == f"bytes */{progress.size}":
                return
            partial.discard()
            raise TransientError("status 416: the requested range is not available; restarting from byte 0")
        _check_status(endpoint, response)
        try:
            start, total = _body_range(response, progress)
        except TransientError:
            partial.discard()
            raise
        if total is not None and total > limit:
            raise _too_large(limit)
        etag = response.headers.get("ETag", "")
        stream.seek(start)
        stream.truncate()
        # Weak ETags (W/"…") do not promise equal bytes, so they cannot be used to resume.
        partial.write_metadata(etag if etag.startswith('"') else None, total)
        _append_body(endpoint, response, stream, limit)
        if total is not None and stream.tell() != total:
            raise TransientError(f"the response ended after {stream.tell()} of {total} bytes")


def _append_body(endpoint: Endpoint, response: Response, stream: BinaryIO, limit: int) -> None:
    """Write the body as it arrives. Raises RefusedFile before the file exceeds `limit` bytes."""
    for chunk in response.chunks:
        if stream.tell() + len(chunk) > limit:
            raise _too_large(limit)
        stream.write(chunk)
        stream.flush()
        endpoint.bandwidth_limiter.acquire(len(chunk))
    os.fsync(stream.fileno())


def _body_range(response: Response, progress: Progress) -> tuple[int, int | None]:
    """Return the offset of the body in the file and the file's total size, None if unknown.

    Raises TransientError if the headers contradict each other or the partial download.
    """
    length = response.headers.get("Content-Length")
    if response.status == 200:
        return 0, int(length) if length is not None and length.isdecimal() else None
    content_range = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not content_range or not progress.size or int(content_range[1]) != progress.size:
        raise TransientError("Content-Range is not the requested range; restarting from byte 0")
    total = progress.total if content_range[3] == "*" else int(content_range[3])
    end = int(content_range[2]) + 1
    same_etag = response.headers.get("ETag") in (None, progress.etag)
    same_total = total in (progress.total or total, None)
    reaches_end = total is None or end == total
    matches_length = length in (None, str(end - progress.size))
    if not (same_etag and same_total and reaches_end and matches_length):
        raise TransientError("Content-Range does not match the partial download; restarting from byte 0")
    return progress.size, total


def _check_status(endpoint: Endpoint, response: Response) -> None:
    """Raise TransientError or HubError for a response that does not contain the file."""
    status = response.status
    if status in RETRY_STATUSES or status in endpoint.transient_statuses:
        raise TransientError(f"status {status}{STATUS_HINTS.get(status, '')}", retry_after(response.headers))
    if status in STATUS_HINTS and response.redirected:
        raise TransientError(f"{response.url} returned status {status}: the redirect to it has expired")
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    prefix = f"hub {endpoint.name}: {response.url} returned"
    if status not in (200, 206):
        hint = STATUS_HINTS.get(status, "") + (token_hint(endpoint) if status in AUTH_STATUSES else "")
        raise HubError(f"{prefix} status {status}{hint}{_json_excerpt(response, content_type)}")
    if content_type in ERROR_PAGE_TYPES:
        hint = f"{STATUS_HINTS[401]}{token_hint(endpoint)}"
        raise HubError(
            f"{prefix} {content_type} instead of a file{hint}{_json_excerpt(response, content_type)}"
        )
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise HubError(f"{prefix} Content-Encoding {encoding[:40]!r}, expected identity")


def _json_excerpt(response: Response, content_type: str) -> str:
    """Return the beginning of a JSON body, which contains the reason; "" for web pages, which do not."""
    if not content_type.endswith("json"):
        return ""
    text = clean_text(next(response.chunks, b"")[:MAX_EXCERPT_BYTES].decode(errors="replace"))
    return f": {text}" if text else ""


def _too_large(limit: int) -> RefusedFile:
    return RefusedFile("too-large", f"the file is larger than {limit} bytes")
