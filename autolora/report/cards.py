"""What the page says about each adapter: one card, from catalog, pool, captions and lock."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autolora import dataset, pool
from autolora.captions import captions
from autolora.crawl import catalog
from autolora.records import Adapter, Listing
from autolora.report.pictures import Picture, embed

LENGTHS = {"short": 0, "medium": 1, "long": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendering:
    """A rendering with what the VLM said about it."""

    sha256: str
    picture: Picture
    captions: tuple[tuple[str, str], ...]
    """(length, text)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """An adapter on the page."""

    listing: Listing
    adapter: Adapter
    theme: str | None
    split: str
    """train, test, or new: first seen after the training set was closed"""
    renderings: tuple[Rendering, ...]

    @property
    def spoken(self) -> bool:
        """Whether any of its renderings has a caption."""
        return any(rendering.captions for rendering in self.renderings)


def read_cards(root: Path, themes: Mapping[str, str]) -> list[Card]:
    """Return a card for each listing that the pool has looked at, by theme and id, refused ones included."""
    adapters = pool.adapters(root)
    sides: dict[str, str] = {row.sha256: row.split for row in dataset.training(root).rows}
    spoken = _spoken(root)
    pooled = {key: row.sha256 for key, row in pool.renderings(root).items()}
    cards = []
    for listing in catalog(root):
        adapter = adapters.get(listing.key)
        if adapter is None:
            continue
        images = [pooled[item.key] for item in listing.renderings if item.key in pooled]
        cards.append(
            Card(
                listing=listing,
                adapter=adapter,
                theme=themes.get(adapter.sha256),
                split=sides.get(adapter.sha256, "new"),
                renderings=_renderings(root, images, spoken) if adapter.accepted else (),
            )
        )
    return sorted(
        cards, key=lambda card: (card.theme is None, card.theme or "", card.listing.id, card.listing.file)
    )


def _renderings(
    root: Path, images: list[str], spoken: Mapping[str, list[tuple[str, str]]]
) -> tuple[Rendering, ...]:
    pictures = [(sha256, embed(pool.rendering_path(root, sha256))) for sha256 in dict.fromkeys(images)]
    return tuple(
        Rendering(sha256=sha256, picture=picture, captions=tuple(spoken.get(sha256, ())))
        for sha256, picture in pictures
        if picture is not None
    )


def _spoken(root: Path) -> dict[str, list[tuple[str, str]]]:
    """Return rendering sha256 -> its captions (length, text), short ones first."""
    spoken: dict[str, list[tuple[str, str]]] = {}
    for caption in sorted(captions(root), key=lambda c: (LENGTHS.get(c.length, 3), c.text)):
        spoken.setdefault(caption.image, []).append((caption.length, caption.text))
    return spoken
