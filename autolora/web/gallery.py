"""The images of adapters, and which of them are not safe for work.

Reads the tables of the stage `dataset` once, and again after another index was released. A project without them has
no images.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from autolora.catalog.store import FOLDER, catalog_files
from autolora.dataset import store as dataset
from autolora.errors import MissingArtifact
from autolora.records import NSFW_LEVELS
from autolora.storage.files import RESTORE, read_rows
from autolora.storage.tables import read_arrow
from autolora.web.thumbnails import erased_images

UNSAFE_LEVELS = NSFW_LEVELS[NSFW_LEVELS.index("soft") + 1 :]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """The images of all adapters."""

    images: pa.ChunkedArray = field(default_factory=lambda: pa.chunked_array([[]], pa.list_(pa.string())))
    """(N,) lists of sha256"""
    positions: Mapping[str, int] = field(default_factory=dict)
    """adapter sha256 -> its place in `images`"""
    unsafe: frozenset[str] = frozenset()
    """images that are not safe for work"""
    erased: frozenset[str] = frozenset()
    """images that were taken down"""

    def of(self, adapter: str, with_unsafe: bool) -> list[str]:
        """Return the images of an adapter; those that are not safe for work only on request."""
        position = self.positions.get(adapter)
        listed: list[str] = [] if position is None else self.images[position].as_py() or []
        hidden = self.erased if with_unsafe else self.erased | self.unsafe
        return [image for image in listed if image not in hidden]


def read_gallery(root: Path) -> Gallery:
    """Return the images of the dataset; without any if the stage `dataset` has not run.

    Raises MissingArtifact if the catalog is damaged, as it states which images are not safe for work.
    """
    folder = dataset.folder(root)
    try:
        adapters = read_arrow(folder, "adapters", ["sha256", "nsfw", "renderings"])
        renderings = read_arrow(folder, "renderings", ["id", "image", "url"])
    except MissingArtifact as error:
        logger.info("no images: %s", error)
        return Gallery(erased=erased_images(root))
    names = adapters.column("sha256").to_pylist()
    return Gallery(
        images=adapters.column("renderings"),
        positions={name: position for position, name in enumerate(names)},
        unsafe=_unsafe_images(root, adapters, renderings),
        erased=erased_images(root),
    )


def _unsafe_images(root: Path, adapters: pa.Table, renderings: pa.Table) -> frozenset[str]:
    """Return the images that a hub marks, and those that only adapters show that are marked themselves."""
    try:
        marked = {
            rendering["url"]
            for path in catalog_files(root)
            for listing in read_rows(path)
            for rendering in listing["renderings"]
            if rendering.get("nsfw_level") in UNSAFE_LEVELS
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise MissingArtifact(f"{root / FOLDER} is damaged ({error!r}): {RESTORE}") from error
    pairs = zip(renderings.column("image").to_pylist(), renderings.column("url").to_pylist(), strict=True)
    by_url = {image for image, url in pairs if url in marked}
    shown: dict[bool, set[str]] = {True: set(), False: set()}
    flags = adapters.column("nsfw").to_pylist()
    for nsfw, images in zip(flags, adapters.column("renderings").to_pylist(), strict=True):
        shown[bool(nsfw)].update(images or ())
    return frozenset(by_url | (shown[True] - shown[False]))
