"""The Hugging Face Hub: repositories that carry LoRA weights, one commit of each at a time."""

import datetime
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autolora.errors import HubError
from autolora.hubs import Model, Page, Standing
from autolora.hubs.http.api import Gone, ask
from autolora.hubs.http.download import download
from autolora.hubs.http.endpoint import Source
from autolora.hubs.huggingface.card import Card, file_url, is_closed, read_card
from autolora.hubs.labels import is_nsfw, normalize_base, permissions_of
from autolora.hubs.validation import count, glimpse, is_repo_id, is_safe, sha256, stamp, told_repo
from autolora.params import CrawlParams
from autolora.records import ListedRendering, Listing

EXPAND = (
    "sha", "siblings", "cardData", "tags", "gated", "private", "disabled", "lastModified", "downloads",
)  # fmt: skip
STANDING = ("gated", "private", "disabled")
PAGE = "100"
"""repositories a page, the most that the hub gives with expanded fields"""
MAX_TREE = 100
"""pages of one repository's file list"""

Blobs = Mapping[str, tuple[int | None, str | None]]
"""URL at a commit -> size in bytes (None: not known here), sha256 (None: the hub does not tell)"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """A hub that speaks the Hugging Face Hub API."""

    source: Source

    @property
    def name(self) -> str:
        """The hub's name in params.yaml and in the catalog."""
        return self.source.name

    def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
        """Return one page of the repositories that carry the rules' tags, newest first.

        cursor: the URL that the page before names. Raises HubError.
        """
        start = f"{self.source.endpoint}/api/models"
        query = [("filter", tag) for tag in rules.filters] + [("sort", "lastModified"), ("limit", PAGE)]
        query += [("expand", name) for name in EXPAND]
        items, after = self._items(cursor or start, [] if cursor else query, start)
        models: dict[str, Model] = {}
        problems = []
        unreadable: frozenset[str] = frozenset()
        for item in items:
            try:
                card = read_card(item, self.source.endpoint)
            except ValueError as error:
                problems.append(str(error))
                unreadable |= told_repo(item)
            else:
                models.setdefault(card.id, self._model(card, rules, today))
        found = tuple(models.values())
        return Page(models=found, next=after, problems=tuple(problems), unreadable=unreadable)

    def complete(self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]) -> tuple[Listing, ...]:
        """Add sizes and hashes, from what is known of these URLs, which name a commit, else from the tree.

        A file that is listed but not in the tree is left out. Raises HubError.
        """
        urls = {draft.url for draft in model.drafts}
        urls |= {rendering.url for draft in model.drafts for rendering in draft.renderings}
        blobs = _told(known[url] for url in urls if url in known)
        if not urls <= blobs.keys():
            blobs = self._tree(model)
        completed = (_complete(draft, blobs) for draft in model.drafts)
        return tuple(listing for listing in completed if listing)

    def standing(self, id: str) -> Standing:
        """Ask the repository's own page how it stands. Raises HubError."""
        if not is_repo_id(id):
            raise HubError(f"hub {self.name}: {glimpse(id)} is no repository id")
        try:
            answer = ask(
                self.source,
                f"{self.source.endpoint}/api/models/{id}",
                [("expand", name) for name in STANDING],
            )
        except Gone as error:
            return _standing(error)
        if not isinstance(answer.value, Mapping):
            raise HubError(f"hub {self.name}: {id} is answered by {glimpse(answer.value)}, no repository")
        try:
            return Standing.WITHDRAWN if is_closed(answer.value) else Standing.THERE
        except ValueError as error:
            raise HubError(f"hub {self.name}: {id}: {error}") from error

    def download(self, url: str, target: Path, limit: int) -> str:
        """Write a file of at most `limit` bytes to `target` and return the sha256 of what came.

        Raises HubError when it cannot be had, RefusedFile (`too-large`) when it is larger.
        """
        return download(self.source, url, target, limit)

    def _model(self, card: Card, rules: CrawlParams, today: datetime.date) -> Model:
        files = [] if card.closed else card.weights
        return Model(
            id=card.id,
            version=card.sha,
            updated=card.updated,
            drafts=tuple(self._draft(card, path, rules, today) for path in files),
            withdrawn=card.closed,
        )

    def _draft(self, card: Card, path: str, rules: CrawlParams, today: datetime.date) -> Listing:
        """Return what the list alone tells of one file; what its pictures show is rated as the repository."""
        level = "mature" if card.nsfw else None
        pictures = (
            ListedRendering(
                url=card.url(self.source.endpoint, shown), sha256=None, prompt=prompt, nsfw_level=level
            )
            for shown, prompt in card.pictures[: rules.max_renderings]
        )
        return Listing(
            hub=self.name,
            id=card.id,
            version=card.sha,
            file=path,
            url=card.url(self.source.endpoint, path),
            size=None,
            sha256=None,
            license=card.license,
            permissions=permissions_of(card.license),
            base_model=card.base_model,
            base=normalize_base(card.base_model),
            nsfw=is_nsfw(level),
            nsfw_level=level,
            trigger_words=card.trigger_words,
            renderings=tuple(pictures),
            downloads=card.downloads,
            updated=stamp(card.updated),
            first_seen=today,
        )

    def _tree(self, model: Model) -> Blobs:
        """Return sizes and hashes of a repository's files by URL; empty where it is gone."""
        start = f"{self.source.endpoint}/api/models/{model.id}/tree/{model.version}"
        url: str | None = start
        query = [("recursive", "true")]
        blobs: dict[str, tuple[int | None, str | None]] = {}
        try:
            for _ in range(MAX_TREE):
                entries, url = self._items(url or start, query, start)
                for entry in entries:
                    if isinstance(entry, Mapping) and is_safe(entry.get("path")):
                        place = file_url(self.source.endpoint, model.id, model.version, entry["path"])
                        blobs |= {place: blob} if (blob := _blob(entry)) else {}
                if url is None:
                    return blobs
                query = []
        except Gone as error:
            _standing(error)  # raises the error where it says nothing of the repository
            logger.warning("hub %s: %s was passed over: %s", self.name, model.id, error)
            return {}
        raise HubError(f"hub {self.name}: {model.id} has more than {MAX_TREE} pages of files")

    def _items(self, url: str, query: list[tuple[str, str]], start: str) -> tuple[list[Any], str | None]:
        """Return one page of the list that begins at `start`, and the URL of its next page."""
        answer = ask(self.source, url, query)
        if not isinstance(answer.value, list):
            raise HubError(f"hub {self.name}: {url} answered {glimpse(answer.value)} in place of a list")
        after = answer.next
        if after and (after == url or not after.startswith(f"{start}?")):
            raise HubError(
                f"hub {self.name}: {url} names as its next page {after[:300]!r}, which is none of it"
            )
        return answer.value, after


def _told(known: Iterable[Listing]) -> Blobs:
    """Return what earlier listings say of sizes and hashes."""
    told: dict[str, tuple[int | None, str | None]] = {}
    for listing in known:
        told |= {rendering.url: (None, rendering.sha256) for rendering in listing.renderings}
        told[listing.url] = (listing.size, listing.sha256)
    return told


def _blob(entry: Mapping[str, Any]) -> tuple[int, str | None] | None:
    """Return size and hash of a tree entry, no hash where the file lies in git itself; None where it is no file."""
    size, lfs = count(entry.get("size")), entry.get("lfs")
    return None if size is None else (size, sha256(lfs.get("oid")) if isinstance(lfs, Mapping) else None)


def _complete(draft: Listing, blobs: Blobs) -> Listing | None:
    """Add size and hashes; None where the hub lists a file that it does not have."""
    if draft.url not in blobs:
        logger.warning("%s/%s is listed but not there: passed over", draft.id, draft.file)
        return None
    size, digest = blobs[draft.url]
    shown = (replace(one, sha256=blobs[one.url][1]) for one in draft.renderings if one.url in blobs)
    return replace(draft, size=size, sha256=digest, renderings=tuple(shown))


def _standing(error: Gone) -> Standing:
    """Return what a refusal means; the hub answers 401 where there is nothing, to whoever has no token.

    Raises the error where it says nothing about the repository.
    """
    if error.status == 404 or error.code == "RepoNotFound":
        return Standing.ABSENT
    if error.status in (410, 451) or error.code == "GatedRepo" or "disabled" in error.reason:
        return Standing.WITHDRAWN
    raise error
