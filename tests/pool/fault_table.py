"""The fault table: which fault is injected into which requests of a hub, and what crawl and pool make of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from playground.hubs.faults import FAULTS
from playground.hubs.repos import HUBS

TARGETS = {
    "listing": dict.fromkeys(HUBS, "listing"),
    "details": {"huggingface": "tree", "civitai": "images", "modelscope": "tree"},
    "weights": dict.fromkeys(HUBS, "weights"),
    "link": {"huggingface": "weights", "civitai": "download", "modelscope": "weights"},
    "renderings": dict.fromkeys(HUBS, "renderings"),
}
"""target -> hub -> kind of request; a link is the request that redirects to the weights"""
NEW_REPO, PAGE_SIZE = "bob/late", 4
FIRST_PAGE = {"bob/cat", "eve/pickle", "bob/late", "cat/later"}
RETRY_AFTER_S = {"429-retry-after": 2.0, "503-retry-after": 2.0, "429-ratelimit": 3.0}
"""fault -> seconds that the hub asks to wait"""


class Outcome(Enum):
    """The state after the day with the fault."""

    ARRIVED = auto()
    """as without the fault, after retries if necessary"""
    HUB_STALE = auto()
    """the hub's listings are those of the day before, each with stale_since; the pool keeps their files"""
    UNREAD_PAGES_STALE = auto()
    """as without the fault, except that listings on unread pages are stale"""
    UNSEEN = auto()
    """listings missing from the list are kept, and new ones may be missing"""
    NEW_REPO_MISSING = auto()
    """as without the fault, except that the new repository is not in the catalog yet"""
    METADATA_MISSING = auto()
    """as without the fault, except that images or prompts are missing"""
    DEFERRED = auto()
    """the pool fails and names the new repository's file or image, and the next crawl defers it; the rest arrived"""
    ALL_DEFERRED = auto()
    """the hub lists other hashes than its files have: known listings are stale, new ones queued"""


ONCE, ALWAYS = 1, 10**6
RETRIED = "429 429-retry-after 429-retry-date 429-ratelimit 500 502 503 503-retry-after reset reset-midway"
INVALID_BODY = (
    "cut-body length-short length-long empty-body html truncated-json deep-json huge-number not-utf8"
)
NOT_RETRIED = "401 403 404 410 gzip-bomb huge-page"


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    fault: str
    target: str
    times: int
    outcomes: Mapping[str, Outcome]
    """by hub"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """further options of the injection"""

    @property
    def id(self) -> str:
        """The case's part of a test id."""
        target = "second page" if self.options.get("after") else self.target
        return f"{target}-{self.fault}-{'once' if self.times == ONCE else 'always'}"


def _cases(
    faults: str, target: str, times: int, outcome: Outcome | Mapping[str, Outcome], **options: Any
) -> list[Case]:
    """Return one line per fault."""
    outcomes = dict.fromkeys(HUBS, outcome) if isinstance(outcome, Outcome) else outcome
    return [Case(fault, target, times, outcomes, options) for fault in faults.split()]


def _by_hub(civitai: Outcome, huggingface: Outcome, modelscope: Outcome) -> Mapping[str, Outcome]:
    return {"civitai": civitai, "huggingface": huggingface, "modelscope": modelscope}


ARRIVED, STALE, UNREAD_STALE = Outcome.ARRIVED, Outcome.HUB_STALE, Outcome.UNREAD_PAGES_STALE
UNSEEN, MISSING, PARTIAL = Outcome.UNSEEN, Outcome.NEW_REPO_MISSING, Outcome.METADATA_MISSING
DEFERRED, ALL_DEFERRED = Outcome.DEFERRED, Outcome.ALL_DEFERRED
NEW = {"path": NEW_REPO}
SMALL = {"mb": 20}
TABLE = [
    *_cases(f"{RETRIED} {INVALID_BODY} {NOT_RETRIED}", "listing", ONCE, ARRIVED, **SMALL),
    *_cases("slow-body hang gzip redirect-loop", "listing", ONCE, ARRIVED),
    *_cases("429-retry-after 500 503 reset reset-midway hang", "listing", ALWAYS, STALE),
    *_cases(f"{INVALID_BODY} {NOT_RETRIED} redirect-loop", "listing", ALWAYS, STALE, **SMALL),
    *_cases("500 410 truncated-json", "listing", ALWAYS, UNREAD_STALE, after=1),
    *_cases("missing-fields null-fields wrong-types", "listing", ALWAYS, MISSING, entry=NEW_REPO),
    *_cases("duplicate-ids hostile-text future-dates gzip", "listing", ALWAYS, ARRIVED),
    *_cases("hostile-urls", "listing", ALWAYS, _by_hub(STALE, PARTIAL, ARRIVED)),
    *_cases("dates-1970 empty-list", "listing", ALWAYS, STALE),
    *_cases("hostile-names", "listing", ALWAYS, _by_hub(UNSEEN, UNSEEN, ARRIVED)),
    *_cases("truncated-files", "listing", ALWAYS, _by_hub(UNSEEN, UNSEEN, ARRIVED)),
    *_cases("endless-pages", "listing", ALWAYS, UNREAD_STALE),
    *_cases("empty-page", "listing", ONCE, _by_hub(UNSEEN, UNSEEN, ARRIVED)),
    *_cases("empty-page", "listing", ONCE, UNSEEN, after=1),
    *_cases("moving-entry", "listing", ONCE, UNSEEN),
    *_cases("wrong-hash", "listing", ALWAYS, _by_hub(ALL_DEFERRED, ARRIVED, ARRIVED)),
    *_cases("wrong-size", "listing", ALWAYS, ARRIVED),
    *_cases("500 429 reset html truncated-json cut-body", "details", ONCE, ARRIVED, **NEW),
    *_cases("500 503 html truncated-json", "details", ALWAYS, MISSING, **NEW),
    *_cases("401 403 404 410", "details", ALWAYS, _by_hub(PARTIAL, MISSING, MISSING), **NEW),
    *_cases("truncated-files", "details", ALWAYS, _by_hub(ARRIVED, MISSING, MISSING), **NEW),
    *_cases("hostile-names", "details", ALWAYS, _by_hub(ARRIVED, MISSING, MISSING), **NEW),
    *_cases("missing-fields null-fields wrong-types", "details", ALWAYS, PARTIAL, **NEW),
    *_cases("wrong-hash", "details", ALWAYS, _by_hub(ARRIVED, DEFERRED, DEFERRED), **NEW),
    *_cases("wrong-size", "details", ALWAYS, ARRIVED, **NEW),
    *_cases("429 500 503-retry-after reset reset-midway cut-body hang", "weights", ONCE, ARRIVED, **NEW),
    *_cases("length-short length-long wrong-bytes empty-body", "weights", ONCE, ARRIVED, **NEW),
    *_cases("hostile-filename ignored-range", "weights", ALWAYS, ARRIVED, **NEW),
    *_cases("404 500 reset-midway cut-body slow-body gzip", "weights", ALWAYS, DEFERRED, **NEW),
    *_cases("length-short length-long", "weights", ALWAYS, DEFERRED, **NEW),
    *_cases("wrong-bytes empty-body range-wrong-bytes wrong-range", "weights", ALWAYS, DEFERRED, **NEW),
    *_cases("gzip-bomb", "weights", ALWAYS, DEFERRED, mb=20, **NEW),
    *_cases("gated expired-url redirect-private redirect-elsewhere", "link", ONCE, ARRIVED, **NEW),
    *_cases("gated expired-url redirect-loop redirect-private", "link", ALWAYS, DEFERRED, **NEW),
    *_cases("redirect-metadata redirect-elsewhere redirect-file", "link", ALWAYS, DEFERRED, **NEW),
    *_cases("401 403 410", "link", ALWAYS, DEFERRED, **NEW),
    *_cases("429 500 reset cut-body", "renderings", ONCE, ARRIVED, **NEW),
    *_cases("404 500 cut-body redirect-private", "renderings", ALWAYS, DEFERRED, **NEW),
    *_cases("wrong-bytes empty-body", "renderings", ALWAYS, DEFERRED, **NEW),
]
CELLS = {f"{hub}-{case.id}": (hub, case) for case in TABLE for hub in case.outcomes}
FIRST_CELLS = {
    id for fault in FAULTS for id in [id for id in CELLS if CELLS[id][1].fault == fault][: len(HUBS)]
}
"""the first cells of each fault, which are always tested"""
OTHER_CELLS = sorted(CELLS.keys() - FIRST_CELLS)
