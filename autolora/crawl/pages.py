"""Reading of a hub's list, page by page, newest entry first."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from autolora.errors import HubError
from autolora.hubs import Hub, Model, Page
from autolora.params import CrawlParams
from autolora.progress import Progress

MAX_PAGES = 20_000
MAX_PAGES_WITHOUT_NEWS = 20
"""consecutive pages without a new model after which the list is considered endless"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class HubList:
    """The part of a hub's list that was read."""

    models: Mapping[str, Model]
    """by id; of a model that was listed twice, the newest state"""
    problems: tuple[str, ...]
    unreadable: frozenset[str]
    """ids of entries that were listed and could not be read"""
    is_complete: bool
    """the list was read as far as it should be; False if the hub failed before"""
    is_truncated: bool
    """the hub lists only a part of its models"""


def read_list(hub: Hub, rules: CrawlParams, today: date, since: datetime | None) -> HubList:
    """Return a hub's list, read until all models of a page are older than `since`, or to its end if that is None.

    If the hub fails after the first page, the result is not complete. Raises HubError if not even that can be read.
    """
    pages: list[Page] = []
    failure: tuple[str, ...] = ()
    seen: set[str] = set()
    without_news = 0
    with Progress(f"crawl, hub {hub.name}", noun="models listed", count=lambda: len(seen)):
        try:
            while not pages or not _is_last(pages[-1], since):
                page = hub.page(rules, pages[-1].next if pages else None, today)
                ids = {model.id for model in page.models}
                without_news = 0 if ids - seen else without_news + 1
                if without_news == MAX_PAGES_WITHOUT_NEWS:
                    raise HubError(
                        f"hub {hub.name}: the last {without_news} pages list no new model; the list is considered "
                        "endless"
                    )
                seen |= ids
                _check_page(hub.name, page, pages)
                pages.append(page)
        except HubError as error:
            if not pages:
                raise
            failure = (f"the list ended early, after {len(pages)} pages: {error}",)
    models: dict[str, Model] = {}
    for model in (model for page in pages for model in page.models):
        if model.id not in models or model.updated > models[model.id].updated:
            models[model.id] = model
    logger.info("hub %s: %d models on %d pages", hub.name, len(models), len(pages))
    problems = tuple(dict.fromkeys(problem for page in pages for problem in page.problems))
    unreadable = frozenset(id for page in pages for id in page.unreadable)
    return HubList(
        models=models,
        problems=problems + failure,
        unreadable=unreadable,
        is_complete=not failure,
        is_truncated=any(page.is_truncated for page in pages),
    )


def _is_last(page: Page, since: datetime | None) -> bool:
    """Return whether reading may stop after this page; a page without models does not prove that later ones are old."""
    is_old = since is not None and bool(page.models) and all(model.updated < since for model in page.models)
    return page.next is None or is_old


def _check_page(hub: str, page: Page, before: list[Page]) -> None:
    """Raise HubError if the list repeats a cursor or has too many pages."""
    if page.next is not None and any(page.next == earlier.next for earlier in before):
        raise HubError(f"hub {hub}: the list repeats itself: cursor {page.next[:100]!r} was already used")
    if len(before) >= MAX_PAGES:
        raise HubError(f"hub {hub}: the list has more than {MAX_PAGES} pages")
