"""Opens images of the pool: in the formats that it admits, and one's own only as they were when they were checked."""

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")
OPEN = "open"
"""folder of the pool whose links lead to one's own images and are named by their sha256; DVC makes other links"""


def read_image(path: Path) -> bytes:
    """Return the content of an image of the pool.

    Raises OSError if it is missing or no regular file, ValueError if one's own image has changed since its check.
    """
    is_own = path.is_symlink() and path.parents[1].name == OPEN
    descriptor = os.open(
        os.readlink(path) if is_own else path.resolve(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    )
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        content = stream.read()
    if is_own and hashlib.sha256(content).hexdigest() != path.stem:
        raise ValueError("it has changed since it was indexed: run `autolora index`")
    return content


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image of the pool. Raises as `read_image`, and what Pillow raises if it is damaged."""
    with Image.open(io.BytesIO(read_image(path)), formats=FORMATS) as image:
        yield image
