"""A night's budget: which new files go down the road tonight, and which wait in the queue."""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace

from autolora.hubs import MB
from autolora.params import BudgetParams, CrawlParams, InstructionParams
from autolora.records import Listing

GB = 1_000_000_000
CAPTIONS_A_RENDERING = len(fields(InstructionParams))


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What it takes to bring files in."""

    files: int = 0
    size: int = 0
    """bytes; a file whose hub tells none may be as large as the rules allow"""
    renderings: int = 0

    @property
    def captions(self) -> int:
        """What the VLM has to write about the renderings."""
        return self.renderings * CAPTIONS_A_RENDERING

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            files=self.files + other.files,
            size=self.size + other.size,
            renderings=self.renderings + other.renderings,
        )

    def fits(self, budget: BudgetParams) -> bool:
        """Tell whether a night's budget covers this."""
        return (
            (budget.files is None or self.files <= budget.files)
            and (budget.gb is None or self.size <= budget.gb * GB)
            and (budget.captions is None or self.captions <= budget.captions)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """The night's files by the budget."""

    rows: tuple[Listing, ...]
    """all entries, each listed, queued, missing or withdrawn as it is now"""
    fetched: Mapping[str, Cost]
    """hub -> what it sends tonight; a file of several hubs counts for the first"""
    queued: Mapping[str, Cost]
    oversized: tuple[Listing, ...]
    """queued files that no night's budget covers"""


def cost(listing: Listing, rules: CrawlParams, known: Container[str]) -> Cost:
    """Return what a file and its pictures take; known: keys of the pictures that we have."""
    size = int(rules.max_file_mb * MB) if listing.size is None else listing.size
    new = {one.key for one in listing.renderings if one.key not in known}
    return Cost(files=1, size=size, renderings=len(new))


def admit(
    rows: Sequence[Listing],
    before: Iterable[Listing],
    rules: CrawlParams,
    *,
    morning: Iterable[Listing],
    set_aside: Set[str] = frozenset(),
) -> Admission:
    """Let new files in as far as the budget goes: the first seen first, of one day the most downloaded.

    What went down the road before goes on. Paid for first is what it shows anew, then what was let in earlier today.
    The queue keeps its order: the first file that does not fit closes it for the night, but one that no night's budget
    covers is passed over. A file whose hub cannot be asked, or that is set aside, waits.
    before: the catalog in place. morning: that which the day's first crawl found. set_aside: keys of files.
    """
    began = [row for row in morning if row.on_the_road]
    files = {row.key for row in began} - set_aside
    today = {row.key for row in before if row.on_the_road} - files - set_aside
    pictures = {picture.key for row in began for picture in row.renderings}
    fetched = _more_pictures(rows, files, pictures)
    pictures |= {picture.key for row in rows if row.key in files for picture in row.renderings}
    spent, closed = sum(fetched.values(), Cost()), False
    queued: defaultdict[str, Cost] = defaultdict(Cost)
    oversized = []
    for group in sorted(_by_key(rows, files), key=lambda group: (group[0].key not in today, *_turn(group))):
        row = next((row for row in group if row.stale_since is None), group[0])
        price = cost(row, rules, pictures)
        if row.key not in today:
            covered = price.fits(rules.budget)
            if not covered:
                oversized.append(row)
            waits = row.stale_since is not None or row.key in set_aside
            if covered and not waits and not closed:
                closed = not (spent + price).fits(rules.budget)
            if closed or not covered or waits:
                queued[row.hub] += price
                continue
        spent += price
        fetched[row.hub] += price
        files.add(row.key)
        pictures |= {picture.key for picture in row.renderings}
    return Admission(
        rows=tuple(_with_status(row, row.key in files) for row in rows),
        fetched=fetched,
        queued=queued,
        oversized=tuple(oversized),
    )


def _more_pictures(
    rows: Iterable[Listing], files: Container[str], known: Container[str]
) -> defaultdict[str, Cost]:
    """Return by hub what new pictures of files take that go down the road already."""
    found: defaultdict[str, Cost] = defaultdict(Cost)
    seen: set[str] = set()
    for row in (row for row in rows if row.key in files and row.status != "withdrawn"):
        new = {picture.key for picture in row.renderings if picture.key not in known} - seen
        if new:
            found[row.hub] += Cost(renderings=len(new))
            seen |= new
    return found


def _by_key(rows: Iterable[Listing], but: set[str]) -> list[list[Listing]]:
    """Return the entries of each file that is not on the road yet, in the catalog's order."""
    groups: defaultdict[str, list[Listing]] = defaultdict(list)
    for row in rows:
        if row.status != "withdrawn" and row.key not in but:
            groups[row.key].append(row)
    return list(groups.values())


def _turn(group: Sequence[Listing]) -> tuple[object, ...]:
    """Return what a file's place in the queue is decided by; the catalog's order decides the rest."""
    return min(row.first_seen for row in group), -max(row.downloads or 0 for row in group)


def _with_status(row: Listing, on_the_road: bool) -> Listing:
    if row.status == "withdrawn" or (row.status == "missing" and on_the_road):
        return row
    status = "listed" if on_the_road else "queued"
    return row if row.status == status else replace(row, status=status)
