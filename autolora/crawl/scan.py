"""Step 1 of a crawl, the scan: everything that a crawl requests from one hub. The scan changes no listing's status."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import Enum, auto

from autolora.crawl.details import Completion
from autolora.crawl.pages import HubList, read_list
from autolora.crawl.watermarks import Watermark, rules_digest, scan_start
from autolora.errors import HubError
from autolora.hubs import Availability, Hub, Model, rejecting_rule
from autolora.params import CrawlParams
from autolora.records import Listing

MAX_CHECKED = 500
"""models that one scan checks because they are missing from the list"""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubScan:
    """The state of one hub as read by a crawl."""

    hub: str
    watermark: Watermark | None
    """the hub's watermark before the scan"""
    rules_digest: str
    """digest of the rules that the list was read by"""
    models: Mapping[str, Model] = field(default_factory=dict)
    """listed models by id"""
    listings: tuple[Listing, ...] = ()
    """listings of the models that the rules admit; partial ones of the models that wait"""
    failed: Mapping[str, str] = field(default_factory=dict)
    """id of a listed model that could not be completed -> reason"""
    unreadable: frozenset[str] = frozenset()
    """ids of list entries that could not be read"""
    availability: Mapping[str, Availability] = field(default_factory=dict)
    """model id -> availability, of the checked models with listings missing from a full scan"""
    problems: tuple[str, ...]
    is_complete: bool = False
    """the list was read as far as it should be"""
    is_full: bool = False
    """the whole list was read"""
    is_truncated: bool = False
    """the hub lists only a part of its models, so that a model may be available without being listed"""
    is_down: bool = False
    """the hub could not be scanned at all"""

    def with_completed(self, completion: Completion) -> "HubScan":
        """Return the scan with the listings and failures of a completion."""
        listings = tuple(listing for listings in completion.listings.values() for listing in listings)
        return replace(self, listings=listings, failed=completion.failed)


class Sighting(Enum):
    """The finding of a scan about one listing of the catalog."""

    RELISTED = auto()
    """the scan has a new listing of the file"""
    TOMBSTONE = auto()
    """the listing was withdrawn earlier, and the file is not listed again"""
    FAILED = auto()
    """the model is listed, but could not be read or completed"""
    WITHDRAWN = auto()
    """the list marks the model as withdrawn"""
    REJECTED = auto()
    """the rules reject the file"""
    NOT_SEEN = auto()
    """the scan shows neither the file nor a reason: the list, or the model's list of files, may be truncated"""


def read_hub(
    completion: Completion,
    known: Sequence[Listing],
    mark: Watermark | None,
    today: date,
) -> HubScan:
    """Return the hub's news since its watermark, or its whole list if a full scan is due.

    completion: of the hub's models, without any yet; those in the list are added, and the catalog's partial ones.
    known: the hub's listings in the catalog.
    Raises HubError if the hub is unreachable, returns an invalid response, or lists no models although it has known
    listings and crawl.max_withdrawn_share does not allow this.
    """
    hub, rules = completion.hub, completion.rules
    since = scan_start(mark, rules, today)
    hub_list = read_list(hub, rules, today, since)
    is_full = since is None and hub_list.is_complete
    num_known = sum(listing.status != "withdrawn" for listing in known)
    if is_full and num_known and not hub_list.models and rules.max_withdrawn_share < 1:
        raise HubError(
            f"hub {hub.name} lists no models, but the catalog has {num_known} files of it. Check hubs.{hub.name} and "
            "crawl.filters; if the empty list is correct, set crawl.max_withdrawn_share to 1 for one crawl"
        )
    completion.add_listed(_as_first_listed(hub_list, known))
    if since and hub_list.is_complete:
        completion.add_queued(row for row in known if row.is_partial and row.id not in hub_list.models)
    scan = HubScan(
        hub=hub.name,
        watermark=mark,
        rules_digest=rules_digest(rules),
        models=hub_list.models,
        unreadable=hub_list.unreadable,
        problems=hub_list.problems,
        is_complete=hub_list.is_complete,
        is_full=is_full,
        is_truncated=hub_list.is_truncated,
    )
    return scan.with_completed(completion)


def failed_scan(hub: str, mark: Watermark | None, rules: CrawlParams, error: HubError) -> HubScan:
    """Return the scan of a hub that could not be scanned."""
    return HubScan(
        hub=hub, watermark=mark, rules_digest=rules_digest(rules), problems=(str(error),), is_down=True
    )


def classify(known: Iterable[Listing], scan: HubScan, rules: CrawlParams) -> list[tuple[Listing, Sighting]]:
    """Return each known listing of the hub with the finding of the scan about it."""
    relisted = {(listing.id, listing.file) for listing in scan.listings}
    return [(listing, _sighting(listing, scan, relisted, rules)) for listing in known]


def check_missing(
    hub: Hub, scan: HubScan, known: Iterable[Listing], rules: CrawlParams, today: date
) -> HubScan:
    """Return a full scan with the availability of the models of unseen listings, checked on the models' own pages.

    At most MAX_CHECKED models are checked, on each day others. Models that are not found are checked a second time
    after all others.
    """
    unseen = [listing for listing, sighting in classify(known, scan, rules) if sighting is Sighting.NOT_SEEN]
    ids = list(dict.fromkeys(listing.id for listing in unseen))
    availability: dict[str, Availability] = {}
    problems: list[str] = []
    start = today.toordinal() * MAX_CHECKED % len(ids) if len(ids) > MAX_CHECKED else 0
    pending = (ids[start:] + ids[:start])[:MAX_CHECKED]
    for _ in range(2):
        for id in pending:
            try:
                availability[id] = hub.availability(id)
            except HubError as error:
                availability.pop(id, None)
                problems.append(str(error))
        pending = [id for id in pending if availability.get(id) is Availability.NOT_FOUND]
    if len(ids) > MAX_CHECKED:
        problems.append(
            f"{len(ids) - MAX_CHECKED} more models are missing from the list and were not checked"
        )
    return replace(scan, availability=availability, problems=(*scan.problems, *problems))


def _sighting(
    listing: Listing, scan: HubScan, relisted: set[tuple[str, str]], rules: CrawlParams
) -> Sighting:
    model = scan.models.get(listing.id)
    if (listing.id, listing.file) in relisted:
        return Sighting.RELISTED
    if listing.status == "withdrawn":
        return Sighting.TOMBSTONE
    if listing.id in scan.failed or (not model and listing.id in scan.unreadable):
        return Sighting.FAILED
    if model and model.withdrawn:
        return Sighting.WITHDRAWN
    return Sighting.REJECTED if model and _is_rejected(listing, model, rules) else Sighting.NOT_SEEN


def _is_rejected(listing: Listing, model: Model, rules: CrawlParams) -> bool:
    """Return whether the rules reject a listing's file ("": any file of a model whose list names no files)."""
    same_file = [partial for partial in model.partial_listings if partial.file in ("", listing.file)]
    return bool(same_file) and all(rejecting_rule(partial, rules) for partial in same_file)


def _as_first_listed(hub_list: HubList, known: Collection[Listing]) -> list[Model]:
    """Return the models with the downloads, and of a queued file the day, that the catalog has of the first listing."""
    counted = [listing for listing in known if listing.downloads is not None]
    downloads = {(listing.id, ""): listing.downloads for listing in counted} | {
        (listing.id, listing.file): listing.downloads for listing in counted
    }
    days = {(row.id, row.file): row.first_seen for row in known if row.status == "queued"}
    return [
        replace(
            model,
            partial_listings=tuple(
                replace(
                    listing,
                    downloads=downloads.get((listing.id, listing.file), listing.downloads),
                    first_seen=days.get((listing.id, listing.file), listing.first_seen),
                )
                for listing in model.partial_listings
            ),
        )
        for model in hub_list.models.values()
    ]
