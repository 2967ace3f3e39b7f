"""The newest adapters with an image of each."""

from base64 import b64encode
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from autolora.catalog.diff import qualified_name
from autolora.catalog.sources import Sources
from autolora.catalog.store import read_active
from autolora.hubs.pages import page_of
from autolora.index.tags import read_tags_of
from autolora.params import HubsParams
from autolora.pool import store as pool
from autolora.pool.batches import file_path
from autolora.pool.evicted import is_remote_only
from autolora.records import Listing
from autolora.refresh.record import RefreshRecord
from autolora.report.images import CARD_PX, reduce_image, reduced_path
from autolora.show.naming import display_name

MIN_SHOWN, MAX_SHOWN = 8, 16
"""adapters on the page, by how many the last refresh has brought"""
IMAGE_PX = 256
"""largest side"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Newcomer:
    """An adapter of the pool as the page shows it."""

    name: str
    author: str
    full_name: str
    """as `autolora show` accepts it"""
    page: str | None
    """URL on its hub"""
    day: str
    """first seen"""
    is_new: bool
    """whether the last refresh has brought it"""
    tags: str
    """what its weights say; empty if that is nothing likely, or the working index does not hold it"""
    nsfw: bool
    """whether its hub marks it as not safe for work: it is shown without an image"""
    image: str | None
    """data URL; None if the pool holds none"""


def newest(root: Path, hubs: HubsParams | None, record: RefreshRecord | None) -> list[Newcomer]:
    """Return the adapters that the last refresh has brought, then those that were seen last.

    hubs: where the pages of the adapters are; None leaves the links out.
    """
    came = {row.sha256 for row in record.outcomes if row.kind == "accepted"} if record else set()
    adapters = pool.adapters(root)
    listings: defaultdict[str, list[Listing]] = defaultdict(list)
    for listing in read_active(root):
        adapter = adapters.get(listing.key)
        if adapter and adapter.accepted:
            listings[adapter.sha256].append(listing)
    accepted = {sha256: Sources(tuple(found)) for sha256, found in listings.items()}
    ordered = sorted(accepted.items(), key=lambda item: item[1].primary.id)
    ordered.sort(key=lambda item: (item[0] in came, item[1].first_seen), reverse=True)
    images = {key: image.sha256 for key, image in pool.renderings(root).items()}
    shown = ordered[: min(max(len(came), MIN_SHOWN), MAX_SHOWN)]
    return [_newcomer(root, hubs, sha256, sources, images, sha256 in came) for sha256, sources in shown]


def _newcomer(
    root: Path, hubs: HubsParams | None, sha256: str, sources: Sources, images: dict[str, str], is_new: bool
) -> Newcomer:
    """Return one adapter. images: ListedRendering.key -> sha256 of the image."""
    listing = sources.primary
    name, author = display_name(listing.id, listing.file)
    return Newcomer(
        name=name,
        author=author or listing.hub,
        full_name=qualified_name(listing),
        page=page_of(hubs, listing.hub, listing.id) if hubs else None,
        day=sources.first_seen.isoformat(),
        is_new=is_new,
        tags=", ".join(tag.text for tag in read_tags_of(root, sha256) if tag.is_likely),
        nsfw=sources.nsfw,
        image=None if sources.nsfw else _image(root, sources, images),
    )


def _image(root: Path, sources: Sources, images: dict[str, str]) -> str | None:
    """Return the first image of an adapter's listings that the pool holds."""
    paths = (_path(root, images[image.key]) for image in sources.renderings if image.key in images)
    reduced = next(filter(None, (reduce_image(path, IMAGE_PX) for path in paths)), None)
    return f"data:image/webp;base64,{b64encode(reduced).decode()}" if reduced else None


def _path(root: Path, image: str) -> Path:
    """Return the path of an image; of one in an evicted batch that of its card, which needs no remote.

    To be on the page is no use of a batch.
    """
    is_evicted = is_remote_only(root, "renderings", image)
    return reduced_path(root, image, CARD_PX) if is_evicted else file_path(root, "renderings", image)
