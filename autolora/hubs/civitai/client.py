"""Civitai: models by the number, their versions' files, and how the pictures that they show were made.

Its list is asked for LoRA types and base models, which it spells its own way. The tags of `crawl.filters` are
Hugging Face's and are not asked for here: on Civitai a tag is a topic.
"""

import datetime
import logging
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autolora.errors import HubError
from autolora.hubs import Model, Page, Standing
from autolora.hubs.civitai.listings import is_withdrawn, model_of
from autolora.hubs.civitai.schema import Entry, Image, read
from autolora.hubs.http.api import Gone, ask
from autolora.hubs.http.download import download
from autolora.hubs.http.endpoint import Source
from autolora.hubs.validation import clean, count, glimpse
from autolora.params import CrawlParams
from autolora.records import Listing

API = "/api/v1"
TYPES = ("LORA", "LoCon", "DoRA")
SPELLINGS = {
    "flux.1-dev": ("Flux.1 D",),
    "flux.1-schnell": ("Flux.1 S",),
    "flux.1-krea": ("Flux.1 Krea",),
    "flux.1-kontext": ("Flux.1 Kontext",),
    "flux.2": (
        "Flux.2 D", "Flux.2 Klein 9B", "Flux.2 Klein 9B-base", "Flux.2 Klein 4B", "Flux.2 Klein 4B-base",
    ),
}  # fmt: skip
"""base model -> what Civitai calls it"""
BITS = {"none": 1, "soft": 3, "mature": 7, "explicit": 31, "blocked": 63}
"""maturity -> the bits of it and all below"""
FICKLE = (404,)
"""of a download: also what a resolver of theirs answers that fails in passing"""
DIGITS = re.compile(r"[0-9]{1,16}")
PAGE = 100
IMAGES = 200
MAX_IMAGE_PAGES = 3
"""on which a version's own pictures are looked for among those of everybody"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prompts:
    """How a version's pictures were made."""

    told: Mapping[str, str | None]
    """what tells a picture apart -> its prompt; None where it has none"""
    complete: bool
    """False: some could not be had"""


@dataclass(frozen=True, slots=True)
class Civitai:
    """A hub that speaks Civitai's REST API, v1."""

    source: Source

    @property
    def name(self) -> str:
        """The hub's name in params.yaml and in the catalog."""
        return self.source.name

    def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
        """Return one page of the LoRAs of the rules' base models, last published first.

        Where the rules name none, of all that Civitai calls FLUX. Raises HubError.
        """
        bases = [name for base in rules.bases or SPELLINGS for name in SPELLINGS.get(base, ())]
        if not bases:
            return Page(models=(), next=None, problems=())
        query = [("limit", str(PAGE)), ("sort", "Newest"), ("period", "AllTime"), ("nsfw", "true")]
        query += [("types", kind) for kind in TYPES] + [("baseModels", name) for name in bases]
        items, after = self._items("/models", query, cursor)
        models: dict[str, Model] = {}
        problems = []
        unreadable: frozenset[str] = frozenset()
        for item in items:
            try:
                model = model_of(read(Entry, item), self.source, rules, today)
            except ValueError as error:
                problems.append(f"model {_number(item)}: {error}")
                unreadable |= _told_id(item)
            else:
                models.setdefault(model.id, model)
        found = tuple(models.values())
        return Page(models=found, next=after, problems=tuple(problems), unreadable=unreadable)

    def complete(self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]) -> tuple[Listing, ...]:
        """Add the prompts of the pictures: those known, else by one question a version, or a few.

        Where some could not be had, the listing is not complete. Raises HubError.
        """
        told: dict[str, Prompts] = {}
        for draft in model.drafts:
            before = _prompts_of(known.get(draft.url))
            if draft.version not in told:
                enough = before.complete and _places(draft) <= before.told.keys()
                told[draft.version] = before if enough else self._prompts(draft, rules, before)
        return tuple(_prompted(draft, told[draft.version]) for draft in model.drafts)

    def standing(self, id: str) -> Standing:
        """Ask the model's own page how it stands. Raises HubError."""
        if not (id.isascii() and id.isdecimal()):
            raise HubError(f"hub {self.name}: {glimpse(id)} is no model's number")
        url = f"{self.source.endpoint}{API}/models/{id}"
        try:
            entry = read(Entry, ask(self.source, url).value)
        except Gone as error:
            if error.status in (401, 403):
                raise
            return Standing.ABSENT if error.status == 404 else Standing.WITHDRAWN
        except ValueError as error:
            raise HubError(f"hub {self.name}: {url} answered no model: {error}") from error
        return Standing.WITHDRAWN if is_withdrawn(entry) else Standing.THERE

    def download(self, url: str, target: Path, limit: int) -> str:
        """Write a file of at most `limit` bytes to `target` and return the sha256 of what came.

        Raises HubError when it cannot be had, RefusedFile (`too-large`) when it is larger.
        """
        return download(self.source, url, target, limit)

    def _prompts(self, draft: Listing, rules: CrawlParams, before: Prompts) -> Prompts:
        """Return the prompts of a version's pictures, found among those that everybody made with it.

        before: what is known already, and stays where it is not found now.
        """
        query = [("modelVersionId", draft.version), ("withMeta", "true"), ("flatMeta", "true")]
        query += [("limit", str(IMAGES)), ("browsingLevel", str(BITS[rules.max_nsfw_level]))]
        wanted, lost = _places(draft), False
        found: dict[str, str | None] = {}
        cursor = None
        for _ in range(MAX_IMAGE_PAGES):
            try:
                items, cursor = self._items("/images", query, cursor)
            except Gone as error:
                logger.warning("hub %s: the pictures of %s are gone: %s", self.name, draft.id, error)
                lost = True
                break
            for item in items:
                try:
                    found |= _prompt(item)
                except ValueError as error:
                    logger.info("hub %s: picture %s was passed over: %s", self.name, _number(item), error)
                    lost = lost or _may_be(item, wanted)
            if cursor is None or wanted <= found.keys():
                break
        return Prompts({**before.told, **found}, complete=not lost or wanted <= found.keys())

    def _items(
        self, path: str, query: Iterable[tuple[str, str]], cursor: str | None
    ) -> tuple[list[Any], str | None]:
        """Return one page of a list, and the cursor of the next; never a page number, which ends at 1000 entries."""
        url = f"{self.source.endpoint}{API}{path}"
        value = ask(self.source, url, [*query, *([("cursor", cursor)] if cursor else [])]).value
        items, metadata = (
            (value.get("items"), value.get("metadata")) if isinstance(value, Mapping) else (0, 0)
        )
        if not isinstance(items, list):
            raise HubError(f"hub {self.name}: {url} answered {glimpse(value)} in place of a list")
        after = metadata.get("nextCursor") if isinstance(metadata, Mapping) else None
        if after in (None, ""):
            return items, None
        if type(after) not in (str, int) or str(after) == cursor:
            raise HubError(
                f"hub {self.name}: {url} names {glimpse(after)} as its next cursor, which leads nowhere"
            )
        return items, str(after)


def _prompts_of(known: Listing | None) -> Prompts:
    """Return the prompts of pictures as they were listed before."""
    if known is None:
        return Prompts({}, complete=True)
    return Prompts({_identity(one.url): one.prompt for one in known.renderings}, known.complete)


def _prompted(draft: Listing, prompts: Prompts) -> Listing:
    pictures = (replace(one, prompt=prompts.told.get(_identity(one.url))) for one in draft.renderings)
    return replace(draft, renderings=tuple(pictures), complete=prompts.complete)


def _prompt(item: Any) -> dict[str, str | None]:
    """Return a picture's prompt by what tells it apart; ValueError where it is none that can be read."""
    image = read(Image, item)
    return {_identity(image.url): clean(image.meta.prompt) if image.meta else None}


def _may_be(item: Any, wanted: Set[str]) -> bool:
    """Tell whether a picture that cannot be read may be one of those wanted; one without a URL may be any."""
    url = item.get("url") if isinstance(item, Mapping) else None
    return not isinstance(url, str) or _identity(url) in wanted


def _places(draft: Listing) -> Set[str]:
    """Return what tells a draft's pictures apart."""
    return {_identity(picture.url) for picture in draft.renderings}


def _identity(url: str) -> str:
    """Return what /models and /images have in common of a picture's URL: neither its size nor its format."""
    parts = url.partition("?")[0].split("/")
    return re.sub(r"\.\w{1,5}$", "", "/".join(part for part in parts if "=" not in part))


def _told_id(item: Any) -> frozenset[str]:
    """Return the number of a model that may be unreadable otherwise, digits as text too; nothing where it has none."""
    number = item.get("id") if isinstance(item, Mapping) else None
    if count(number) is not None or (isinstance(number, str) and DIGITS.fullmatch(number)):
        return frozenset({str(number)})
    return frozenset()


def _number(item: Any) -> str:
    return glimpse(item.get("id") if isinstance(item, Mapping) else item)
