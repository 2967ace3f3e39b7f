"""The adapters of the page: one card each, joined from catalog, pool, captions and training lock."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autolora.captions.store import read_captions
from autolora.catalog.diff import qualified_name
from autolora.catalog.store import read_active
from autolora.dataset import store as dataset
from autolora.encoder.tags import Tag
from autolora.index import store as index
from autolora.index.caption_check import CaptionCheck, read_caption_checks
from autolora.index.tags import read_tags
from autolora.lora.verdict import WARNINGS
from autolora.metrics.judgments import Judgment
from autolora.pool import store as pool
from autolora.records import Adapter, Listing, PooledRendering

LENGTHS = {"short": 0, "medium": 1, "long": 2}
SPLITS = {
    "train": "training set",
    "validation": "held out for choices",
    "test": "held out from training",
    "new": "added after training",
}
"""label of each split on the page"""

Captions = tuple[tuple[str, str], ...]
"""(length, text), short ones first"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendering:
    """A rendering with its captions."""

    sha256: str
    size: tuple[int, int]
    """width and height, px"""
    prompt: str | None
    """as the hub reports it"""
    captions: Captions


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One listing of an adapter, as the page shows it."""

    listing: Listing
    adapter: Adapter
    theme: str | None
    kind: str | None
    split: str
    """train, validation, test, or new: first seen after the training set was locked"""
    renderings: tuple[Rendering, ...]
    caption_check: CaptionCheck | None
    """None if the working index holds no captions of the adapter"""
    tags: tuple[Tag, ...]
    """what the weights say, most probable first"""

    @property
    def sha256(self) -> str:
        """Return the sha256 of the adapter's file."""
        return self.adapter.sha256

    @property
    def full_name(self) -> str:
        """Return the name of the listing as `autolora show` accepts it."""
        return qualified_name(self.listing)

    @property
    def anchor(self) -> str:
        """Return the fragment of the links that open the adapter."""
        return f"/{self.sha256}"

    @property
    def split_label(self) -> str:
        """Return whether the models were trained on the adapter, as a phrase."""
        return SPLITS[self.split]

    @property
    def verdict(self) -> str:
        """Return the verdict as a phrase."""
        adapter = self.adapter
        if not adapter.accepted:
            return f"refused ({adapter.verdict}): {adapter.reason}"
        ignored = f"; ignored: {', '.join(adapter.ignored_keys)}" if adapter.ignored_keys else ""
        keys = f"{adapter.keys_used} of {adapter.keys_seen} keys used{ignored}"
        warnings = "".join(f"; {WARNINGS[code]}" for code in adapter.warnings)
        return f"accepted: {keys}, rank {adapter.rank_max} on {adapter.num_slots} layers{warnings}"


def read_cards(root: Path, judgments: Mapping[str, Judgment]) -> list[Card]:
    """Return a card for each active listing that the pool has read, by kind, theme and id, refused ones last."""
    adapters = pool.adapters(root)
    splits: dict[str, str] = {row.sha256: row.split for row in dataset.training_lock(root).rows}
    captions, checks = _captions_by_image(root), read_caption_checks(index.folder(root))
    tags = read_tags(root)
    pooled = pool.renderings(root)
    cards = []
    for listing in read_active(root):
        adapter = adapters.get(listing.key)
        if adapter is None:
            continue
        judgment = judgments.get(adapter.sha256)
        cards.append(
            Card(
                listing=listing,
                adapter=adapter,
                theme=judgment.theme if judgment else None,
                kind=judgment.kind if judgment else None,
                split=splits.get(adapter.sha256, "new"),
                renderings=_renderings(listing, pooled, captions) if adapter.accepted else (),
                caption_check=checks.get(adapter.sha256),
                tags=tags.get(adapter.sha256, ()),
            )
        )
    return sorted(cards, key=_sort_key)


def _sort_key(card: Card) -> tuple[object, ...]:
    return (
        not card.adapter.accepted,
        card.theme is None,
        card.kind or "",
        card.theme or "",
        card.listing.id,
        card.listing.file,
        card.listing.hub,
    )


def _renderings(
    listing: Listing, pooled: Mapping[str, PooledRendering], captions: Mapping[str, Captions]
) -> tuple[Rendering, ...]:
    """Return a listing's renderings that are in the pool, each image once."""
    renderings: dict[str, Rendering] = {}
    for listed in listing.renderings:
        image = pooled.get(listed.key)
        if image is not None and image.sha256 not in renderings:
            renderings[image.sha256] = Rendering(
                sha256=image.sha256,
                size=(image.width, image.height),
                prompt=listed.prompt,
                captions=captions.get(image.sha256, ()),
            )
    return tuple(renderings.values())


def _captions_by_image(root: Path) -> dict[str, Captions]:
    """Return rendering sha256 -> its captions, short ones first."""
    captions: dict[str, Captions] = {}
    for caption in sorted(read_captions(root), key=lambda c: (LENGTHS.get(c.length, 3), c.text)):
        captions[caption.image] = (*captions.get(caption.image, ()), (caption.length, caption.text))
    return captions
