"""Completion of partial listings: the metadata missing from a hub's list is fetched from each model's own page."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from autolora.crawl.resume import Journal
from autolora.errors import HubError
from autolora.hubs import Hub, Model, rejecting_rule
from autolora.params import CrawlParams
from autolora.progress import track
from autolora.records import Listing

MAX_CONSECUTIVE_FAILURES = 5
"""models that may fail in a row before the remaining new models of the hub are skipped"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletedModels:
    """The complete listings of a hub's models."""

    listings: tuple[Listing, ...]
    failed: Mapping[str, str]
    """id of a model that could not be completed -> reason"""
    left_out: Mapping[str, int]
    """rule -> number of files that it rejects"""


def complete_models(
    hub: Hub, models: Sequence[Model], rules: CrawlParams, known: Mapping[str, Listing], journal: Journal
) -> CompletedModels:
    """Return the complete listings of all files that the rules admit.

    known: earlier listings by URL; their metadata is not fetched again unless a listing is incomplete. A model that
    fails does not affect the others. After MAX_CONSECUTIVE_FAILURES failures in a row no further new model is fetched.
    """
    known_by_model: defaultdict[str, dict[str, Listing]] = defaultdict(dict)
    for url, listing in known.items():
        known_by_model[listing.id][url] = listing
    listings: list[Listing] = []
    failed: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    failures_in_a_row = 0
    for model in track(models, f"crawl, hub {hub.name}", len(models), "models completed"):
        rejections = [rejecting_rule(listing, rules) for listing in model.partial_listings]
        left_out.update(rule for rule in rejections if rule)
        admitted = tuple(
            listing for listing, rule in zip(model.partial_listings, rejections, strict=True) if not rule
        )
        if model.withdrawn or not admitted:
            continue
        earlier = known_by_model[model.id]
        is_new = _needs_request(model, admitted, earlier)
        if is_new and failures_in_a_row == MAX_CONSECUTIVE_FAILURES:
            failed[model.id] = f"skipped, since {MAX_CONSECUTIVE_FAILURES} models in a row failed before it"
            continue
        try:
            completed = hub.complete_listings(replace(model, partial_listings=admitted), rules, earlier)
        except HubError as error:
            failed[model.id] = str(error)
            failures_in_a_row += is_new
            continue
        listings += completed
        if is_new:
            journal.add_completed(completed)
            failures_in_a_row = 0
    return CompletedModels(listings=tuple(listings), failed=failed, left_out=left_out)


def _needs_request(model: Model, admitted: Iterable[Listing], earlier: Mapping[str, Listing]) -> bool:
    """Return whether the hub must be queried: the version and a file are new, or an earlier listing is incomplete."""
    if any(not listing.complete for listing in earlier.values()):
        return True
    same_version = any(listing.version == model.version for listing in earlier.values())
    return not same_version and any(listing.url not in earlier for listing in admitted)
