"""The client of Civitai: models, the files of their versions, and the prompts of their images.

Lists are filtered by LoRA type and base model. The tags of `crawl.filters` belong to Hugging Face and are not
sent: a tag of Civitai names a topic.
"""

import datetime
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolora.errors import HubError
from autolora.hubs import Availability, Model, Page
from autolora.hubs.civitai.listings import file_problems, is_withdrawn, parse_model
from autolora.hubs.civitai.prompts import (
    Prompts,
    image_keys,
    known_prompts,
    may_be_wanted,
    parse_prompt,
    with_prompts,
)
from autolora.hubs.civitai.schema import ModelEntry, parse
from autolora.hubs.http.api import Unavailable, get_json
from autolora.hubs.http.download import download
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.validation import short_repr, valid_count
from autolora.params import CrawlParams
from autolora.records import Listing

API_PATH = "/api/v1"
LORA_TYPES = ("LORA", "LoCon", "DoRA")
BASE_MODEL_NAMES = {
    "flux.1-dev": ("Flux.1 D",),
    "flux.1-schnell": ("Flux.1 S",),
    "flux.1-krea": ("Flux.1 Krea",),
    "flux.1-kontext": ("Flux.1 Kontext",),
    "flux.2": (
        "Flux.2 D", "Flux.2 Klein 9B", "Flux.2 Klein 9B-base", "Flux.2 Klein 4B", "Flux.2 Klein 4B-base",
    ),
}  # fmt: skip
"""base model -> Civitai's names for it"""
BROWSING_LEVELS = {"none": 1, "soft": 3, "mature": 7, "explicit": 31, "blocked": 63}
"""nsfw level -> Civitai's bits of this level and all levels below"""
TRANSIENT_DOWNLOAD_STATUSES = (404,)
"""Civitai's download resolver also answers 404 when it fails temporarily"""
DIGITS = re.compile(r"[0-9]{1,16}")
PAGE_SIZE = 100
IMAGE_PAGE_SIZE = 200
MAX_IMAGE_PAGES = 3
"""pages of /images that are searched for the prompts of one version's images"""
USERNAME = re.compile(r"\w{1,100}", re.ASCII)
"""names that /images accepts as `username`"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Civitai:
    """A hub with version 1 of Civitai's REST API."""

    endpoint: Endpoint

    @property
    def name(self) -> str:
        """The hub's name in params.yaml and in the catalog."""
        return self.endpoint.name

    def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
        """Return one page of the LoRAs for the rules' base models, last published first.

        If the rules name no base model, those of every FLUX model on Civitai are listed. Raises HubError.
        """
        base_models = [
            name for base in rules.bases or BASE_MODEL_NAMES for name in BASE_MODEL_NAMES.get(base, ())
        ]
        if not base_models:
            return Page(models=(), next=None, problems=())
        query = [("limit", str(PAGE_SIZE)), ("sort", "Newest"), ("period", "AllTime"), ("nsfw", "true")]
        query += [("types", lora_type) for lora_type in LORA_TYPES]
        query += [("baseModels", name) for name in base_models]
        items, next_cursor = self._list_items("/models", query, cursor)
        models: dict[str, Model] = {}
        problems = []
        unreadable: frozenset[str] = frozenset()
        for item in items:
            try:
                entry = parse(ModelEntry, item)
                model = parse_model(entry, self.endpoint, rules, today)
            except ValueError as error:
                problems.append(f"model {_id_repr(item)}: {error}")
                unreadable |= _id_or_empty(item)
            else:
                models.setdefault(model.id, model)
                problems += [f"model {model.id}: {problem}" for problem in file_problems(entry, today)]
        return Page(
            models=tuple(models.values()), next=next_cursor, problems=tuple(problems), unreadable=unreadable
        )

    def complete_listings(
        self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]
    ) -> tuple[Listing, ...]:
        """Return the model's listings with the prompts of their images.

        If prompts of a version are unknown, up to MAX_IMAGE_PAGES pages are requested for it. A listing is
        marked as incomplete if some prompts could not be read. Raises HubError.
        """
        prompts: dict[str, Prompts] = {}
        for listing in model.partial_listings:
            earlier = known_prompts(known.get(listing.url))
            if listing.version not in prompts:
                enough = earlier.complete and image_keys(listing) <= earlier.by_image.keys()
                prompts[listing.version] = (
                    earlier if enough else self._request_prompts(listing, model.author, rules, earlier)
                )
        return tuple(with_prompts(listing, prompts[listing.version]) for listing in model.partial_listings)

    def availability(self, id: str) -> Availability:
        """Request the model's own page and return whether the model is available. Raises HubError."""
        if not (id.isascii() and id.isdecimal()):
            raise HubError(f"hub {self.name}: {short_repr(id)} is not a model number")
        url = f"{self.endpoint.url}{API_PATH}/models/{id}"
        try:
            entry = parse(ModelEntry, get_json(self.endpoint, url).value)
        except Unavailable as error:
            if error.status in (401, 403):
                raise
            return Availability.NOT_FOUND if error.status == 404 else Availability.WITHDRAWN
        except ValueError as error:
            raise HubError(f"hub {self.name}: {url} returned an invalid model: {error}") from error
        return Availability.WITHDRAWN if is_withdrawn(entry) else Availability.AVAILABLE

    def download(self, url: str, target: Path, limit: int) -> str:
        """Write a file of at most `limit` bytes to `target` and return the sha256 of the written bytes.

        Raises HubError if the download fails, RefusedFile (`too-large`) if the file is larger.
        """
        return download(self.endpoint, url, target, limit)

    def _request_prompts(
        self, listing: Listing, author: str | None, rules: CrawlParams, known: Prompts
    ) -> Prompts:
        """Return the prompts of a version's images, searched among the images that its author posted.

        author: if None, the images of all users are searched.
        known: prompts from earlier listings, which are retained for images that are not found.
        """
        query = [("modelVersionId", listing.version), ("withMeta", "true"), ("flatMeta", "true")]
        query += [
            ("limit", str(IMAGE_PAGE_SIZE)),
            ("browsingLevel", str(BROWSING_LEVELS[rules.max_nsfw_level])),
        ]
        query += [("username", author)] if author and USERNAME.fullmatch(author) else []
        wanted, unreadable = image_keys(listing), False
        prompts: dict[str, str | None] = {}
        cursor = None
        for _ in range(MAX_IMAGE_PAGES):
            try:
                items, cursor = self._list_items("/images", query, cursor)
            except Unavailable as error:
                logger.warning("hub %s: the images of %s are not available: %s", self.name, listing.id, error)
                unreadable = True
                break
            for item in items:
                try:
                    prompts |= parse_prompt(item)
                except ValueError as error:
                    logger.info("hub %s: image %s was skipped: %s", self.name, _id_repr(item), error)
                    unreadable = unreadable or may_be_wanted(item, wanted)
            if cursor is None or wanted <= prompts.keys():
                break
        return Prompts({**known.by_image, **prompts}, complete=not unreadable or wanted <= prompts.keys())

    def _list_items(
        self, path: str, query: Iterable[tuple[str, str]], cursor: str | None
    ) -> tuple[list[Any], str | None]:
        """Return one page of a list and the cursor of the next page.

        Pages are requested by cursor only, since Civitai limits page numbers to the first 1000 entries.
        """
        url = f"{self.endpoint.url}{API_PATH}{path}"
        value = get_json(self.endpoint, url, [*query, *([("cursor", cursor)] if cursor else [])]).value
        items, metadata = (
            (value.get("items"), value.get("metadata")) if isinstance(value, Mapping) else (None, None)
        )
        if not isinstance(items, list):
            raise HubError(f"hub {self.name}: expected a list of items from {url}, got {short_repr(value)}")
        next_cursor = metadata.get("nextCursor") if isinstance(metadata, Mapping) else None
        if next_cursor in (None, ""):
            return items, None
        if type(next_cursor) not in (str, int) or str(next_cursor) == cursor:
            raise HubError(
                f"hub {self.name}: {url} returned the next cursor {short_repr(next_cursor)}, expected a text or "
                "number that differs from the current cursor"
            )
        return items, str(next_cursor)


def _id_or_empty(item: Any) -> frozenset[str]:
    """Return the id of an otherwise unreadable model, a number or digits, as a set; empty if not valid."""
    id = item.get("id") if isinstance(item, Mapping) else None
    if valid_count(id) is not None or (isinstance(id, str) and DIGITS.fullmatch(id)):
        return frozenset({str(id)})
    return frozenset()


def _id_repr(item: Any) -> str:
    return short_repr(item.get("id") if isinstance(item, Mapping) else item)
