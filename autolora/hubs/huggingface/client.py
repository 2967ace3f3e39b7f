"""The client of the Hugging Face Hub: repositories with LoRA weights, each pinned to a commit."""

import datetime
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autolora.errors import HubError
from autolora.hubs import Availability, Model, Page
from autolora.hubs.http.api import JsonResponse, Unavailable, get_json
from autolora.hubs.http.download import download
from autolora.hubs.http.endpoint import TOKEN_VARIABLES, Endpoint
from autolora.hubs.huggingface.card import Card, file_url, is_access_restricted, parse_card
from autolora.hubs.labels import is_nsfw, normalize_base, permissions_of
from autolora.hubs.validation import (
    format_time,
    is_repo_id,
    is_safe_path,
    repo_id_or_empty,
    short_repr,
    valid_count,
    valid_sha256,
)
from autolora.params import CrawlParams
from autolora.records import ListedRendering, Listing

EXPANDED_FIELDS = (
    "sha", "siblings", "cardData", "tags", "gated", "private", "disabled", "lastModified", "downloads",
)  # fmt: skip
ACCESS_FIELDS = ("gated", "private", "disabled")
PAGE_SIZE = "100"
"""repositories per page, the maximum for lists with expanded fields"""
MAX_TREE_PAGES = 100
"""pages of one repository's file list"""
NO_SUCH_REPOSITORY = "Invalid username or password."
"""X-Error-Message of a 401 for a repository that does not exist, if the request has no token"""

Blobs = Mapping[str, tuple[int | None, str | None]]
"""URL of a file at a commit -> size in bytes (None if unknown), sha256 (None if the hub reports none)"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """A hub with the API of the Hugging Face Hub."""

    endpoint: Endpoint

    @property
    def name(self) -> str:
        """The hub's name in params.yaml and in the catalog."""
        return self.endpoint.name

    def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
        """Return one page of the repositories that have the rules' tags, newest first.

        cursor: the URL of the page. Raises HubError.
        """
        list_url = f"{self.endpoint.url}/api/models"
        query = [("filter", tag) for tag in rules.filters] + [("sort", "lastModified"), ("limit", PAGE_SIZE)]
        query += [("expand", name) for name in EXPANDED_FIELDS]
        items, next_url = self._list_items(cursor or list_url, [] if cursor else query, list_url)
        models: dict[str, Model] = {}
        problems = []
        unreadable: frozenset[str] = frozenset()
        for item in items:
            try:
                card = parse_card(item, self.endpoint.url)
            except ValueError as error:
                problems.append(str(error))
                unreadable |= repo_id_or_empty(item)
            else:
                models.setdefault(card.id, self._model(card, rules, today))
        return Page(
            models=tuple(models.values()), next=next_url, problems=tuple(problems), unreadable=unreadable
        )

    def complete_listings(
        self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]
    ) -> tuple[Listing, ...]:
        """Return the model's listings with sizes and hashes, from known listings or the repository's file list.

        Known values stay valid, since a URL contains the commit. A file that the list page names but the file
        list does not contain is skipped. Raises HubError.
        """
        urls = {listing.url for listing in model.partial_listings}
        urls |= {rendering.url for listing in model.partial_listings for rendering in listing.renderings}
        blobs = _known_blobs(known[url] for url in urls if url in known)
        if not urls <= blobs.keys():
            blobs = self._request_blobs(model)
        completed = (_complete(listing, blobs) for listing in model.partial_listings)
        return tuple(listing for listing in completed if listing)

    def availability(self, id: str) -> Availability:
        """Request the repository's own page and return whether it is available. Raises HubError."""
        if not is_repo_id(id):
            raise HubError(f"hub {self.name}: {short_repr(id)} is not a repository id")
        url = f"{self.endpoint.url}/api/models/{id}"
        try:
            entry = self._get_json(url, [("expand", name) for name in ACCESS_FIELDS]).value
        except Unavailable as error:
            return _availability_from(error)
        if not isinstance(entry, Mapping):
            raise HubError(f"hub {self.name}: expected a repository object for {id}, got {short_repr(entry)}")
        try:
            return Availability.WITHDRAWN if is_access_restricted(entry) else Availability.AVAILABLE
        except ValueError as error:
            raise HubError(f"hub {self.name}: {id}: {error}") from error

    def download(self, url: str, target: Path, limit: int) -> str:
        """Write a file of at most `limit` bytes to `target` and return the sha256 of the written bytes.

        Raises HubError if the download fails, RefusedFile (`too-large`) if the file is larger.
        """
        return download(self.endpoint, url, target, limit)

    def _model(self, card: Card, rules: CrawlParams, today: datetime.date) -> Model:
        paths = [] if card.restricted else card.weights
        return Model(
            id=card.id,
            version=card.sha,
            updated=card.updated,
            partial_listings=tuple(self._partial_listing(card, path, rules, today) for path in paths),
            withdrawn=card.restricted,
        )

    def _partial_listing(self, card: Card, path: str, rules: CrawlParams, today: datetime.date) -> Listing:
        """Return one file's listing with the fields of the list page; images have the repository's rating."""
        level = "mature" if card.nsfw else None
        renderings = tuple(
            ListedRendering(
                url=card.url(self.endpoint.url, image), sha256=None, prompt=prompt, nsfw_level=level
            )
            for image, prompt in card.images[: rules.max_renderings]
        )
        return Listing(
            hub=self.name,
            id=card.id,
            version=card.sha,
            file=path,
            url=card.url(self.endpoint.url, path),
            size=None,
            sha256=None,
            license=card.license,
            permissions=permissions_of(card.license),
            base_model=card.base_model,
            base=normalize_base(card.base_model),
            nsfw=is_nsfw(level),
            nsfw_level=level,
            trigger_words=card.trigger_words,
            description=card.description,
            renderings=renderings,
            downloads=card.downloads,
            updated=format_time(card.updated),
            first_seen=today,
        )

    def _request_blobs(self, model: Model) -> Blobs:
        """Return sizes and hashes of a repository's files by URL; none if it no longer exists."""
        tree_url = f"{self.endpoint.url}/api/models/{model.id}/tree/{model.version}"
        next_url: str | None = tree_url
        query = [("recursive", "true")]
        blobs: dict[str, tuple[int | None, str | None]] = {}
        try:
            for _ in range(MAX_TREE_PAGES):
                entries, next_url = self._list_items(next_url or tree_url, query, tree_url)
                for entry in entries:
                    if isinstance(entry, Mapping) and is_safe_path(entry.get("path")):
                        url = file_url(self.endpoint.url, model.id, model.version, entry["path"])
                        blobs |= {url: blob} if (blob := _parse_blob(entry)) else {}
                if next_url is None:
                    return blobs
                query = []
        except Unavailable as error:
            _availability_from(error)  # raises the error if the repository may still be available
            logger.warning("hub %s: %s was skipped: %s", self.name, model.id, error)
            return {}
        raise HubError(f"hub {self.name}: the file list of {model.id} has more than {MAX_TREE_PAGES} pages")

    def _get_json(self, url: str, query: Iterable[tuple[str, str]]) -> JsonResponse:
        """Return the JSON at a URL. Raises Unavailable, or HubError, also if the hub rejects the token."""
        try:
            return get_json(self.endpoint, url, query)
        except Unavailable as error:
            if error.status == 401 and self.endpoint.token and not error.error_code:
                raise HubError(
                    f"{error}: expected a valid token; replace it, or unset {TOKEN_VARIABLES['huggingface']} "
                    "to read public repositories only"
                ) from error
            raise

    def _list_items(
        self, url: str, query: list[tuple[str, str]], list_url: str
    ) -> tuple[list[Any], str | None]:
        """Return one page of the list at `list_url` and the URL of its next page."""
        response = self._get_json(url, query)
        if not isinstance(response.value, list):
            raise HubError(f"hub {self.name}: expected a list from {url}, got {short_repr(response.value)}")
        next_url = response.next_url
        if next_url and (next_url == url or not next_url.startswith((f"{list_url}?", f"{list_url}/?"))):
            raise HubError(
                f"hub {self.name}: {url} returned the next page {next_url[:300]!r}, expected another page of "
                f"{list_url}"
            )
        return response.value, next_url


def _known_blobs(listings: Iterable[Listing]) -> Blobs:
    """Return the sizes and hashes of earlier listings."""
    blobs: dict[str, tuple[int | None, str | None]] = {}
    for listing in listings:
        blobs |= {rendering.url: (None, rendering.sha256) for rendering in listing.renderings}
        blobs[listing.url] = (listing.size, listing.sha256)
    return blobs


def _parse_blob(entry: Mapping[str, Any]) -> tuple[int, str | None] | None:
    """Return size and sha256 of a file entry, without sha256 for files outside of LFS; None for a folder."""
    size, lfs = valid_count(entry.get("size")), entry.get("lfs")
    return (
        None if size is None else (size, valid_sha256(lfs.get("oid")) if isinstance(lfs, Mapping) else None)
    )


def _complete(listing: Listing, blobs: Blobs) -> Listing | None:
    """Return the listing with size and hashes; None if the file is not in the repository's file list."""
    if listing.url not in blobs:
        logger.warning("%s/%s is not in its repository's file list and was skipped", listing.id, listing.file)
        return None
    size, sha256 = blobs[listing.url]
    renderings = tuple(
        replace(rendering, sha256=blobs[rendering.url][1])
        for rendering in listing.renderings
        if rendering.url in blobs
    )
    return replace(listing, size=size, sha256=sha256, renderings=renderings)


def _availability_from(error: Unavailable) -> Availability:
    """Return the availability that a failed request shows; raise the error if it shows none.

    To a request without a token, the hub returns 401 for a repository that does not exist, with the code
    RepoNotFound or with the message NO_SUCH_REPOSITORY. Any other 401, such as a proxy's, shows nothing.
    """
    is_missing = error.status == 401 and error.error_message == NO_SUCH_REPOSITORY
    if error.status == 404 or error.error_code == "RepoNotFound" or is_missing:
        return Availability.NOT_FOUND
    if error.status in (410, 451) or error.error_code == "GatedRepo" or "disabled" in error.error_message:
        return Availability.WITHDRAWN
    raise error
