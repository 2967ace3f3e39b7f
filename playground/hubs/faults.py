"""Every way in which the playground's hub misbehaves on order: one table, from name to how it is done.

A fault is a function of the call that it was ordered for, and returns the answer. It may let the route answer and
damage that, have it answer a changed request, or answer by itself. `kinds` are the requests that it is made for:
where the order names no kind, the next of these is met.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from playground.hubs import damage, told, wire
from playground.hubs.exchange import Answer
from playground.hubs.orders import BYTES, JSON, KINDS, Call


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of the table."""

    kinds: tuple[str, ...]
    what: str
    commit: Callable[[Call], Answer]


BODIES = (*JSON, *BYTES)
FILES = ("head", "download", *BYTES)
LISTING = ("listing",)
PRIVATE, METADATA = "http://10.255.255.1/a", "http://169.254.169.254/latest/meta-data/"
ELSEWHERE, OWN_FILE = "http://elsewhere.invalid/a", "file:///etc/hostname"

FAULTS: Mapping[str, Fault] = {
    "status": Fault(KINDS, "the order's `status`, and its `retry_after`", wire.ordered_status),
    **{
        str(status): Fault(KINDS, what, partial(wire.refuse, status=status))
        for status, what in (
            (401, "a login is wanted"),
            (403, "no access"),
            (404, "not found; with `times` 1 only for a moment"),
            (410, "withdrawn, archived"),
            (429, "too many requests, and not a word of when to come back"),
            (500, "the hub is broken"),
            (502, "what stands before the hub is broken"),
            (503, "the hub is overloaded"),
        )
    },
    "429-retry-after": Fault(
        KINDS, "429, Retry-After in `seconds` (2)", partial(wire.ask_to_wait, status=429)
    ),
    "429-retry-date": Fault(KINDS, "429, Retry-After as a date", wire.ask_to_wait_until),
    "429-ratelimit": Fault(KINDS, "429, RateLimit and RateLimit-Policy", wire.name_the_limit),
    "503-retry-after": Fault(
        KINDS, "503, Retry-After in `seconds` (2)", partial(wire.ask_to_wait, status=503)
    ),
    "gated": Fault(FILES, "401 or 403 in the hub's words for a gated model", wire.gate),
    "redirect-loop": Fault(KINDS, "302 to itself", wire.redirect_in_circles),
    "redirect-private": Fault(FILES, f"302 to {PRIVATE}", partial(wire.redirect, url=PRIVATE)),
    "redirect-metadata": Fault(FILES, f"302 to {METADATA}", partial(wire.redirect, url=METADATA)),
    "redirect-elsewhere": Fault(FILES, f"302 to {ELSEWHERE}", partial(wire.redirect, url=ELSEWHERE)),
    "redirect-file": Fault(FILES, f"302 to {OWN_FILE}", partial(wire.redirect, url=OWN_FILE)),
    "expired-url": Fault(FILES, "302 to a signed URL that has expired: 403 there", wire.redirect_expired),
    "reset": Fault(KINDS, "the connection is reset before there is an answer", wire.reset_at_once),
    "reset-midway": Fault(BODIES, "the connection is reset in the middle of the body", wire.reset),
    "hang": Fault(KINDS, "no answer for `seconds` (30), then the connection is closed", wire.hang),
    "drip": Fault(BODIES, "one byte every `seconds` (0.2)", wire.drip),
    "cut-body": Fault(BODIES, "the connection closes in the middle of the body", wire.cut),
    "length-short": Fault(BODIES, "half the body, and Content-Length says so", wire.end_early),
    "length-long": Fault(BODIES, "Content-Length says 1,000 bytes more than come", wire.promise_more),
    "empty-body": Fault(("head", *BODIES), "Content-Length 0, to HEAD too, and no body", wire.empty),
    "gzip": Fault(BODIES, "the body in gzip, asked for or not", partial(wire.compress, padding_mb=0)),
    "gzip-bomb": Fault(BODIES, "in gzip, with `mb` (256) of padding", partial(wire.compress, padding_mb=256)),
    "wrong-bytes": Fault(BYTES, "other bytes of the right length", wire.invert),
    "wrong-range": Fault(BYTES, "cut; then a range that begins elsewhere, and says so", wire.shift_range),
    "lying-range": Fault(
        BYTES, "cut; then the range asked for, with the file's first bytes", wire.lie_about_range
    ),
    "ignored-range": Fault(BYTES, "cut; then the whole file with a 200", wire.ignore_range),
    "hostile-filename": Fault(BYTES, "`../` in Content-Disposition", wire.name_hostilely),
    "html": Fault(
        JSON, "a page for people, with a 200", partial(wire.send, content=wire.PAGE, kind="text/html")
    ),
    "truncated-json": Fault(JSON, "half of the JSON, complete by its length", wire.truncate),
    "deep-json": Fault(JSON, "200,000 brackets", partial(wire.send, content=wire.DEEP)),
    "huge-number": Fault(JSON, "a number of 100,000 digits", partial(wire.send, content=wire.NUMBER)),
    "not-utf8": Fault(
        JSON, "JSON with bytes that are no UTF-8", partial(wire.send, content=b'{"id": "\xff\xfe"}')
    ),
    "huge-page": Fault(JSON, "`mb` (64) of spaces before the JSON", wire.pad),
    "missing-fields": Fault(
        JSON, "an entry without its fields, or `field`", partial(told.spoil_entry, change=damage.drop_fields)
    ),
    "null-fields": Fault(
        JSON,
        "an entry whose fields, or `field`, are null",
        partial(told.spoil_entry, change=damage.null_fields),
    ),
    "wrong-types": Fault(
        JSON,
        "an entry whose fields, or `field`, have other types",
        partial(told.spoil_entry, change=damage.change_types),
    ),
    "wrong-hash": Fault(
        JSON, "another sha256 than the files have", partial(told.spoil, change=damage.change_hashes)
    ),
    "wrong-size": Fault(
        JSON, "another size than the files have", partial(told.spoil, change=damage.change_sizes)
    ),
    "hostile-names": Fault(
        JSON, "file names that begin with `../`", partial(told.spoil, change=damage.climb)
    ),
    "hostile-text": Fault(
        JSON,
        "control characters and 10,000 letters in texts",
        partial(told.spoil, change=damage.hostile_text),
    ),
    "hostile-urls": Fault(
        JSON,
        f"{METADATA} for every URL",
        partial(told.spoil, change=partial(damage.foreign_urls, url=METADATA)),
    ),
    "truncated-files": Fault(
        JSON,
        "the latter half of each list of files is missing",
        partial(told.spoil, change=damage.truncate_files),
    ),
    "future-dates": Fault(
        JSON, "every date, the answer's own too, is in 2099", partial(told.shift_date_header, year=2099)
    ),
    "dates-1970": Fault(JSON, "every date is in 1970", partial(told.shift_date_header, year=1970)),
    "duplicate-ids": Fault(LISTING, "every entry twice", partial(told.spoil, change=told.repeat_entries)),
    "moving-entry": Fault(
        LISTING, "after the page, the last entry of all becomes the newest", told.move_entry
    ),
    "endless-pages": Fault(LISTING, "the first page for ever, each time with a new cursor", told.never_end),
    "empty-page": Fault(LISTING, "a page without entries, though more follow", told.show_nothing),
    "empty-list": Fault(LISTING, "no entries, and nothing follows", told.have_nothing),
}


def list_faults() -> str:
    """Return the table as text: a line a fault, with the kinds of request that it is made for."""
    width = max(map(len, FAULTS))
    return "\n".join(
        f"{name:<{width}}  {fault.what} ({'all' if fault.kinds == KINDS else ' '.join(fault.kinds)})"
        for name, fault in FAULTS.items()
    )
