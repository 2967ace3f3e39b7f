"""The client of ModelScope: models tagged as LoRA, with their files pinned to revisions.

The requests equal those of the official client, `modelscope_hub` 0.5 (list_repos, get_repo's fallback,
list_repo_files), but the raw responses are parsed: the official client drops the base model. Lists contain
few fields, so that a new or changed model costs two further requests: its page and its file list.

What `search` matches is not documented: clients have met a hub that compares it with the beginning of names, and
a hub that ignores it. So a result need not contain the word, and the rules decide by the model's own page.
"""

import datetime
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolora.errors import HubError
from autolora.hubs import Availability, Model, Page
from autolora.hubs.http.api import Unavailable
from autolora.hubs.http.download import download
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.modelscope.envelope import request_data
from autolora.hubs.modelscope.listings import (
    BRANCH,
    FileEntry,
    file_listings,
    is_access_restricted,
    parse_model,
    refresh_listing,
)
from autolora.hubs.validation import (
    is_repo_id,
    is_safe_path,
    repo_id_or_empty,
    short_repr,
    valid_count,
)
from autolora.params import CrawlParams
from autolora.records import Listing

LORA_TAG = "LoRA"
PAGE_SIZE = 50
MAX_RESULTS = 3000
"""models of one search and files of one response that the hub returns; it omits further ones silently"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelScope:
    """A hub with the ModelScope API."""

    endpoint: Endpoint

    @property
    def name(self) -> str:
        """The hub's name in params.yaml and in the catalog."""
        return self.endpoint.name

    def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
        """Return the same page of each search of the rules, merged, newest first.

        cursor: a page number. Listings have no file yet. Results beyond MAX_RESULTS are reported as a problem
        and make the list truncated. Raises HubError.
        """
        number = _page_number(cursor)
        pages = [self._request_results(search, number, today) for search in rules.searches or ("",)]
        models = {model.id: model for page in pages for model in page.models}
        return Page(
            models=tuple(sorted(models.values(), key=lambda model: model.updated, reverse=True)),
            next=next((page.next for page in pages if page.next), None),
            problems=tuple(problem for page in pages for problem in page.problems),
            unreadable=frozenset(id for page in pages for id in page.unreadable),
            is_truncated=any(page.is_truncated for page in pages),
        )

    def complete_listings(
        self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]
    ) -> tuple[Listing, ...]:
        """Return one listing per file of weights, with the model's images as renderings.

        No listing if the model no longer exists or is restricted. known: listings of the same version are
        reused without a request. Raises HubError.
        """
        if not model.partial_listings:
            return ()
        partial = model.partial_listings[0]
        same_version = [
            listing
            for listing in known.values()
            if (listing.id, listing.version) == (model.id, model.version)
        ]
        if same_version:
            return tuple(refresh_listing(listing, partial, rules) for listing in same_version)
        try:
            details = self._request_details(model.id)
            if self._is_restricted(model.id, details):
                return ()
            files = self._request_files(model.id)
        except Unavailable as error:
            _availability_from(error)  # raises the error if the model may still be available
            logger.warning("hub %s: %s was skipped: %s", self.name, model.id, error)
            return ()
        return file_listings(partial, details, files, self.endpoint, rules)

    def availability(self, id: str) -> Availability:
        """Request the model's own page and return whether the model is available. Raises HubError."""
        if not is_repo_id(id):
            raise HubError(f"hub {self.name}: {short_repr(id)} is not a repository id")
        try:
            details = self._request_details(id)
        except Unavailable as error:
            return _availability_from(error)
        return Availability.WITHDRAWN if self._is_restricted(id, details) else Availability.AVAILABLE

    def download(self, url: str, target: Path, limit: int) -> str:
        """Write a file of at most `limit` bytes to `target` and return the sha256 of the written bytes.

        Raises HubError if the download fails, RefusedFile (`too-large`) if the file is larger.
        """
        return download(self.endpoint, url, target, limit)

    def _request_results(self, search: str, number: int, today: datetime.date) -> Page:
        """Return one page of a search, in the hub's order, which should be that of the dates."""
        query = {"filter.custom_tag": LORA_TAG, "sort": "last_modified"}
        query |= {"page_number": str(number), "page_size": str(PAGE_SIZE)} | (
            {"search": search} if search else {}
        )
        url = f"{self.endpoint.url}/openapi/v1/models"
        data = request_data(self.endpoint, url, query.items())
        items = data.get("models")
        if not isinstance(items, list) or data.get("page_number", number) != number:
            raise HubError(
                f"hub {self.name}: expected page {number} of a list from {url}, got {short_repr(data)}"
            )
        models, problems = [], []
        unreadable: frozenset[str] = frozenset()
        for item in items:
            try:
                models.append(parse_model(item, self.name, self.endpoint.url, today))
            except ValueError as error:
                problems.append(str(error))
                unreadable |= repo_id_or_empty(item)
        total, page_size = (
            valid_count(data.get("total_count")),
            valid_count(data.get("page_size")) or PAGE_SIZE,
        )
        has_next = bool(items) and (len(items) >= page_size if total is None else number * page_size < total)
        if not items and total is not None and (number - 1) * page_size < total:
            problems.append(
                f"the results for {search or LORA_TAG!r} end before page {number}, expected {total} models"
            )
        is_truncated = has_next and (number + 1) * page_size > MAX_RESULTS
        if is_truncated:
            has_next = False
            problems.append(
                f"the results for {search or LORA_TAG!r} contain only the newest {number * page_size} models of "
                f"{total or 'more'}: add further words to crawl.searches to list the others"
            )
        next_number = str(number + 1) if has_next else None
        return Page(
            models=tuple(models),
            next=next_number,
            problems=tuple(problems),
            unreadable=unreadable,
            is_truncated=is_truncated,
        )

    def _request_details(self, id: str) -> Mapping[str, Any]:
        """Return the content of a model's own page."""
        return request_data(self.endpoint, f"{self.endpoint.url}/api/v1/models/{id}")

    def _is_restricted(self, id: str, details: Mapping[str, Any]) -> bool:
        try:
            return is_access_restricted(details)
        except ValueError as error:
            raise HubError(f"hub {self.name}: {id}: {error}") from error

    def _request_files(self, id: str) -> dict[str, FileEntry]:
        """Return a model's file entries by path, folders left out; at most the MAX_RESULTS that the hub returns.

        A repository without the branch BRANCH has no files: the hub returns null for an unknown revision.
        """
        url = f"{self.endpoint.url}/api/v1/models/{id}/repo/files"
        data = request_data(self.endpoint, url, [("Revision", BRANCH), ("Recursive", "True")])
        entries = [] if data.get("Files", ...) is None else data.get("Files")
        if not isinstance(entries, list):
            raise HubError(f"hub {self.name}: expected a list of files from {url}, got {short_repr(entries)}")
        if len(entries) >= MAX_RESULTS:
            logger.warning("hub %s: %s: the list of files ends after %d", self.name, id, len(entries))
        valid = (entry for entry in entries if isinstance(entry, Mapping) and is_safe_path(entry.get("Path")))
        return {entry["Path"]: entry for entry in valid if entry.get("Type") != "tree"}


def _page_number(cursor: str | None) -> int:
    if cursor is None:
        return 1
    if not re.fullmatch(r"[1-9]\d{0,3}", cursor):
        raise HubError(f"hub modelscope: the cursor {short_repr(cursor)} is not a page number")
    return int(cursor)


def _availability_from(error: Unavailable) -> Availability:
    """Return the availability that a failed request shows; raise the error if it shows none."""
    if error.status in (401, 403):
        raise error
    return Availability.NOT_FOUND if error.status == 404 else Availability.WITHDRAWN
