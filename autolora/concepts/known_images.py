"""Images of the pool that a corpus may contain too: the renderings of the training lock, and taken-down ones.

A corpus may have an image as its hub offers it, as the pool has re-encoded it, or saved again without loss. The first
has the same bytes, and all have the same pixels.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from autolora.catalog import takedowns
from autolora.concepts.decoded import DecodedImage, DecodedImages
from autolora.dataset.store import TrainingRow, training_lock
from autolora.errors import RefusedFile
from autolora.pool import store as pool
from autolora.progress import track
from autolora.storage.files import read_rows

HELD_OUT = "held-out"
"""reason code of a rendering of an adapter on which the models are tested"""

Size = tuple[int, int]
"""width and height in px"""
logger = logging.getLogger(__name__)


class KnownImages:
    """Tells which adapters of the training lock show an image, and which images must not be learned from."""

    def __init__(self, root: Path, decoded: DecodedImages) -> None:
        """Read the lock, the sizes of the pool's images, and the takedowns; no image is read."""
        self._root, self._decoded, self._takedowns = root, decoded, takedowns.read(root)
        self._adapters: defaultdict[str, list[TrainingRow]] = defaultdict(list)
        for adapter in training_lock(root).rows:
            for image in adapter.renderings:
                self._adapters[image].append(adapter)
        self._by_size: defaultdict[Size, list[str]] = defaultdict(list)
        for row in read_rows(pool.table_path(root, "renderings")):
            if row["sha256"] in self._adapters:
                self._by_size[row["width"], row["height"]].append(row["sha256"])
        self._by_pixels: dict[Size, dict[str, list[str]]] = {}

    def same_images(self, image: DecodedImage) -> Collection[str]:
        """Return the sha256 of an image, and of the lock's renderings with the same pixels.

        The first image of a size decodes the renderings of this size that were never decoded.
        """
        size = (image.width, image.height)
        if size not in self._by_pixels:
            self._by_pixels[size] = self._decode_renderings(self._by_size.get(size, ()))
        return {image.image, *self._by_pixels[size].get(image.pixels, ())}

    def families(self, images: Collection[str]) -> tuple[str, ...]:
        """Return the families of the training adapters that show one of these images, sorted.

        Raises RefusedFile if an adapter that is held out shows one, or if one was taken down.
        """
        for image in images:
            self._takedowns.check("rendering", image)
        shown_by = [row for image in images for row in self._adapters.get(image, ())]
        if any(row.split != "train" for row in shown_by):
            raise RefusedFile(HELD_OUT, "the training lock holds out an adapter whose rendering it is")
        return tuple(sorted({row.family for row in shown_by}))

    def _decode_renderings(self, images: Sequence[str]) -> dict[str, list[str]]:
        """Return hash of pixels -> renderings, as far as they are on disk or were decoded before."""
        by_pixels: defaultdict[str, list[str]] = defaultdict(list)
        for image in track(images, "concepts", len(images), "renderings compared with the corpus"):
            if image in self._decoded or pool.has_rendering(self._root, image):
                read = partial(Path.read_bytes, pool.rendering_path(self._root, image))
                decoded = self._decoded.find(image, read)
                if decoded.code:
                    logger.warning("rendering %s is not compared with the corpus: %s", image, decoded.reason)
                else:
                    by_pixels[decoded.pixels].append(image)
        return by_pixels
