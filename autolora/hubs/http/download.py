"""Downloading one file: bounded, resumed where it was cut, hashed, and only from where it may come from."""

import os
import re
from pathlib import Path
from typing import BinaryIO

from autolora.errors import HubError, RefusedFile
from autolora.hubs.http.endpoint import REFUSED, TRY_AGAIN, Source, about_token
from autolora.hubs.http.partial import Part, Progress, part_of
from autolora.hubs.http.request import Answer, get
from autolora.hubs.http.retry import Interrupted, asked_wait, persist
from autolora.hubs.validation import clean
from autolora.storage.files import hash_file, room

RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
PAGES = ("text/html", "application/xhtml+xml", "application/json")
"""what a hub sends in place of a file that it does not give"""
EXCERPT = 300
WHY = {
    401: "; it needs the hub's token",
    403: "; it needs the token of an account that may have it (gated, or early access)",
    404: "; it may have been withdrawn",
    410: "; it was withdrawn",
}


def download(source: Source, url: str, target: Path, limit: int) -> str:
    """Write the file at `url` to `target`, replacing it, and return the sha256 of its bytes.

    limit: bytes; more raise RefusedFile (`too-large`). Cut bodies, 429 and 5xx are tried again, in `attempts` tries
    in all, each from the first URL on; then, and when there is no such file, HubError. What has come until then
    stays beside `target` (autolora/hubs/http/partial.py); the next call, in any process, goes on from there.
    """
    part = part_of(url, target.parent)
    target.unlink(missing_ok=True)
    what = f"hub {source.name}: {url}"
    persist(what, source.attempts, source.sleep, lambda: _deliver(source, url, part, target, limit))
    return hash_file(target)


def _deliver(source: Source, url: str, part: Part, target: Path, limit: int) -> None:
    """Fetch what is missing in one try, and move the whole to its target; what is worthless then is removed.

    Raises DiskFull where the part has no room.
    """
    with room(target.parent), part.opened() as stream:
        try:
            _fetch(source, url, part, stream, limit)
        except (RefusedFile, OSError):
            part.discard()
            raise
        part.deliver(target)


def _fetch(source: Source, url: str, part: Part, stream: BinaryIO, limit: int) -> None:
    """Ask for what the part lacks and append it."""
    progress = part.progress(limit)
    if progress.complete:
        return
    headers = {}
    if progress.have and progress.etag:
        headers = {"Range": f"bytes={progress.have}-", "If-Range": progress.etag}
    with get(source, url, headers) as answer:
        if answer.status == 416:
            if progress.have and answer.headers.get("Content-Range") == f"bytes */{progress.have}":
                return
            part.discard()
            raise Interrupted("it has no such range")
        _check_status(source, answer)
        try:
            start, total = _extent(answer, progress)
        except Interrupted:
            part.discard()
            raise
        if total is not None and total > limit:
            raise _too_large(limit)
        etag = answer.headers.get("ETag", "")
        stream.seek(start)
        stream.truncate()
        part.describe(etag if etag.startswith('"') else None, total)
        _append(source, answer, stream, limit)
        if total is not None and stream.tell() != total:
            raise Interrupted(f"it ended after {stream.tell()} of {total} bytes")


def _append(source: Source, answer: Answer, stream: BinaryIO, limit: int) -> None:
    """Write the body as it comes, never more than `limit` bytes in all."""
    for block in answer.blocks:
        if stream.tell() + len(block) > limit:
            raise _too_large(limit)
        stream.write(block)
        stream.flush()
        source.bandwidth.take(len(block))
    os.fsync(stream.fileno())


def _extent(answer: Answer, progress: Progress) -> tuple[int, int | None]:
    """Return where the body begins and how large the whole is, if that is told.

    Raises Interrupted where the headers contradict each other, or the part that we have.
    """
    length = answer.headers.get("Content-Length")
    if answer.status == 200:
        return 0, int(length) if length is not None and length.isdecimal() else None
    told = RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if not told or not progress.have or int(told[1]) != progress.have:
        raise Interrupted("it answered another range than the one asked for")
    total = progress.total if told[3] == "*" else int(told[3])
    body = int(told[2]) + 1 - progress.have
    same = answer.headers.get("ETag") in (None, progress.etag) and total in (progress.total or total, None)
    if not same or (total is not None and int(told[2]) + 1 != total) or length not in (None, str(body)):
        raise Interrupted("its range is not of the file that was begun")
    return progress.have, total


def _check_status(source: Source, answer: Answer) -> None:
    """Raise Interrupted for what may pass, HubError for what will not."""
    status = answer.status
    if status in TRY_AGAIN or status in source.fickle:
        raise Interrupted(f"it answered {status}{WHY.get(status, '')}", asked_wait(answer.headers))
    if status in WHY and answer.redirected:
        raise Interrupted(f"{answer.place} answered {status}: the link to it has expired")
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    where = f"hub {source.name}: {answer.place} answered"
    if status not in (200, 206):
        told = about_token(source) if status in REFUSED else ""
        raise HubError(f"{where} {status}{WHY.get(status, '')}{told}{_excerpt(answer, kind)}")
    if kind in PAGES:
        told = f"{WHY[401]}{about_token(source)}"
        raise HubError(f"{where} with {kind} in place of a file{told}{_excerpt(answer, kind)}")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise HubError(f"{where} in an encoding that was not asked for")


def _excerpt(answer: Answer, kind: str) -> str:
    """Return the beginning of a JSON answer, which says why; a web page's says nothing."""
    if not kind.endswith("json"):
        return ""
    words = clean(next(answer.blocks, b"")[:EXCERPT].decode(errors="replace"))
    return f": {words}" if words else ""


def _too_large(limit: int) -> RefusedFile:
    return RefusedFile("too-large", f"the file is larger than {limit} bytes")
