"""The stage `crawl`: what the hubs list today becomes the catalog, which says what the pool is.

`look` asks one hub, `plan` puts all looks together by the rules and the night's budget, `write` makes it the
catalog. Nothing is written before `write` but each look's journal.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from pathlib import Path

from autolora.catalog import failed_downloads
from autolora.catalog import store as catalog
from autolora.catalog.failed_downloads import Setback
from autolora.crawl import budget, day_start, watermarks, withdrawals
from autolora.crawl.budget import Admission
from autolora.crawl.resume import Journal
from autolora.crawl.scan import Completed, Walk, complete, walk
from autolora.crawl.watermarks import Watermark
from autolora.errors import HubError
from autolora.hubs import Hub, Model, objection, trim
from autolora.params import CrawlParams
from autolora.records import Listing
from autolora.storage.files import hash_value

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What one hub's list says, held against what the catalog knew of that hub."""

    hub: str
    rows: tuple[Listing, ...]
    """all its entries as they are now, tombstones included; neither budget nor rules are applied"""
    left_out: Mapping[str, int]
    """rule -> files that it left out before they were asked about"""
    problems: tuple[str, ...]
    mark: Watermark | None
    journal: Journal | None
    """to be thrown away when the catalog is written; None where the look has not ended"""
    down: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a crawl is about to write, and what follows from it."""

    today: date
    morning: Sequence[Listing]
    """the catalog's lines as the day's first crawl found them"""
    before: Sequence[Listing]
    """as they are"""
    looks: tuple[Look, ...]
    left_out: Mapping[str, Mapping[str, int]]
    """hub -> rule -> files"""
    admission: Admission
    set_aside: tuple[Setback, ...]
    """what is listed and could not be had: the plan does without"""

    @property
    def rows(self) -> tuple[Listing, ...]:
        """The catalog's lines, in its order."""
        return self.admission.rows


def look(root: Path, hub: Hub, rules: CrawlParams, today: date, remember: bool = True) -> Look:
    """Return what one hub lists today: news since its watermark, or its whole list where that is due.

    remember: keep a journal. Raises HubError when the hub cannot be reached, answers nonsense, or lists nothing
    where it used to; a hub that breaks off half-way has told what it told.
    """
    old = [row for row in catalog.known(root) if row.hub == hub.name]
    mark = watermarks.read(root).get(hub.name)
    since = watermarks.start(mark, rules, today)
    journal = _journal(root, hub.name, rules, today, since, remember)
    _, done = journal.read()
    walked = walk(hub, rules, today, since, journal)
    alive = [row for row in old if row.status != "withdrawn"]
    swept = since is None and walked.whole
    if swept and alive and not walked.models:
        raise HubError(
            f"hub {hub.name} lists nothing where it listed {len(alive)} files. Check the hub and crawl.filters; "
            f"where this is right, delete its lines from {catalog.catalog_path(root)}"
        )
    doubted = {
        one.id for one in failed_downloads.read(root).values() if one.hub == hub.name and not one.waits(today)
    }
    told = {row.url: row for row in alive if row.id not in doubted} | {row.url: row for row in done}
    found = complete(hub, _carried(walked, old), rules, told, journal)
    rows, unseen = withdrawals.settle(old, walked, found, rules, today)
    if swept:
        again = mark is not None and mark.swept < today
        searched = withdrawals.search(hub, unseen, len({row.id for row in alive}), again, today)
    else:
        searched = withdrawals.pass_over(unseen, walked.whole, today)
    failures = (f"{id}: {why}" for id, why in found.failed.items())
    return Look(
        hub=hub.name,
        rows=(*found.listings, *rows, *searched.rows),
        left_out=found.left_out,
        problems=(*walked.problems, *failures, *searched.problems),
        mark=_moved(mark, walked, found, rules, today, swept) if walked.whole else mark,
        journal=journal if walked.whole and not found.failed else None,
    )


def miss(root: Path, hub: str, error: HubError, today: date) -> Look:
    """Return the look at a hub that could not be asked: yesterday's entries, marked stale."""
    rows = tuple(withdrawals.age(row, today) for row in catalog.known(root) if row.hub == hub)
    mark = watermarks.read(root).get(hub)
    return Look(hub=hub, rows=rows, left_out={}, problems=(str(error),), mark=mark, journal=None, down=True)


def plan(root: Path, looks: Sequence[Look], rules: CrawlParams, today: date) -> Plan:
    """Put the looks together: the rules over all entries, old ones too, what is set aside, the night's budget.

    Raises HubError when no hub could be asked.
    """
    if all(look.down for look in looks):
        problems = " | ".join(problem for look in looks for problem in look.problems)
        raise HubError(f"{problems} (the catalog was not changed)")
    before = catalog.known(root)
    morning = day_start.read(root, before, today)
    asked = {look.hub for look in looks}
    others = [row for row in before if row.hub not in asked and row.status == "withdrawn"]
    chosen, left_out = _choose([*(row for look in looks for row in look.rows), *others], rules)
    for look in looks:
        left_out[look.hub].update(look.left_out)
    first_seen: dict[str, date] = {}
    for row in before:
        first_seen[row.key] = min(row.first_seen, first_seen.get(row.key, row.first_seen))
    dated = [_dated(row, first_seen) for row in chosen]
    rows, set_aside = _set_aside(dated, morning, failed_downloads.read(root), today)
    rows.sort(key=lambda row: _place(row, rules))
    admission = budget.admit(rows, before, rules, morning=morning, set_aside=set_aside.keys())
    return Plan(
        today=today,
        morning=morning,
        before=before,
        looks=tuple(looks),
        left_out=left_out,
        admission=admission,
        set_aside=tuple(set_aside.values()),
    )


def write(root: Path, plan: Plan) -> None:
    """Make a plan the catalog, and let the looks be over."""
    day_start.write(root, plan.morning, [plan.before, plan.rows], plan.today)
    catalog.write(root, plan.rows)
    watermarks.write(root, {look.hub: look.mark for look in plan.looks if look.mark})
    for look in plan.looks:
        if look.journal:
            look.journal.discard()


def restore(root: Path) -> bool:
    """Put a missing catalog, and how far the hubs were looked at, back as committed; return whether it was."""
    restored = catalog.restore(root)
    if restored:
        watermarks.restore(root)
    return restored


def _dated(row: Listing, first_seen: Mapping[str, date]) -> Listing:
    day = first_seen.get(row.key, row.first_seen)
    return row if day == row.first_seen else replace(row, first_seen=day)


def _journal(
    root: Path, hub: str, rules: CrawlParams, today: date, since: datetime | None, remember: bool
) -> Journal:
    head = {
        "hub": hub,
        "day": today.isoformat(),
        "rules": hash_value(asdict(rules)),
        "since": since and since.isoformat(),
    }
    return Journal(root / "cache" / "crawl" / f"{hub}.jsonl" if remember else None, head)


def _carried(walked: Walk, old: Iterable[Listing]) -> list[Model]:
    """Return the models with the downloads that were told when each file was first listed."""
    told = [row for row in old if row.downloads is not None]
    downloads = {(row.id, ""): row.downloads for row in told} | {
        (row.id, row.file): row.downloads for row in told
    }
    return [
        replace(
            model,
            drafts=tuple(
                replace(draft, downloads=downloads.get((draft.id, draft.file), draft.downloads))
                for draft in model.drafts
            ),
        )
        for model in walked.models.values()
    ]


def _moved(
    mark: Watermark | None, walked: Walk, found: Completed, rules: CrawlParams, today: date, swept: bool
) -> Watermark | None:
    """Return the watermark after a whole walk: it stays behind what is new and could not be asked about."""
    last = [mark.newest] if mark else []
    seen = [min(model.updated, watermarks.end_of(today)) for model in walked.models.values()]
    if not seen and not last:
        return None
    failed = [model.updated for model in walked.models.values() if model.id in found.failed]
    missed = [updated for updated in failed if not mark or updated > mark.newest]
    return Watermark(
        newest=min([max(seen + last), *missed]),
        swept=today if swept or mark is None else mark.swept,
        rules=watermarks.rules_digest(rules),
    )


def _choose(
    rows: Iterable[Listing], rules: CrawlParams
) -> tuple[list[Listing], defaultdict[str, Counter[str]]]:
    """Return the entries that the rules let in, each once, tombstones always; and hub -> rule -> files left out."""
    left_out: defaultdict[str, Counter[str]] = defaultdict(Counter)
    entries = {(row.hub, row.id, row.file, row.url): row for row in rows}
    chosen: list[Listing] = []
    places: Counter[str] = Counter()
    for row in sorted(entries.values(), key=lambda row: row.updated or "", reverse=True):
        rule = None if row.status == "withdrawn" else objection(row, rules)
        if row.status != "withdrawn" and rule is None:
            places[row.hub] += 1
            rule = "newest" if rules.newest is not None and places[row.hub] > rules.newest else None
        if rule:
            left_out[row.hub][rule] += 1
        else:
            chosen.append(trim(row, rules))
    return chosen, left_out


def _set_aside(
    rows: Iterable[Listing], morning: Iterable[Listing], noted: Mapping[str, Setback], today: date
) -> tuple[list[Listing], dict[str, Setback]]:
    """Return the entries without what could not be had, and that by key.

    A picture is left out. A file gives way to another that the morning found in its place; where there was none it
    stays, to wait in the queue.
    """
    road = [row for row in morning if row.on_the_road]
    places = {(row.hub, row.id, row.file): row for row in road}
    waiting = _believed(noted, {key for row in road for key in _keys(row)}, today)
    met: dict[str, Setback] = {}
    kept = []
    for row in rows:
        if row.status != "withdrawn":
            met |= {key: waiting[key] for key in _keys(row) & waiting.keys()}
            former = places.get((row.hub, row.id, row.file)) if row.key in waiting else None
            row = (
                withdrawals.age(former, today) if former and former.key != row.key else _without(row, waiting)
            )
        kept.append(row)
    return kept, met


def _believed(noted: Mapping[str, Setback], morning: set[str], today: date) -> dict[str, Setback]:
    """Return what is to be set aside: never what the pool has had; nor what the morning's catalog listed, where
    that is so much of it that something else must be wrong."""
    waiting = {key: one for key, one in noted.items() if one.waits(today) and not one.had}
    if len(waiting.keys() & morning) > withdrawals.BELIEVED_SHARE * len(morning):
        return {key: one for key, one in waiting.items() if key not in morning}
    return waiting


def _keys(row: Listing) -> set[str]:
    return {row.key, *(one.key for one in row.renderings)}


def _without(row: Listing, pictures: Container[str]) -> Listing:
    kept = tuple(one for one in row.renderings if one.key not in pictures)
    return row if len(kept) == len(row.renderings) else replace(row, renderings=kept)


def _place(row: Listing, rules: CrawlParams) -> tuple[object, ...]:
    """Return an entry's place in the catalog: hubs in their order of precedence, then id and file."""
    hubs = rules.hubs
    rank = hubs.index(row.hub) if row.hub in hubs else len(hubs)
    return rank, row.hub, row.id, row.file, row.version, row.url
