"""What decoding an image file has shown, kept in data/concepts/decoded.jsonl: each file is decoded for it only once.

So an image that is refused does not make every run load the base model, and images are compared by their pixels at no
cost after the first run.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from autolora.concepts.shards import folder
from autolora.errors import RefusedFile
from autolora.params import PoolParams
from autolora.pool.images import decode_image
from autolora.storage.files import read_rows, write_rows
from autolora.storage.hashes import hash_value

VERSION = 1
"""of the checks and of the hash of pixels"""

Read = Callable[[], bytes]
"""returns the content of an image file; raises RefusedFile"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedImage:
    """One line of data/concepts/decoded.jsonl."""

    image: str
    """sha256 of the file; of a rendering, of its download"""
    bounds: str
    """hash of the bounds that it was checked with"""
    width: int = 0
    """of the upright image, in px, as `height`; 0 if it is refused"""
    height: int = 0
    pixels: str = ""
    """sha256 of its upright RGB pixels; empty if it is refused"""
    code: str = ""
    """reason code of the refusal; empty if it was decoded"""
    reason: str = ""


class DecodedImages:
    """The table of decoded images. Those that a run asks for are in it when it is written, and no others."""

    def __init__(self, root: Path, bounds: PoolParams) -> None:
        self._path, self._limits = decoded_path(root), bounds
        self._bounds = hash_value([VERSION, bounds.max_image_mb, bounds.max_image_px])
        rows = (DecodedImage(**row) for row in read_rows(self._path))
        self._known = {row.image: row for row in rows if row.bounds == self._bounds}
        self._used: dict[str, DecodedImage] = {}

    def __contains__(self, image: str) -> bool:
        """Whether an image was decoded, or refused, before."""
        return image in self._known

    def find(self, image: str, read: Read) -> DecodedImage:
        """Return what decoding an image (sha256) shows; it is read and decoded if the table does not have it."""
        if image not in self._known:
            self._known[image] = self._decode(image, read)
        return self._used.setdefault(image, self._known[image])

    def write(self) -> None:
        """Write the table; without a row, there is no file."""
        if self._used:
            write_rows(self._path, (asdict(self._used[image]) for image in sorted(self._used)))
        else:
            self._path.unlink(missing_ok=True)

    def _decode(self, image: str, read: Read) -> DecodedImage:
        try:
            decoded = decode_image(read(), self._limits)
        except RefusedFile as refused:
            return DecodedImage(image=image, bounds=self._bounds, code=refused.code, reason=str(refused))
        return DecodedImage(
            image=image, bounds=self._bounds, width=decoded.width, height=decoded.height,
            pixels=_hash_pixels(decoded),
        )  # fmt: skip


def decoded_path(root: Path) -> Path:
    """Return the path of the table."""
    return folder(root) / "decoded.jsonl"


def _hash_pixels(image: Image.Image) -> str:
    """Return the sha256 of size and pixels of an RGB image."""
    return hashlib.sha256(f"{image.width}×{image.height} ".encode() + image.tobytes()).hexdigest()
