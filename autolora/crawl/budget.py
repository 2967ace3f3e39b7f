"""The daily budget: which new files become active today, and which stay queued."""

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace

from autolora.params import BudgetParams, CrawlParams, InstructionParams
from autolora.records import Listing
from autolora.storage.files import MB

GB = 1_000_000_000
CAPTIONS_PER_RENDERING = len(fields(InstructionParams))

Request = Callable[[Listing], Listing]
"""returns a partial listing as it is after its model was requested, unchanged if that fails"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """The cost of adding files to the pool."""

    files: int = 0
    size: int = 0
    """bytes; a file without a reported size counts as the largest size that the rules allow"""
    renderings: int = 0
    unsized: int = 0
    """files with partial listings, which count as 0 bytes"""

    @property
    def captions(self) -> int:
        """The number of captions that the VLM writes for the renderings."""
        return self.renderings * CAPTIONS_PER_RENDERING

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            files=self.files + other.files,
            size=self.size + other.size,
            renderings=self.renderings + other.renderings,
            unsized=self.unsized + other.unsized,
        )

    def fits(self, budget: BudgetParams) -> bool:
        """Return whether a daily budget covers this cost."""
        return (
            (budget.files is None or self.files <= budget.files)
            and (budget.gb is None or self.size <= budget.gb * GB)
            and (budget.captions is None or self.captions <= budget.captions)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """The files that are active so far, and how much of the daily budget they have used."""

    files: frozenset[str]
    """keys of the active files"""
    images: frozenset[str]
    """keys of the images that are paid for"""
    spent: Cost


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """The catalog after the daily budget was applied."""

    listings: tuple[Listing, ...]
    """all listings with their new status, in the given order"""
    queued: Mapping[str, Cost]
    """hub -> cost of its queued files; a file of several hubs counts for the first"""
    oversized: tuple[Listing, ...]
    """queued files that exceed the whole daily budget"""


def cost(listing: Listing, rules: CrawlParams, known_images: Container[str]) -> Cost:
    """Return the cost of a file and its images. known_images: keys of images that cost nothing."""
    unsized = listing.is_partial and listing.size is None
    unknown = 0 if unsized else int(rules.max_file_mb * MB)
    size = unknown if listing.size is None else listing.size
    new_images = {rendering.key for rendering in listing.renderings if rendering.key not in known_images}
    return Cost(files=1, size=size, renderings=len(new_images), unsized=int(unsized))


def admit(
    listings: Sequence[Listing],
    before: Iterable[Listing],
    rules: CrawlParams,
    *,
    catalog_at_day_start: Iterable[Listing],
    deferred: Set[str],
    request: Request,
) -> Admission:
    """Return the listings with new files admitted as far as the daily budget allows.

    Active files stay active. The budget is charged in order: new images of active files, files admitted earlier today,
    then queued files by first_seen, and of one day the most downloaded first.
    before: the current catalog. deferred: keys of files whose download is deferred. request: as in `admit_queued`.
    """
    active_at_day_start = [listing for listing in catalog_at_day_start if listing.is_active]
    active_before = {listing.key for listing in before if listing.is_active}
    charge = charge_active(listings, active_at_day_start, active_before, rules, deferred)
    return admit_queued(listings, charge, rules, deferred, request)


def charge_active(
    listings: Sequence[Listing],
    active_at_day_start: Sequence[Listing],
    active_before: Set[str],
    rules: CrawlParams,
    deferred: Set[str],
) -> Charge:
    """Return the charge of active files: new images of files active at the start of the day, and all of newer ones.

    active_before: keys of the files that are active in the current catalog. These costs are charged even if they
    exceed the budget; a deferred file is not active and costs nothing.
    """
    files = {listing.key for listing in active_at_day_start} - deferred
    images = _images(active_at_day_start)
    active = [listing for listing in listings if listing.key in files and listing.status != "withdrawn"]
    spent = Cost(renderings=len(_images(active) - images))
    images |= _images(active)
    for group in _waiting_files(listings, files):
        if group[0].key in active_before and group[0].key not in deferred:
            listing = _checked_listing(group)
            spent += cost(listing, rules, images)
            files.add(listing.key)
            images |= _images([listing])
    return Charge(files=frozenset(files), images=frozenset(images), spent=spent)


def admit_queued(
    listings: Sequence[Listing],
    charge: Charge,
    rules: CrawlParams,
    deferred: Set[str],
    request: Request,
) -> Admission:
    """Return the listings with queued files admitted in order until the remaining budget is used.

    The first file that does not fit closes the queue for the day. A file that exceeds the whole daily budget is skipped
    and does not close it. A file stays queued if its hub could not check it or its download is deferred.
    request: called for each partial listing that the queue reaches; one that is still partial stays queued.
    """
    files, images, spent = set(charge.files), set(charge.images), charge.spent
    is_closed = False
    queued: defaultdict[str, Cost] = defaultdict(Cost)
    oversized = []
    for group in _waiting_files(listings, files):
        listing = _checked_listing(group)
        price = cost(listing, rules, images)
        if listing.is_partial and not is_closed and (spent + price).fits(rules.budget):
            listing = request(listing)
            price = Cost() if listing.key in files else cost(listing, rules, images)
        is_oversized = not price.fits(rules.budget)
        if is_oversized:
            oversized.append(listing)
        can_admit = not (is_oversized or listing.stale_since is not None or listing.key in deferred)
        if can_admit and not is_closed:
            is_closed = not (spent + price).fits(rules.budget)
        if can_admit and not is_closed and not listing.is_partial:
            spent += price
            files.add(listing.key)
            images |= _images([listing])
        else:
            queued[listing.hub] += price
    return Admission(
        listings=tuple(_with_status(listing, listing.key in files) for listing in listings),
        queued=queued,
        oversized=tuple(oversized),
    )


def _images(listings: Iterable[Listing]) -> set[str]:
    """Return the keys of all images of the listings."""
    return {rendering.key for listing in listings for rendering in listing.renderings}


def _waiting_files(listings: Iterable[Listing], files: Container[str]) -> list[list[Listing]]:
    """Return the listings of each file that is not active yet, by first_seen, then the most downloaded first.

    Files of the same rank are in the catalog's order. files: keys of active files.
    """
    groups: defaultdict[str, list[Listing]] = defaultdict(list)
    for listing in listings:
        if listing.status != "withdrawn" and listing.key not in files:
            groups[listing.key].append(listing)
    return sorted(groups.values(), key=_rank)


def _rank(group: Sequence[Listing]) -> tuple[object, ...]:
    first_seen = min(listing.first_seen for listing in group)
    return first_seen, -max(listing.downloads or 0 for listing in group)


def _checked_listing(group: Sequence[Listing]) -> Listing:
    """Return the first listing of a file that is not stale, or else the first."""
    return next((listing for listing in group if listing.stale_since is None), group[0])


def _with_status(listing: Listing, is_active: bool) -> Listing:
    """Return the listing as listed or queued; withdrawn listings, and missing ones that are active, are unchanged."""
    if listing.status == "withdrawn" or (listing.status == "missing" and is_active):
        return listing
    status = "listed" if is_active else "queued"
    return listing if listing.status == status else replace(listing, status=status)
