"""The prompts of a version's images, which Civitai's list of models does not contain."""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from autolora.hubs.civitai.schema import GeneratedImage, parse
from autolora.hubs.validation import clean_text
from autolora.records import Listing

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
DIGITS = re.compile(r"[0-9]{1,16}")


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a version's images."""

    by_image: Mapping[str, str | None]
    """key of an image (`image_key`), or its id -> its prompt; None if it has no prompt"""
    complete: bool
    """False: some prompts could not be read"""


def known_prompts(listing: Listing | None) -> Prompts:
    """Return the prompts of an earlier listing's images."""
    if listing is None:
        return Prompts({}, complete=True)
    return Prompts(
        {image_key(rendering.url): rendering.prompt for rendering in listing.renderings}, listing.complete
    )


def with_prompts(listing: Listing, prompts: Prompts) -> Listing:
    """Return the listing with the prompts of its images."""
    renderings = tuple(
        replace(rendering, prompt=prompts.by_image.get(image_key(rendering.url)))
        for rendering in listing.renderings
    )
    return replace(listing, renderings=renderings, complete=prompts.complete)


def parse_prompt(item: Any) -> dict[str, str | None]:
    """Return an image's prompt by its key and by its id. Raises ValueError if the entry is not valid."""
    image = parse(GeneratedImage, item)
    return dict.fromkeys(
        (str(image.id), image_key(image.url)), clean_text(image.meta.prompt) if image.meta else None
    )


def may_be_wanted(item: Any, wanted: Set[str]) -> bool:
    """Return whether an unreadable image may be a wanted one; without a URL it may be any image."""
    url = item.get("url") if isinstance(item, Mapping) else None
    return not isinstance(url, str) or image_key(url) in wanted


def image_keys(listing: Listing) -> Set[str]:
    """Return the keys of a listing's images."""
    return {image_key(rendering.url) for rendering in listing.renderings}


def image_key(url: str) -> str:
    """Return the UUID in an image's URL; without a UUID the id that ends the URL; without both the URL.

    The list of models ends an image's URL in the image's id (`UUID/original=true/ID.jpeg`), the list of
    images in the UUID once more (`UUID/original=true/UUID.jpeg`).
    """
    path = url.partition("?")[0]
    if uuid := UUID.search(path):
        return uuid[0].lower()
    name = path.rpartition("/")[2].partition(".")[0]
    return name if DIGITS.fullmatch(name) else path
