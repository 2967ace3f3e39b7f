"""Pictures from strangers."""

import io
import os
import random
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from autolora.errors import RefusedFile
from autolora.pool.images import redraw
from tests.lora.mutations import mutate_bytes
from tests.support.tiny_pool import BOUNDS, picture


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


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "PPM", "AVIF", "ICO", "PDF"])
def test_other_formats_are_refused(tmp_path: Path, format: str) -> None:
    with pytest.raises(RefusedFile, match="no picture of PNG, JPEG, WEBP") as caught:
        redraw(put(tmp_path, picture(50, format=format)), BOUNDS)
    assert caught.value.code == "not-an-image"


def test_svg_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFile) as caught:
        redraw(put(tmp_path, b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>'), BOUNDS)
    assert caught.value.code == "not-an-image"


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "PNG"])
def test_where_it_was_taken_does_not_stay(tmp_path: Path, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    exif.get_ifd(0x8825)[29] = "where I live"
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, format, exif=exif)
    assert b"where I live" in buffer.getvalue()
    content, width, height = redraw(put(tmp_path, buffer.getvalue()), BOUNDS)
    assert b"where I live" not in content and not Image.open(io.BytesIO(content)).getexif()
    assert (width, height) == (12, 16)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_of_a_moving_picture_the_first_frame_is_taken(tmp_path: Path, format: str) -> None:
    frames = [Image.new("RGB", (16, 12), colour) for colour in ("red", "green", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, format, save_all=True, append_images=frames[1:], lossless=True)
    content, *_ = redraw(put(tmp_path, buffer.getvalue()), BOUNDS)
    image = Image.open(io.BytesIO(content))
    assert getattr(image, "n_frames", 1) == 1 and image.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_colour_becomes_rgb(tmp_path: Path, mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (16, 12)).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    assert Image.open(io.BytesIO(redraw(put(tmp_path, buffer.getvalue()), BOUNDS)[0])).mode == "RGB"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_what_hides_behind_a_picture_does_not_stay(tmp_path: Path, format: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hidden.txt", "where I live")
    polyglot = picture(50, format=format) + buffer.getvalue()
    assert zipfile.is_zipfile(put(tmp_path, polyglot))
    content, *_ = redraw(put(tmp_path, polyglot), BOUNDS)
    assert not zipfile.is_zipfile(io.BytesIO(content)) and b"where I live" not in content


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


def test_text_that_unpacks_to_much_is_no_picture(tmp_path: Path) -> None:
    whole = picture(50)
    text = b"c\0\0" + zlib.compress(bytes(1 << 27), 1)
    chunk = len(text).to_bytes(4, "big") + b"zTXt" + text + zlib.crc32(b"zTXt" + text).to_bytes(4, "big")
    with pytest.raises(RefusedFile):
        redraw(put(tmp_path, whole[:33] + chunk + whole[33:]), replace(BOUNDS, max_image_mb=20))


def test_a_jpeg_of_many_scans_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, "JPEG", progressive=True)
    whole = buffer.getvalue()
    assert redraw(put(tmp_path, whole), BOUNDS)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    with pytest.raises(RefusedFile, match="scans, allowed are 100") as caught:
        redraw(put(tmp_path, whole[:-2] + scan * 200 + whole[-2:]), BOUNDS)
    assert caught.value.code == "image-too-large"


def test_a_thread_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(RefusedFile, match="1 × 101 px") as caught:
        redraw(put(tmp_path, picture(50, size=(1, 101))), BOUNDS)
    assert caught.value.code == "image-too-thin"


def test_a_file_over_the_bound_is_not_read(tmp_path: Path) -> None:
    path = put(tmp_path, picture(50))
    os.truncate(path, 20 << 30)
    with pytest.raises(RefusedFile, match=r"pool\.max_image_mb") as caught:
        redraw(path, BOUNDS)
    assert caught.value.code == "image-too-large"


def test_links_pipes_and_folders_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(put(tmp_path, picture(50)))
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "link", tmp_path / "pipe"):
        with pytest.raises(RefusedFile, match="no regular file"):
            redraw(path, BOUNDS)


@pytest.mark.long(full=5000, sample=60)
def test_damaged_pictures_are_refused_or_drawn(tmp_path: Path, seed: int) -> None:
    """Nothing but our own refusals comes of bytes that are changed, cut, repeated or moved."""
    rng = random.Random(seed)
    content = mutate_bytes(rng, picture(seed % 256, (24, 18), rng.choice(("PNG", "JPEG", "WEBP"))))
    try:
        redrawn, width, height = redraw(put(tmp_path, content), BOUNDS)
    except RefusedFile as error:
        assert error.code in ("not-an-image", "image-too-large", "image-too-thin")
        assert str(error).isprintable()
    else:
        assert Image.open(io.BytesIO(redrawn)).size == (width, height)
