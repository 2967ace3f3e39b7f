"""Everything we know about one adapter, found by its sha256 or its hub's name."""

from dataclasses import dataclass
from pathlib import Path

from autolora import crawl, dataset, pool
from autolora.captions import captions
from autolora.errors import MissingArtefact
from autolora.records import Adapter, Caption, Listing

SHORTEST_PREFIX = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """One adapter: as its hub lists it, as we found it, and what was made of it."""

    listing: Listing
    adapter: Adapter | None
    """None while the pool has not looked at the file"""
    split: str | None
    """train, test, or None: the models have not seen it"""
    captions: tuple[Caption, ...]

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.adapter is None:
            return "not looked at yet: run `dvc repro pool`"
        if self.adapter.accepted:
            return "accepted"
        return f"refused ({self.adapter.verdict}): {self.adapter.reason}"


def lookup(root: Path, name: str) -> Known:
    """Find an adapter by the first digits of its sha256 (6 or more), or by its hub's name for it.

    Raises MissingArtefact when none or several match.
    """
    adapters = pool.adapters(root)
    matches = [row for row in crawl.catalog(root) if _matches(row, adapters.get(row.key), name)]
    if not matches:
        raise MissingArtefact(
            f"no adapter '{name}' in data/catalog.jsonl: "
            f"name a sha256 ({SHORTEST_PREFIX} digits or more) or a hub id (author/name)"
        )
    if len(matches) > 1:
        several = ", ".join(f"{row.hub}:{row.id}/{row.file}" for row in matches)
        raise MissingArtefact(
            f"'{name}' is the name of several adapters: {several}; name one as this list does"
        )
    return _known(root, matches[0], adapters.get(matches[0].key))


def _matches(listing: Listing, adapter: Adapter | None, name: str) -> bool:
    short = {listing.id, f"{listing.id}/{listing.file}"}
    names = short | {f"{listing.hub}:{name}" for name in short}
    sha256 = adapter.sha256 if adapter else listing.sha256
    return name in names or bool(sha256 and len(name) >= SHORTEST_PREFIX and sha256.startswith(name.lower()))


def _known(root: Path, listing: Listing, adapter: Adapter | None) -> Known:
    pooled = pool.renderings(root)
    images = {pooled[item.key].sha256 for item in listing.renderings if item.key in pooled}
    splits = {row.sha256: row.split for row in dataset.training(root).rows}
    return Known(
        listing=listing,
        adapter=adapter,
        split=splits.get(adapter.sha256) if adapter else None,
        captions=tuple(caption for caption in captions(root) if caption.image in images),
    )
