"""ModelScope: repositories tagged as LoRA, their files pinned by revision.

Requests are those of its own client, `modelscope_hub` 0.5 (list_repos, get_repo's second try, list_repo_files),
answers are read raw: the client's typed ones leave out what a model was trained on. Lists show a model's name and
little more, so a model that was changed costs two requests: its page and its files.
"""

import datetime
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autolora.errors import HubError
from autolora.hubs import Model, Page, Standing
from autolora.hubs.http.api import Gone, ask
from autolora.hubs.http.download import download
from autolora.hubs.http.endpoint import Source
from autolora.hubs.modelscope.listings import (
    BRANCH,
    Entry,
    describe,
    is_closed,
    place,
    read_model,
    renew,
    show,
)
from autolora.hubs.validation import count, glimpse, is_picture, is_repo_id, is_safe, is_weights, told_repo
from autolora.params import CrawlParams
from autolora.records import Listing

TAG = "LoRA"
PAGE = 50
REACH = 3000
"""models of one list that can be asked for, and files of one listing that are told; the rest is silently left out"""
MAX_LISTINGS = 200
"""requests for the files of one model"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelScope:
    """A hub that speaks the ModelScope API."""

    source: Source

    @property
    def name(self) -> str:
        """The hub's name in params.yaml and in the catalog."""
        return self.source.name

    def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
        """Return one page of every search of the rules, newest first.

        cursor: a page number. Drafts have no file yet. A list that does not come newest first is read to its end
        at once; that, and what lies beyond the hub's reach, is a problem of the page. Raises HubError.
        """
        number = _page_number(cursor)
        pages = [self._searched(search, number, today) for search in rules.searches or ("",)]
        models = {model.id: model for page in pages for model in page.models}
        return Page(
            models=tuple(sorted(models.values(), key=lambda model: model.updated, reverse=True)),
            next=next((page.next for page in pages if page.next), None),
            problems=tuple(problem for page in pages for problem in page.problems),
            unreadable=frozenset(id for page in pages for id in page.unreadable),
        )

    def complete(self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]) -> tuple[Listing, ...]:
        """Return the model's weights, and its pictures as their renderings; none where it is gone or closed.

        known: what was found of this version is not asked for again. Raises HubError.
        """
        if not model.drafts:
            return ()
        draft, endpoint = model.drafts[0], self.source.endpoint
        if same := [one for one in known.values() if (one.id, one.version) == (model.id, model.version)]:
            return tuple(renew(one, draft, rules) for one in same)
        try:
            detail = self._detail(model.id)
            if self._is_closed(model.id, detail):
                return ()
            files = self._files(model.id)
        except Gone as error:
            _standing(error)  # raises the error where it says nothing of the model
            logger.warning("hub %s: %s was passed over: %s", self.name, model.id, error)
            return ()
        pictures = [path for path in sorted(files) if is_picture(path)][: rules.max_renderings]
        renderings = tuple(show(draft, endpoint, path, files[path]) for path in pictures)
        described = replace(describe(draft, detail), renderings=renderings)
        weights = [path for path in sorted(files) if is_weights(path)]
        return tuple(place(described, endpoint, path, files[path]) for path in weights)

    def standing(self, id: str) -> Standing:
        """Ask the model's own page how it stands. Raises HubError."""
        if not is_repo_id(id):
            raise HubError(f"hub {self.name}: {glimpse(id)} is no repository id")
        try:
            detail = self._detail(id)
        except Gone as error:
            return _standing(error)
        return Standing.WITHDRAWN if self._is_closed(id, detail) else Standing.THERE

    def download(self, url: str, target: Path, limit: int) -> str:
        """Write a file of at most `limit` bytes to `target` and return the sha256 of what came.

        Raises HubError when it cannot be had, RefusedFile (`too-large`) when it is larger.
        """
        return download(self.source, url, target, limit)

    def _searched(self, search: str, number: int, today: datetime.date) -> Page:
        """Return one page of a search, or all from this one on where they are not sorted."""
        page = self._listed(search, number, today)
        dates = [model.updated for model in page.models]
        if dates == sorted(dates, reverse=True):
            return page
        problem = f"the list of {search or TAG!r} is not sorted by last_modified: all of it was read"
        models, problems, unreadable = page.models, (problem, *page.problems), page.unreadable
        while page.next:
            page = self._listed(search, int(page.next), today)
            models, problems = models + page.models, problems + page.problems
            unreadable |= page.unreadable
        return Page(models=models, next=None, problems=problems, unreadable=unreadable)

    def _listed(self, search: str, number: int, today: datetime.date) -> Page:
        """Return one page of a search as the hub gives it."""
        query = {"filter.custom_tag": TAG, "sort": "last_modified", "page_number": number, "page_size": PAGE}
        query |= {"search": search} if search else {}
        url = f"{self.source.endpoint}/openapi/v1/models"
        data = self._data(url, [(key, str(value)) for key, value in query.items()])
        items = data.get("models")
        if not isinstance(items, list) or data.get("page_number", number) != number:
            raise HubError(f"hub {self.name}: {url} answered {glimpse(data)} in place of page {number}")
        models, problems = [], []
        unreadable: frozenset[str] = frozenset()
        for item in items:
            try:
                models.append(read_model(item, self.name, self.source.endpoint, today))
            except ValueError as error:
                problems.append(str(error))
                unreadable |= told_repo(item)
        total, size = count(data.get("total_count")), count(data.get("page_size")) or PAGE
        more = bool(items) and (len(items) >= size if total is None else number * size < total)
        if not items and total is not None and (number - 1) * size < total:
            problems.append(
                f"the list of {search or TAG!r} ends before page {number}, though it has {total} models"
            )
        if more and (number + 1) * size > REACH:
            more = False
            problems.append(
                f"the list of {search or TAG!r} shows the newest {number * size} models of "
                f"{total or 'more'}; what it does not show may be found by more words in crawl.searches"
            )
        after = str(number + 1) if more else None
        return Page(models=tuple(models), next=after, problems=tuple(problems), unreadable=unreadable)

    def _detail(self, id: str) -> Mapping[str, Any]:
        """Return what a model's own page tells of it."""
        return self._data(f"{self.source.endpoint}/api/v1/models/{id}")

    def _is_closed(self, id: str, detail: Mapping[str, Any]) -> bool:
        try:
            return is_closed(detail)
        except ValueError as error:
            raise HubError(f"hub {self.name}: {id}: {error}") from error

    def _files(self, id: str) -> dict[str, Entry]:
        """Return the entries of a model's files by path; a listing that was cut off is read folder by folder."""
        found: dict[str, Entry] = {}
        folders = [""]
        for _ in range(MAX_LISTINGS // 2):
            if not folders:
                return found
            folder = folders.pop()
            entries, cut = self._entries(id, folder, recursive=True)
            if cut:
                below, cut = self._entries(id, folder, recursive=False)
                if cut:
                    logger.warning("hub %s: %s: not all files of %r are told", self.name, id, folder or "/")
                folders += [path for path, entry in below.items() if _is_folder(entry)]
                entries |= below
            found |= {path: entry for path, entry in entries.items() if not _is_folder(entry)}
        raise HubError(
            f"hub {self.name}: {id} has too many files: more than {MAX_LISTINGS} requests would be needed"
        )

    def _entries(self, id: str, folder: str, recursive: bool) -> tuple[dict[str, Entry], bool]:
        """Return one listing of the files and folders below a folder, by path, and whether it was cut off."""
        url = f"{self.source.endpoint}/api/v1/models/{id}/repo/files"
        query = {"Revision": BRANCH, "Recursive": str(recursive)} | ({"Root": folder} if folder else {})
        entries = self._data(url, list(query.items())).get("Files")
        if not isinstance(entries, list):
            raise HubError(f"hub {self.name}: {url} answered {glimpse(entries)} in place of a list of files")
        inside = f"{folder}/" if folder else ""
        usable = (one for one in entries if isinstance(one, Mapping) and is_safe(one.get("Path")))
        return {one["Path"]: one for one in usable if one["Path"].startswith(inside)}, len(entries) >= REACH

    def _data(self, url: str, query: Iterable[tuple[str, str]] = ()) -> Mapping[str, Any]:
        """Return what an answer holds in its envelope, in either spelling."""
        value = ask(self.source, url, query).value
        if isinstance(value, Mapping) and value.get("Success", value.get("success")) is not False:
            data = value.get("Data", value.get("data"))
            if isinstance(data, Mapping):
                return data
        raise HubError(f"hub {self.name}: {url} answered {glimpse(value)} in place of its data")


def _page_number(cursor: str | None) -> int:
    if cursor is None:
        return 1
    if not re.fullmatch(r"[1-9]\d{0,3}", cursor):
        raise HubError(f"{glimpse(cursor)} is no page number of ModelScope's list; crawl without it")
    return int(cursor)


def _standing(error: Gone) -> Standing:
    """Return what a refusal means; raises the error where it says nothing of the model."""
    if error.status in (401, 403):
        raise error
    return Standing.ABSENT if error.status == 404 else Standing.WITHDRAWN


def _is_folder(entry: Entry) -> bool:
    return entry.get("Type") == "tree"
