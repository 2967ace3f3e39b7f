"""Pictures from strangers."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from autolora.errors import RefusedFile
from autolora.pictures import redraw
from tests.tiny_pool import BOUNDS, picture


def put(folder: Path, content: bytes) -> Path:
    path = folder / "picture"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_drawn_anew(tmp_path: Path, format: str) -> None:
    content, width, height = redraw(put(tmp_path, picture(50, format=format)), BOUNDS)
    image = Image.open(io.BytesIO(content))
    assert (
        (image.format, image.mode, image.size) == ("PNG", "RGB", (16, 12)) == ("PNG", "RGB", (width, height))
    )


def test_nothing_but_the_picture_stays(tmp_path: Path) -> None:
    told = PngImagePlugin.PngInfo()
    told.add_text("parameters", "where I live")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "where I live"
    buffer = io.BytesIO()
    Image.new("RGBA", (16, 12)).save(buffer, "PNG", pnginfo=told, exif=exif, icc_profile=b"where I live")
    content, width, height = redraw(put(tmp_path, buffer.getvalue()), BOUNDS)
    assert b"where I live" not in content and not Image.open(io.BytesIO(content)).info
    assert (width, height) == (12, 16), "an upright picture is drawn upright"


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_are_refused(tmp_path: Path, format: str) -> None:
    with pytest.raises(RefusedFile, match="no picture of PNG, JPEG, WEBP") as caught:
        redraw(put(tmp_path, picture(50, format=format)), BOUNDS)
    assert caught.value.code == "not-an-image"


def test_damaged_pictures_are_refused(tmp_path: Path) -> None:
    whole = picture(50, size=(60, 60))
    for content in (b"", b"text", whole[: len(whole) // 2], whole[:40] + b"x" * 40 + whole[80:]):
        with pytest.raises(RefusedFile) as caught:
            redraw(put(tmp_path, content), BOUNDS)
        assert str(tmp_path) not in str(caught.value)


def test_bombs_are_refused_before_they_are_drawn(tmp_path: Path) -> None:
    with pytest.raises(RefusedFile, match="101 × 100 px, allowed are 10000") as caught:
        redraw(put(tmp_path, picture(50, size=(101, 100))), BOUNDS)
    assert caught.value.code == "image-too-large"
    bomb = bytearray(picture(50))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(RefusedFile):
        redraw(put(tmp_path, bytes(bomb)), replace(BOUNDS, max_image_px=10**12))
