"""Hubs: where adapters are published. Everything a hub tells is a stranger's text until it is checked."""

import datetime
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from autolora.params import CrawlParams
from autolora.records import Listing

MB = 1_000_000


class Hub(Protocol):
    """One hub: what it lists, and how a file is got from it."""

    @property
    def name(self) -> str:
        """The hub's name in params.yaml and in the catalog."""

    def listings(
        self, rules: CrawlParams, known: Iterable[Listing], today: datetime.date
    ) -> Iterator[Listing]:
        """Yield what the hub shows today under these rules.

        known: the old catalog; what it holds and has not changed is not asked about again.
        Raises HubError when the hub cannot be reached or answers nonsense.
        """

    def download(self, url: str, target: Path, limit: int) -> str:
        """Write a file of at most `limit` bytes to `target` and return the sha256 of what came.

        Raises HubError when it cannot be had, RefusedFile (`too-large`) when it is larger.
        """


def selected(listing: Listing, rules: CrawlParams) -> bool:
    """Tell whether a listing may enter the catalog; a size that is not told yet passes."""
    return (
        (not rules.licences or listing.licence in rules.licences)
        and (rules.nsfw or not listing.nsfw)
        and (listing.size is None or listing.size <= rules.max_file_mb * MB)
    )
