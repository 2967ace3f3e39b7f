"""Completion of partial listings: the metadata missing from a hub's list is requested from each model's own page.

A new model is requested only when the crawl can admit it. Until then its listings stay as the list gave them.
"""

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

from autolora.errors import HubError
from autolora.hubs import Hub, Model, rejecting_rule
from autolora.hubs.validation import EARLIEST, parse_time
from autolora.params import CrawlParams
from autolora.progress import track
from autolora.records import Listing

MAX_CONSECUTIVE_FAILURES = 5
"""models that may fail in a row before no further new model of the hub is requested"""


@dataclass(kw_only=True, slots=True)
class Completion:
    """The listings of one hub's models; those of a new model are partial until the model is requested."""

    hub: Hub
    rules: CrawlParams
    known: Mapping[str, Mapping[str, Listing]]
    """model id -> URL -> earlier complete listing, whose metadata is not requested again"""
    urgent: Container[str]
    """ids of models that are requested whether they are admitted or not, since they are active"""
    listings: dict[str, tuple[Listing, ...]] = field(default_factory=dict)
    """model id -> its listings that the rules admit, as far as they are known"""
    waiting: dict[str, Model] = field(default_factory=dict)
    """models that have not been requested, by id"""
    failed: dict[str, str] = field(default_factory=dict)
    """id of a model that could not be completed -> reason"""
    failures_in_a_row: int = 0

    def add_listed(self, models: Collection[Model]) -> None:
        """Add listed models. What is known is completed; new models wait, unless they are urgent."""
        for model in track(models, f"crawl, hub {self.hub.name}", len(models), "models read"):
            allowed = tuple(row for row in model.partial_listings if not rejecting_rule(row, self.rules))
            if not model.withdrawn and allowed:
                self._add(replace(model, partial_listings=allowed))

    def add_queued(self, queued: Iterable[Listing]) -> None:
        """Add the models of partial listings in the catalog's order, which the list does not show today."""
        for id, rows in groupby(queued, key=lambda row: row.id):
            partial = tuple(replace(row, status="listed", complete=True, stale_since=None) for row in rows)
            self.waiting[id] = Model(
                id=id,
                version=partial[0].version,
                updated=parse_time(partial[0].updated) or EARLIEST,
                partial_listings=partial,
                withdrawn=False,
            )

    def request(self, ids: Iterable[str]) -> None:
        """Complete the listings of waiting models; none after MAX_CONSECUTIVE_FAILURES failures in a row."""
        for id in ids:
            if id in self.waiting and self.failures_in_a_row < MAX_CONSECUTIVE_FAILURES:
                self._complete(self.waiting.pop(id), is_new=True)

    def _add(self, model: Model) -> None:
        is_new = self._needs_request(model)
        names_files = all(listing.file for listing in model.partial_listings)
        if not is_new or model.id in self.urgent or not names_files:
            self._complete(model, is_new)
            return
        self.waiting[model.id] = model
        self.listings[model.id] = tuple(
            replace(listing, status="queued", complete=False) for listing in model.partial_listings
        )

    def _complete(self, model: Model, is_new: bool) -> None:
        """Replace a model's listings by complete ones. A model that fails does not affect the others."""
        if is_new and self.failures_in_a_row == MAX_CONSECUTIVE_FAILURES:
            self.failed[model.id] = (
                f"skipped, since {MAX_CONSECUTIVE_FAILURES} models in a row failed before it"
            )
            return
        try:
            completed = self.hub.complete_listings(model, self.rules, self.known.get(model.id, {}))
        except HubError as error:
            self.failed[model.id] = str(error)
            self.failures_in_a_row += is_new
            self.listings.pop(model.id, None)
            return
        self.listings[model.id] = completed
        if is_new:
            self.failures_in_a_row = 0

    def _needs_request(self, model: Model) -> bool:
        """Return whether the version and a file are new, or an earlier listing is incomplete."""
        earlier = self.known.get(model.id, {})
        if any(not listing.complete for listing in earlier.values()):
            return True
        same_version = any(listing.version == model.version for listing in earlier.values())
        return not same_version and any(listing.url not in earlier for listing in model.partial_listings)
