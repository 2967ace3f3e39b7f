"""The interface that every hub client implements, and the rules on which listings enter the catalog.

A hub publishes adapters. All text and numbers that a hub returns are untrusted until autolora.hubs.validation
has checked them.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Protocol

from autolora.params import CrawlParams
from autolora.records import NSFW_LEVELS, Listing
from autolora.storage.files import MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One entry of a hub's list: a model and its files, with the fields that the list contains."""

    id: str
    version: str
    """changes whenever a field that AutoLoRA reads changes"""
    updated: datetime.datetime
    """UTC; the list is sorted by it"""
    partial_listings: tuple[Listing, ...]
    """one per file of LoRA weights; a single one with an empty `file` if the list names no files. Sizes,
    hashes and renderings may be missing until `Hub.complete_listings` adds them"""
    withdrawn: bool
    """the list marks the model as taken down, archived, disabled or restricted"""
    author: str | None = None
    """name of the user who published the model, if the hub's client needs it for `complete_listings`"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page of a hub's list."""

    models: tuple[Model, ...]
    next: str | None
    """opaque cursor of the next page; None on the last page"""
    problems: tuple[str, ...]
    """one message per entry that could not be read"""
    unreadable: frozenset[str] = frozenset()
    """ids of the entries that could not be read, if they have a valid id"""
    is_truncated: bool = False
    """the hub has further models that its list never shows"""


class Availability(Enum):
    """Whether a hub still offers a model, according to the model's own page."""

    AVAILABLE = "available"
    NOT_FOUND = "not found"
    """404: the model may come back"""
    WITHDRAWN = "withdrawn"
    """410, taken down, disabled or private: the removal is intended"""


class Hub(Protocol):
    """Client of one hub. Methods raise HubError if the hub is unreachable or its response is not valid."""

    @property
    def name(self) -> str:
        """The hub's name in params.yaml and in the catalog."""

    def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
        """Return one page of the hub's list, newest entries first.

        cursor: `Page.next` of the page before; None for the first page.
        today: `first_seen` of the returned listings.
        """

    def complete_listings(
        self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]
    ) -> tuple[Listing, ...]:
        """Return the model's listings with size, sha256 and renderings; none if the model no longer exists.

        known: earlier listings by URL. Their fields are reused without a request, unless a listing is
        incomplete.
        """

    def availability(self, id: str) -> Availability:
        """Request the model's own page and return whether the model is available."""

    def download(self, url: str, target: Path, limit: int) -> str:
        """Write a file of at most `limit` bytes to `target` and return the sha256 of the written bytes.

        Raises RefusedFile (`too-large`) if the file is larger.
        """


def rejecting_rule(listing: Listing, rules: CrawlParams) -> str | None:
    """Return the first rule that rejects a listing, or None. A missing value passes, except a license."""
    rejects = {
        "bases": bool(rules.bases) and listing.base is not None and listing.base not in rules.bases,
        "licenses": bool(rules.licenses) and listing.license not in rules.licenses,
        "max_nsfw_level": _exceeds(listing.nsfw_level, rules) or (listing.nsfw and _exceeds("mature", rules)),
        "persons": bool(listing.person) and not rules.persons,
        "minors": bool(listing.minor) and not rules.minors,
        "min_downloads": listing.downloads is not None and listing.downloads < rules.min_downloads,
        "max_file_mb": listing.size is not None and listing.size > rules.max_file_mb * MB,
    }
    return next((rule for rule, rejected in rejects.items() if rejected), None)


def describe_rejection(rule: str) -> str:
    """Return why a listing that a rule rejects is left out, as a phrase."""
    if rule == "minors":
        return "marked as showing a minor; such adapters never enter"
    return f"rejected by crawl.{rule} in params.yaml"


def limit_images(listing: Listing, rules: CrawlParams) -> Listing:
    """Return the listing with at most `max_renderings` renderings, none of them above `max_nsfw_level`."""
    allowed = [rendering for rendering in listing.renderings if not _exceeds(rendering.nsfw_level, rules)]
    renderings = tuple(allowed[: rules.max_renderings])
    return listing if renderings == listing.renderings else replace(listing, renderings=renderings)


def _exceeds(level: str | None, rules: CrawlParams) -> bool:
    """Return whether a level is known and higher than the rules allow."""
    return level is not None and NSFW_LEVELS.index(level) > NSFW_LEVELS.index(rules.max_nsfw_level)
