"""Images as they are sent to a vision-language model."""

import io
from pathlib import Path

import pytest
from PIL import Image

from autolora.errors import ImageFailed
from autolora.vlm.images import read_rendering


def save(path: Path, format: str) -> Path:
    Image.new("RGB", (20, 10), (200, 10, 10)).save(path, format)
    return path


def test_a_small_png_is_sent_as_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "image", "PNG")
    assert read_rendering(path, 20) == path.read_bytes()


@pytest.mark.parametrize(("format", "max_side"), [("JPEG", 20), ("WEBP", 20), ("PNG", 10), ("JPEG", 10)])
def test_other_formats_and_large_images_are_sent_as_png(tmp_path: Path, format: str, max_side: int) -> None:
    """One's own images stay what they are (`autolora index`), but a request says that it contains a PNG."""
    image = Image.open(io.BytesIO(read_rendering(save(tmp_path / "image.png", format), max_side)))
    assert (image.format, max(image.size)) == ("PNG", max_side)


def test_a_damaged_image_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path / "image.png", "PNG")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ImageFailed, match="missing or damaged"):
        read_rendering(path, 20)
