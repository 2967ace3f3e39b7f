"""The faults that can be injected into the playground's hub: one table, from name to function.

A fault function receives the request that triggered the fault and returns the response. It may modify the regular
response, obtain a response to a changed request, or create its own. `kinds` are the kinds of request that the fault
applies to if the order names none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from playground.hubs import json_corruption, json_faults, network_faults
from playground.hubs.fault_injection import BYTES, JSON, KINDS, FaultContext
from playground.hubs.http_messages import Response


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of the table."""

    kinds: tuple[str, ...]
    description: str
    respond: Callable[[FaultContext], Response]


BODIES = (*JSON, *BYTES)
FILES = ("head", "download", *BYTES)
LISTING = ("listing",)
PRIVATE, METADATA = "http://10.255.255.1/a", "http://169.254.169.254/latest/meta-data/"
ELSEWHERE, OWN_FILE = "http://elsewhere.invalid/a", "file:///etc/hostname"


def _refusal(status: int, description: str) -> Fault:
    return Fault(KINDS, description, partial(network_faults.refuse, status=status))


def _redirect(url: str) -> Fault:
    return Fault(FILES, f"302 to {url}", partial(network_faults.redirect, url=url))


def _body(description: str, content: bytes, content_type: str = "application/json") -> Fault:
    return Fault(JSON, description, partial(network_faults.send, content=content, content_type=content_type))


def _corruption(description: str, change: Callable[..., None]) -> Fault:
    return Fault(JSON, description, partial(json_faults.corrupt, change=change))


def _entry_corruption(description: str, change: Callable[..., None]) -> Fault:
    return Fault(JSON, description, partial(json_faults.corrupt_entry, change=change))


FAULTS: Mapping[str, Fault] = {
    "status": Fault(KINDS, "the order's `status`, and its `retry_after`", network_faults.ordered_status),
    "401": _refusal(401, "login required"),
    "403": _refusal(403, "no access"),
    "404": _refusal(404, "not found; with `times` 1 only temporarily"),
    "410": _refusal(410, "withdrawn, archived"),
    "429": _refusal(429, "too many requests, without Retry-After"),
    "500": _refusal(500, "internal server error"),
    "502": _refusal(502, "bad gateway"),
    "503": _refusal(503, "service unavailable"),
    "429-retry-after": Fault(
        KINDS, "429, Retry-After in `seconds` (2)", partial(network_faults.retry_after_seconds, status=429)
    ),
    "429-retry-date": Fault(KINDS, "429, Retry-After as a date", network_faults.retry_after_date),
    "429-ratelimit": Fault(KINDS, "429, RateLimit and RateLimit-Policy", network_faults.rate_limit_headers),
    "503-retry-after": Fault(
        KINDS, "503, Retry-After in `seconds` (2)", partial(network_faults.retry_after_seconds, status=503)
    ),
    "gated": Fault(FILES, "401 or 403 in the hub's format for a gated model", network_faults.gate),
    "redirect-loop": Fault(KINDS, "302 to the same URL", network_faults.redirect_loop),
    "redirect-private": _redirect(PRIVATE),
    "redirect-metadata": _redirect(METADATA),
    "redirect-elsewhere": _redirect(ELSEWHERE),
    "redirect-file": _redirect(OWN_FILE),
    "expired-url": Fault(FILES, "302 to an expired signed URL: 403 there", network_faults.redirect_expired),
    "reset": Fault(KINDS, "the connection is reset before any response", network_faults.reset),
    "reset-midway": Fault(
        BODIES, "the connection is reset in the middle of the body", network_faults.reset_midway
    ),
    "hang": Fault(KINDS, "no response for `seconds` (30), then the connection closes", network_faults.hang),
    "slow-body": Fault(BODIES, "one byte every `seconds` (0.2)", network_faults.slow_body),
    "cut-body": Fault(BODIES, "the connection closes in the middle of the body", network_faults.cut_body),
    "length-short": Fault(
        BODIES, "half of the body, with the Content-Length of that half", network_faults.shorten
    ),
    "length-long": Fault(
        BODIES, "Content-Length exceeds the body by 1,000 bytes", network_faults.overstate_length
    ),
    "empty-body": Fault(
        ("head", *BODIES), "Content-Length 0 and no body; HEAD too", network_faults.empty_body
    ),
    "gzip": Fault(
        BODIES, "a gzip body that the client did not request", partial(network_faults.compress, padding_mb=0)
    ),
    "gzip-bomb": Fault(
        BODIES, "a gzip body with `mb` (256) of padding", partial(network_faults.compress, padding_mb=256)
    ),
    "wrong-bytes": Fault(BYTES, "other bytes of the right length", network_faults.invert_bytes),
    "wrong-range": Fault(
        BYTES,
        "the body is cut; then Content-Range begins one byte too late",
        network_faults.shift_content_range,
    ),
    "range-wrong-bytes": Fault(
        BYTES,
        "the body is cut; then the right Content-Range with the file's first bytes",
        network_faults.first_bytes_for_range,
    ),
    "ignored-range": Fault(
        BYTES, "the body is cut; then the whole file with a 200", network_faults.ignore_range
    ),
    "hostile-filename": Fault(BYTES, "`../` in Content-Disposition", network_faults.hostile_file_name),
    "html": _body("an HTML page with a 200", network_faults.PAGE, "text/html"),
    "truncated-json": Fault(
        JSON, "half of the JSON, with the Content-Length of that half", network_faults.truncate
    ),
    "deep-json": _body("200,000 nested brackets", network_faults.DEEP),
    "huge-number": _body("a number of 100,000 digits", network_faults.NUMBER),
    "not-utf8": _body("JSON with bytes that are not UTF-8", b'{"id": "\xff\xfe"}'),
    "huge-page": Fault(JSON, "`mb` (64) of spaces before the JSON", network_faults.pad),
    "missing-fields": _entry_corruption(
        "one entry without its fields, or without `field`", json_corruption.drop_fields
    ),
    "null-fields": _entry_corruption(
        "one entry whose fields, or `field`, are null", json_corruption.null_fields
    ),
    "wrong-types": _entry_corruption(
        "one entry whose fields, or `field`, have other types", json_corruption.change_types
    ),
    "wrong-hash": _corruption("a wrong sha256 of every file", json_corruption.change_hashes),
    "wrong-size": _corruption("a wrong size of every file", json_corruption.change_sizes),
    "hostile-names": _corruption("file names that begin with `../`", json_corruption.prefix_file_names),
    "hostile-text": _corruption(
        "control characters and 10,000 letters in texts", json_corruption.hostile_text
    ),
    "hostile-urls": _corruption(
        f"{METADATA} for every URL", partial(json_corruption.replace_urls, url=METADATA)
    ),
    "truncated-files": _corruption(
        "the second half of each list of files is missing", json_corruption.truncate_files
    ),
    "future-dates": Fault(
        JSON, "every date, and the Date header, is in 2099", partial(json_faults.shift_dates, year=2099)
    ),
    "dates-1970": Fault(JSON, "every date is in 1970", partial(json_faults.shift_dates, year=1970)),
    "duplicate-ids": Fault(
        LISTING, "every entry twice", partial(json_faults.corrupt, change=json_faults.repeat_entries)
    ),
    "moving-entry": Fault(
        LISTING, "after the page, the oldest entry of the list becomes the newest", json_faults.move_entry
    ),
    "endless-pages": Fault(
        LISTING, "always the first page, with a new cursor each time", json_faults.endless_pages
    ),
    "empty-page": Fault(LISTING, "a page without entries, although more follow", json_faults.empty_page),
    "empty-list": Fault(LISTING, "no entries, and no further page", json_faults.empty_list),
}


def format_faults() -> str:
    """Return the table as text: one line per fault, with the kinds of request that it applies to."""
    width = max(map(len, FAULTS))
    return "\n".join(
        f"{name:<{width}}  {fault.description} ({'all' if fault.kinds == KINDS else ' '.join(fault.kinds)})"
        for name, fault in FAULTS.items()
    )
