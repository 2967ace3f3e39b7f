"""Hugging Face: listings by its own client's HTTP layer (retries, rate-limit headers), downloads by ours."""

import datetime
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import hf_raise_for_status, http_backoff

from autolora.errors import HubError
from autolora.hubs import selected
from autolora.hubs.cards import Card, read_card
from autolora.hubs.download import AGENT, Source, download, unreachable
from autolora.params import CrawlParams
from autolora.records import ListedRendering, Listing

EXPAND = ("sha", "siblings", "cardData", "tags", "gated", "private", "disabled", "lastModified")
GONE = (401, 403, 404, 410)
SHA256 = re.compile(r"[0-9a-f]{64}")
PROGRESS = 100
"""repositories asked about between two log lines"""

Blobs = Mapping[str, tuple[int | None, str | None]]
"""URL at a commit -> size in bytes (None: not known here), sha256 (None: the hub does not tell)"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """A hub that speaks the Hugging Face Hub API."""

    endpoint: str
    """URL without a slash at the end"""
    timeout_s: float
    attempts: int
    token: str | None = field(repr=False)

    @property
    def name(self) -> str:
        """The hub's name in params.yaml and in the catalog."""
        return "huggingface"

    def listings(
        self, rules: CrawlParams, known: Iterable[Listing], today: datetime.date
    ) -> Iterator[Listing]:
        """Yield every safetensors file of the repositories that carry the rules' tags.

        A repository costs one request more (its tree, which tells sizes and hashes) unless all its files and
        pictures at this commit are known. Raises HubError.
        """
        told = _told(known)
        asked = 0
        for card in self._cards(rules.filters):
            pictures = card.pictures[: rules.max_renderings]
            drafts = [_draft(self.name, card, self.endpoint, path, today) for path in card.weights]
            drafts = [draft for draft in drafts if selected(draft, rules)]
            needed = {draft.url for draft in drafts} | {card.url(self.endpoint, path) for path, _ in pictures}
            if not drafts:
                continue
            blobs: Blobs | None = told
            if not needed <= told.keys():
                asked += 1
                blobs = self._tree(card)
                if asked % PROGRESS == 0:
                    logger.info("hub %s: asked about %d new or changed repositories", self.name, asked)
            if blobs is not None:
                listings = (_complete(draft, card, self.endpoint, pictures, blobs) for draft in drafts)
                yield from (listing for listing in listings if listing and selected(listing, rules))
        logger.info("hub %s: %d repositories were new or changed", self.name, asked)

    def download(self, url: str, target: Path, limit: int) -> str:
        """Write a file of at most `limit` bytes to `target` and return the sha256 of what came.

        Raises HubError when it cannot be had, RefusedFile (`too-large`) when it is larger.
        """
        source = Source(self.name, self.endpoint, self.timeout_s, self.attempts, self.token)
        return download(source, url, target, limit)

    def _cards(self, filters: Iterable[str]) -> Iterator[Card]:
        """Yield the repositories that carry all tags, each once, newest first; what is unusable is logged."""
        seen: set[str] = set()
        query = [("filter", tag) for tag in filters] + [("sort", "lastModified")]
        for item in self._items("/api/models", [*query, *(("expand", name) for name in EXPAND)]):
            try:
                card = read_card(item, self.endpoint)
            except ValueError as error:
                logger.warning("hub %s: passed over: %s", self.name, error)
                continue
            if card.closed:
                logger.info("hub %s: %s is private, gated or disabled: passed over", self.name, card.id)
            elif card.id not in seen:
                seen.add(card.id)
                yield card

    def _tree(self, card: Card) -> Blobs | None:
        """Return sizes and hashes of a repository's files by URL; None where it is gone or unreadable."""
        try:
            entries = list(self._items(f"/api/models/{card.id}/tree/{card.sha}", [("recursive", "true")]))
        except _Gone as error:
            logger.warning("hub %s: %s was passed over: %s", self.name, card.id, error)
            return None
        blobs = {}
        for entry in entries:
            path, size = (
                (entry.get("path"), entry.get("size")) if isinstance(entry, Mapping) else (None, None)
            )
            if isinstance(path, str) and path in card.files and type(size) is int and size >= 0:
                blobs[card.url(self.endpoint, path)] = (size, _sha256(entry.get("lfs")))
        return blobs

    def _items(self, path: str, query: list[tuple[str, str]]) -> Iterator[Any]:
        """Yield the items of all pages of a list, following `Link: rel="next"` within this hub."""
        url: str | None = self.endpoint + path
        parameters: list[tuple[str, str]] | None = query
        while url:
            response = self._get(url, parameters)
            try:
                page = response.json()
            except ValueError as error:
                raise HubError(
                    f"hub {self.name}: {url} answered something that is no JSON: {error}"
                ) from error
            if not isinstance(page, list):
                raise HubError(f"hub {self.name}: {url} answered {str(page)[:100]!r} in place of a list")
            yield from page
            url, parameters = response.links.get("next", {}).get("url"), None
            if url and urlsplit(url)[:2] != urlsplit(self.endpoint)[:2]:
                raise HubError(f"hub {self.name} at {self.endpoint} sends its next page elsewhere: {url}")

    def _get(self, url: str, query: list[tuple[str, str]] | None) -> httpx2.Response:
        headers = {"User-Agent": AGENT} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        try:
            response: httpx2.Response = http_backoff(
                "GET",
                url,
                params=query,
                headers=headers,
                timeout=self.timeout_s,
                max_retries=self.attempts - 1,
            )
            hf_raise_for_status(response)
        except (HfHubHTTPError, httpx2.HTTPStatusError) as error:
            status = error.response.status_code
            problem = f"hub {self.name}: {url} answered {status}"
            raise (_Gone if status in GONE else HubError)(problem) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise unreachable(self.name, self.endpoint, error) from error
        return response


class _Gone(HubError):
    """A repository that was there a moment ago, or is not for us."""


def _told(known: Iterable[Listing]) -> dict[str, tuple[int | None, str | None]]:
    """Return what the old catalog says of sizes and hashes; it holds for ever, since URLs name a commit."""
    told: dict[str, tuple[int | None, str | None]] = {}
    for listing in known:
        told[listing.url] = (listing.size, listing.sha256)
        told |= {rendering.url: (None, rendering.sha256) for rendering in listing.renderings}
    return told


def _draft(hub: str, card: Card, endpoint: str, path: str, today: datetime.date) -> Listing:
    """Return what the listing page alone tells of one file."""
    return Listing(
        hub=hub,
        id=card.id,
        version=card.sha,
        file=path,
        url=card.url(endpoint, path),
        size=None,
        sha256=None,
        licence=card.licence,
        base_model=card.base_model,
        nsfw=card.nsfw,
        trigger_words=card.trigger_words,
        renderings=(),
        first_seen=today,
    )


def _complete(
    draft: Listing, card: Card, endpoint: str, pictures: Iterable[tuple[str, str | None]], blobs: Blobs
) -> Listing | None:
    """Add size, hash and pictures; None where the hub lists a file that is not in its tree."""
    if draft.url not in blobs:
        logger.warning("%s/%s is listed but not there: passed over", draft.id, draft.file)
        return None
    size, sha256 = blobs[draft.url]
    places = ((card.url(endpoint, path), prompt) for path, prompt in pictures)
    renderings = (
        ListedRendering(url=url, sha256=blobs[url][1], prompt=prompt)
        for url, prompt in places
        if url in blobs
    )
    return replace(draft, size=size, sha256=sha256, renderings=tuple(renderings))


def _sha256(lfs: Any) -> str | None:
    """Return the hash of a tree entry's `lfs`; None where the file lies in git itself."""
    oid = lfs.get("oid") if isinstance(lfs, Mapping) else None
    return oid if isinstance(oid, str) and SHA256.fullmatch(oid) else None
