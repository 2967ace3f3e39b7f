"""Everything that is known about one adapter, found by its sha256 or its name on a hub."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autolora.captions.store import read_captions
from autolora.catalog import failed_items, takedowns
from autolora.catalog.diff import qualified_name
from autolora.catalog.failed_items import FailedItem
from autolora.catalog.sources import Sources, precedence
from autolora.catalog.store import read_all
from autolora.catalog.takedowns import Takedown
from autolora.dataset import store as dataset
from autolora.encoder.tags import Tag
from autolora.errors import MissingArtifact
from autolora.hubs import describe_rejection, rejecting_rule
from autolora.index import store as index
from autolora.index.caption_check import CaptionCheck, read_caption_checks
from autolora.index.names import EXPECTED, AdapterNames
from autolora.index.tags import read_tags_of
from autolora.params import CrawlParams
from autolora.pool import store as pool
from autolora.pool.drawings import Drawing, read_drawings
from autolora.records import Adapter, Caption, Listing
from autolora.refresh.outcomes import waiting_reason
from autolora.storage.files import Row
from autolora.storage.tables import read_where

TAKEN_DOWN = (
    "it was taken down here (data/takedowns.jsonl): its content is erased, no crawl admits it again, and nothing is "
    "trained on it"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterRecord:
    """One adapter: its listings on the hubs, the result of reading its file, and what later stages made of it."""

    listings: tuple[Listing, ...]
    """every listing of the file in the catalog, queued and withdrawn ones included"""
    adapter: Adapter | None
    """None if the pool has not read the file yet"""
    split: str | None
    """train, validation or test, by the training lock, else by the hash of the family; None: not in the dataset"""
    is_locked: bool
    """whether the training lock holds the adapter; nothing is trained on one that is newer"""
    family: str | None
    """sha256 that names the family; None: not in the dataset"""
    captions: tuple[Caption, ...]
    drawings: Mapping[Path, Drawing]
    """images that the adapter has drawn for this project, because no hub showed it"""
    caption_check: CaptionCheck | None
    """None if the working index holds no captions of the adapter"""
    tags: tuple[Tag, ...]
    """what the weights say, most probable first; empty if the working index does not hold the adapter"""
    inactive_reason: str
    """why no listing of the file is active; empty if one is"""
    missing_images: tuple[FailedItem, ...]
    """images of its models whose download or caption failed"""
    takedown: Takedown | None
    """why and when the file was taken down here; None if it was not"""
    own_file: Path | None
    """the file itself, if the pool links to it (`autolora index`)"""

    @property
    def sources(self) -> Sources:
        """Return the listings that are not withdrawn, or all of them if all are withdrawn; the earliest first."""
        remaining = tuple(listing for listing in self.listings if listing.status != "withdrawn")
        return Sources(tuple(sorted(remaining or self.listings, key=precedence)))


def lookup(root: Path, name: str, rules: CrawlParams) -> AdapterRecord:
    """Find an adapter by its name on a hub or the first digits of its sha256 (6 or more), else by its last part.

    Raises MissingArtifact when no adapter or several adapters match.
    """
    adapters = pool.adapters(root)
    catalog = read_all(root)
    adapter_names = AdapterNames([_naming_fields(listing, adapters) for listing in catalog])
    files: defaultdict[str, list[Listing]] = defaultdict(list)
    for listing in catalog:
        files[_file_key(listing, adapters)].append(listing)
    positions = adapter_names.find_all(name) or adapter_names.find_all_by_last_part(name)
    named = dict.fromkeys(_file_key(catalog[position], adapters) for position in positions)
    matches = {file: files[file] for file in named}
    if not matches:
        suggestion = adapter_names.suggest(name)
        raise MissingArtifact(
            f"no adapter '{name}' in data/catalog{suggestion}: name {EXPECTED}, e.g. author/name"
        )
    if len(matches) > 1:
        names = ", ".join(qualified_name(listing) for found in matches.values() for listing in found)
        raise MissingArtifact(
            f"'{name}' matches several adapters: {names}; use one of these full names, or a sha256"
        )
    (listings,) = matches.values()
    takedown = next(filter(None, map(takedowns.read(root).of_listing, listings)), None)
    reason = TAKEN_DOWN if takedown else _inactive_reason(root, listings, rules)
    return _record(root, listings, adapters, reason, takedown)


def _file_key(listing: Listing, adapters: Mapping[str, Adapter]) -> str:
    """Return the identity of a listed file: the sha256 of the downloaded bytes, else the listing's own key."""
    adapter = adapters.get(listing.key)
    return adapter.sha256 if adapter else listing.key


def _naming_fields(listing: Listing, adapters: Mapping[str, Adapter]) -> Row:
    """Return the fields by which `AdapterNames` finds a listing; an unknown sha256 is empty."""
    adapter = adapters.get(listing.key)
    sha256 = adapter.sha256 if adapter else listing.sha256 or ""
    return {"sha256": sha256, "hub": listing.hub, "id": listing.id, "file": listing.file}


def _inactive_reason(root: Path, listings: Sequence[Listing], rules: CrawlParams) -> str:
    """Return why no listing of a file is active; empty if one is."""
    if any(listing.is_active for listing in listings):
        return ""
    if rule := next(
        (rejecting_rule(listing, rules) for listing in listings if listing.status == "rejected"), None
    ):
        return f"it is {describe_rejection(rule)}"
    queued = next((listing for listing in listings if listing.status == "queued"), None)
    if queued is None:
        return (
            "the hub lists neither the file nor a page for it any more, or took it down; no search returns it and "
            "nothing is trained on it until a hub lists it again. Its metadata and completed downloads are kept"
        )
    return waiting_reason(queued, failed_items.read(root))


def _record(
    root: Path,
    listings: Sequence[Listing],
    adapters: Mapping[str, Adapter],
    inactive_reason: str,
    takedown: Takedown | None,
) -> AdapterRecord:
    """Return what pool, captions and training lock hold about a file; the lock may hold a withdrawn one too."""
    pooled = pool.renderings(root)
    adapter = next((adapters[listing.key] for listing in listings if listing.key in adapters), None)
    reported = next((listing.sha256 for listing in listings if listing.sha256), None)
    sha256 = adapter.sha256 if adapter else reported
    renderings = {rendering.key for listing in listings for rendering in listing.renderings}
    images = {pooled[key].sha256 for key in renderings if key in pooled}
    drawings = () if images else read_drawings(root).get(sha256 or "", ())
    images |= {drawing.image for drawing in drawings}
    locked = {row.sha256: row for row in dataset.training_lock(root).rows}.get(sha256 or "")
    family, split = (locked.family, locked.split) if locked else _family_and_split(root, sha256)
    return AdapterRecord(
        listings=tuple(listings),
        adapter=adapter,
        split=split,
        is_locked=locked is not None,
        family=family,
        captions=tuple(caption for caption in read_captions(root) if caption.image in images),
        drawings={pool.rendering_path(root, drawing.image): drawing for drawing in drawings},
        caption_check=read_caption_checks(index.folder(root)).get(sha256) if sha256 else None,
        tags=read_tags_of(root, sha256) if sha256 else (),
        inactive_reason=inactive_reason,
        missing_images=_missing_images(root, listings),
        takedown=takedown,
        own_file=_own_file(root, sha256) if sha256 else None,
    )


def _family_and_split(root: Path, sha256: str | None) -> tuple[str | None, str | None]:
    """Return family and split of an adapter in the dataset; None without a dataset, or if it is not in it."""
    if sha256 is None or not dataset.folder(root).exists():
        return None, None
    rows = read_where(dataset.folder(root), "adapters", ["sha256", "family", "split"], "sha256", [sha256])
    return (rows[0]["family"], rows[0]["split"]) if rows else (None, None)


def _own_file(root: Path, sha256: str) -> Path | None:
    return pool.weights_path(root, sha256).resolve() if pool.is_link_outside(root, sha256) else None


def _missing_images(root: Path, listings: Iterable[Listing]) -> tuple[FailedItem, ...]:
    """Return the failed images of the models that some listings belong to."""
    models = {(listing.hub, listing.id) for listing in listings}
    failed = failed_items.read(root).values()
    return tuple(item for item in failed if (item.hub, item.id) in models and not item.is_file)
