"""A walk through one hub's list: page by page, newest first, then what each model's own page adds."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

from autolora.crawl.resume import Journal
from autolora.errors import HubError
from autolora.hubs import Hub, Model, Page, objection
from autolora.params import CrawlParams
from autolora.records import Listing

MAX_PAGES = 20_000
MAX_ENTRIES = 20_000
"""on a page"""
NOTHING_NEW = 20
"""pages in a row that show no model for the first time, before a list is taken for one without an end"""
IN_A_ROW = 5
"""models that may fail one after the other before the hub is asked about no more tonight"""
PROGRESS = 100
"""models asked about between two log lines"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """What was read of a list."""

    models: Mapping[str, Model]
    """by id; of one that was met twice, its newest state"""
    problems: tuple[str, ...]
    unreadable: frozenset[str]
    """ids of entries that were met and could not be read"""
    whole: bool
    """it came to where it should; False where the hub broke off on the way"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """What the models' own pages added."""

    listings: tuple[Listing, ...]
    failed: Mapping[str, str]
    """id -> why it could not be asked about"""
    left_out: Mapping[str, int]
    """rule -> files"""


def walk(hub: Hub, rules: CrawlParams, today: date, since: datetime | None, journal: Journal) -> Walk:
    """Read a hub's list until a whole page is older than `since`; to its end where that is None.

    Goes on where the journal stops. A list that breaks off half-way is a walk that is not whole.
    Raises HubError when not even the first page can be read.
    """
    pages = _resumed(hub, rules, today, since, journal)
    trouble: tuple[str, ...] = ()
    seen = {model.id for page in pages for model in page.models}
    idle = 0
    try:
        while not pages or not _ends(pages[-1], since):
            page = hub.page(rules, pages[-1].next if pages else None, today)
            idle = 0 if {model.id for model in page.models} - seen else idle + 1
            if idle == NOTHING_NEW:
                raise HubError(f"hub {hub.name}: its last {idle} pages show nothing new")
            seen |= {model.id for model in page.models}
            _check(hub.name, page, pages)
            journal.add_page(page)
            pages.append(page)
    except HubError as error:
        if not pages:
            raise
        trouble = (f"the list broke off after {len(pages)} pages: {error}",)
    models: dict[str, Model] = {}
    for model in (model for page in pages for model in page.models):
        if model.id not in models or model.updated > models[model.id].updated:
            models[model.id] = model
    logger.info("hub %s: %d models on %d pages", hub.name, len(models), len(pages))
    problems = tuple(dict.fromkeys(problem for page in pages for problem in page.problems))
    unreadable = frozenset(id for page in pages for id in page.unreadable)
    return Walk(models=models, problems=problems + trouble, unreadable=unreadable, whole=not trouble)


def complete(
    hub: Hub, models: Iterable[Model], rules: CrawlParams, known: Mapping[str, Listing], journal: Journal
) -> Completed:
    """Ask about what the list did not tell of the files that the rules let in.

    known: by URL; what it holds is not asked about again, unless it is not complete. One model that fails does not
    touch the others; when several in a row fail, the hub is asked no more.
    """
    mine: defaultdict[str, dict[str, Listing]] = defaultdict(dict)
    for url, row in known.items():
        mine[row.id][url] = row
    listings: list[Listing] = []
    failed: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    asked, in_a_row = 0, 0
    for model in models:
        objections = [objection(draft, rules) for draft in model.drafts]
        left_out.update(rule for rule in objections if rule)
        drafts = tuple(draft for draft, rule in zip(model.drafts, objections, strict=True) if not rule)
        if model.withdrawn or not drafts:
            continue
        told = mine[model.id]
        new = _is_new(model, drafts, told)
        if new and in_a_row == IN_A_ROW:
            failed[model.id] = f"not asked about, since {IN_A_ROW} in a row before it failed"
            continue
        try:
            found = hub.complete(replace(model, drafts=drafts), rules, told)
        except HubError as error:
            failed[model.id] = str(error)
            in_a_row += new
            continue
        listings += found
        if new:
            journal.add_done(found)
            asked, in_a_row = asked + 1, 0
            if asked % PROGRESS == 0:
                logger.info("hub %s: asked about %d new or changed models", hub.name, asked)
    return Completed(listings=tuple(listings), failed=failed, left_out=left_out)


def _is_new(model: Model, drafts: Iterable[Listing], told: Mapping[str, Listing]) -> bool:
    """Tell whether a model has to be asked about: by its version and its files, or since it could not be in full."""
    if any(not row.complete for row in told.values()):
        return True
    same = any(row.version == model.version for row in told.values())
    return not same and any(draft.url not in told for draft in drafts)


def _resumed(
    hub: Hub, rules: CrawlParams, today: date, since: datetime | None, journal: Journal
) -> list[Page]:
    """Return the journal's pages and one more: a cursor that the hub accepts no longer begins the list anew."""
    pages, _ = journal.read()
    if not pages or _ends(pages[-1], since):
        return pages
    try:
        page = hub.page(rules, pages[-1].next, today)
    except HubError as error:
        page = hub.page(rules, None, today)  # raises where the hub is down, and the journal stays
        logger.warning("hub %s: begun anew, its last cursor is refused: %s", hub.name, error)
        journal.discard()
        pages = []
    _check(hub.name, page, pages)
    journal.add_page(page)
    return [*pages, page]


def _ends(page: Page, since: datetime | None) -> bool:
    """Tell whether a walk may stop at this page; one without entries says nothing about those behind it."""
    old = since is not None and bool(page.models) and all(model.updated < since for model in page.models)
    return page.next is None or old


def _check(hub: str, page: Page, before: list[Page]) -> None:
    """Raise HubError where a list cannot come to an end, or a page is too large to be one."""
    if page.next is not None and any(page.next == earlier.next for earlier in before):
        raise HubError(f"hub {hub}: its list runs in circles: the cursor {page.next[:100]!r} came before")
    if len(before) >= MAX_PAGES:
        raise HubError(f"hub {hub}: its list has more than {MAX_PAGES} pages")
    if len(page.models) > MAX_ENTRIES:
        raise HubError(
            f"hub {hub}: a page of its list has {len(page.models)} entries, more than {MAX_ENTRIES}"
        )
