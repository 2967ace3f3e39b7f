"""Hubs: where adapters are published. Everything a hub tells is a stranger's text until it is checked."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Protocol

from autolora.params import CrawlParams
from autolora.records import NSFW_LEVELS, Listing

MB = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One entry of a hub's list: a model with its files, as far as the list tells."""

    id: str
    version: str
    """changes whenever anything about it changes that matters to us"""
    updated: datetime.datetime
    """UTC; what the list is sorted by"""
    drafts: tuple[Listing, ...]
    """one for each file of LoRA weights, or one whose file is "" where the list names no files; sizes, hashes and
    renderings may still lack"""
    withdrawn: bool
    """the list itself says that it was taken down, archived, disabled or closed"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page of a hub's list."""

    models: tuple[Model, ...]
    next: str | None
    """opaque cursor of the next page; None at the end"""
    problems: tuple[str, ...]
    """entries that could not be read, in words"""
    unreadable: frozenset[str] = frozenset()
    """ids of those entries, as far as the hub tells them"""


class Standing(Enum):
    """How a model stands by what its own page says."""

    THERE = "there"
    ABSENT = "absent"
    """not found: 404"""
    WITHDRAWN = "withdrawn"
    """gone for good: 410, taken down, disabled or made private"""


class Hub(Protocol):
    """One hub: what it lists, and how a file is got from it. Everything here raises HubError where the hub
    cannot be reached or answers nonsense."""

    @property
    def name(self) -> str:
        """The hub's name in params.yaml and in the catalog."""

    def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
        """Return one page of the list, newest first; the first page where there is no cursor.

        today: `first_seen` of the drafts.
        """

    def complete(self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]) -> tuple[Listing, ...]:
        """Return the model's drafts with size, sha256 and renderings; none where the model is gone.

        known: earlier listings by URL; what they hold is not asked about again, unless they are not complete.
        """

    def standing(self, id: str) -> Standing:
        """Ask the model's own page how it stands."""

    def download(self, url: str, target: Path, limit: int) -> str:
        """Write a file of at most `limit` bytes to `target` and return the sha256 of what came.

        Raises RefusedFile (`too-large`) when it is larger.
        """


def objection(listing: Listing, rules: CrawlParams) -> str | None:
    """Return the name of the first rule that leaves a listing out, or None; what is not told yet passes."""
    objections = {
        "bases": bool(rules.bases) and listing.base is not None and listing.base not in rules.bases,
        "licenses": bool(rules.licenses) and listing.license not in rules.licenses,
        "max_nsfw_level": _above(listing.nsfw_level, rules) or (listing.nsfw and _above("mature", rules)),
        "persons": bool(listing.person) and not rules.persons,
        "minors": bool(listing.minor) and not rules.minors,
        "min_downloads": listing.downloads is not None and listing.downloads < rules.min_downloads,
        "max_file_mb": listing.size is not None and listing.size > rules.max_file_mb * MB,
    }
    return next((rule for rule, objects in objections.items() if objects), None)


def trim(listing: Listing, rules: CrawlParams) -> Listing:
    """Leave out the pictures that the rules do not let in."""
    pictures = [one for one in listing.renderings if not _above(one.nsfw_level, rules)]
    kept = tuple(pictures[: rules.max_renderings])
    return listing if kept == listing.renderings else replace(listing, renderings=kept)


def _above(level: str | None, rules: CrawlParams) -> bool:
    """Tell whether a level is said and higher than the rules allow."""
    return level is not None and NSFW_LEVELS.index(level) > NSFW_LEVELS.index(rules.max_nsfw_level)
