"""What the page says about each adapter: one card, from catalog, pool, captions and lock."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autolora.captions.store import captions
from autolora.catalog.store import catalog
from autolora.dataset import store as dataset
from autolora.lora.verdict import WARNINGS
from autolora.metrics.judgments import Judgment
from autolora.pool import store as pool
from autolora.records import Adapter, Listing

LENGTHS = {"short": 0, "medium": 1, "long": 2}
SIDES = {"train": "learned from", "test": "held out", "new": "joined since"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendering:
    """A rendering with what the VLM said about it."""

    sha256: str
    prompt: str | None
    """as the hub tells it"""
    captions: tuple[tuple[str, str], ...]
    """(length, text)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """An adapter on the page."""

    listing: Listing
    adapter: Adapter
    theme: str | None
    kind: str | None
    split: str
    """train, test, or new: first seen after the training set was closed"""
    renderings: tuple[Rendering, ...]

    @property
    def sha256(self) -> str:
        """The sha256 of its file."""
        return self.adapter.sha256

    @property
    def anchor(self) -> str:
        """What a link on the page names it by."""
        return f"a-{self.sha256}"

    @property
    def side(self) -> str:
        """Whether the models have learned from it, in words."""
        return SIDES[self.split]

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if not self.adapter.accepted:
            return f"refused ({self.adapter.verdict}): {self.adapter.reason}"
        aside = f"; set aside: {', '.join(self.adapter.set_aside)}" if self.adapter.set_aside else ""
        read = f"{self.adapter.keys_used} of {self.adapter.keys_seen} keys understood{aside}"
        odd = "".join(f"; {WARNINGS[code]}" for code in self.adapter.warnings)
        return f"accepted: {read}, rank {self.adapter.rank_max} on {self.adapter.num_slots} layers{odd}"


def read_cards(root: Path, judgments: Mapping[str, Judgment]) -> list[Card]:
    """Return a card for each listing that the pool has looked at, by kind, theme and id, refused ones last."""
    adapters = pool.adapters(root)
    sides: dict[str, str] = {row.sha256: row.split for row in dataset.training(root).rows}
    spoken = _spoken(root)
    pooled = {key: row.sha256 for key, row in pool.renderings(root).items()}
    cards = []
    for listing in catalog(root):
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
                split=sides.get(adapter.sha256, "new"),
                renderings=_renderings(listing, pooled, spoken) if adapter.accepted else (),
            )
        )
    return sorted(cards, key=_place)


def _place(card: Card) -> tuple[object, ...]:
    unjudged, theme = card.theme is None, card.theme or ""
    return (
        not card.adapter.accepted,
        unjudged,
        card.kind or "",
        theme,
        card.listing.id,
        card.listing.file,
        card.listing.hub,
    )


def _renderings(
    listing: Listing, pooled: Mapping[str, str], spoken: Mapping[str, list[tuple[str, str]]]
) -> tuple[Rendering, ...]:
    """Return a listing's renderings that are in the pool, each picture once."""
    found: dict[str, Rendering] = {}
    for listed in listing.renderings:
        sha256 = pooled.get(listed.key)
        if sha256 is not None and sha256 not in found:
            words = tuple(spoken.get(sha256, ()))
            found[sha256] = Rendering(sha256=sha256, prompt=listed.prompt, captions=words)
    return tuple(found.values())


def _spoken(root: Path) -> dict[str, list[tuple[str, str]]]:
    """Return rendering sha256 -> its captions (length, text), short ones first."""
    spoken: dict[str, list[tuple[str, str]]] = {}
    for caption in sorted(captions(root), key=lambda c: (LENGTHS.get(c.length, 3), c.text)):
        spoken.setdefault(caption.image, []).append((caption.length, caption.text))
    return spoken
