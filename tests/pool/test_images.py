"""Validation and re-encoding of untrusted images."""

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
from autolora.pool.images import check_image, reencode_image
from tests.lora.mutations import mutate_bytes
from tests.support.tiny_pool import BOUNDS, encoded_image


def write_file(folder: Path, content: bytes) -> Path:
    path = folder / "image"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_reencoded_as_rgb_png(tmp_path: Path, format: str) -> None:
    content, width, height = reencode_image(write_file(tmp_path, encoded_image(50, format=format)), BOUNDS)
    image = Image.open(io.BytesIO(content))
    assert (
        (image.format, image.mode, image.size) == ("PNG", "RGB", (16, 12)) == ("PNG", "RGB", (width, height))
    )


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_an_image_that_stays_is_decoded_completely(tmp_path: Path, format: str) -> None:
    content = encoded_image(50, format=format)
    assert check_image(write_file(tmp_path, content), BOUNDS) == (16, 12)
    with pytest.raises(RefusedFile, match="not a valid image"):
        check_image(write_file(tmp_path, content[: len(content) // 2]), BOUNDS)
    with pytest.raises(RefusedFile, match="px are allowed"):
        check_image(write_file(tmp_path, content), replace(BOUNDS, max_image_px=100))


def test_all_metadata_is_removed_and_exif_orientation_applied(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "secret")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "secret"
    buffer = io.BytesIO()
    Image.new("RGBA", (16, 12)).save(buffer, "PNG", pnginfo=text, exif=exif, icc_profile=b"secret")
    content, width, height = reencode_image(write_file(tmp_path, buffer.getvalue()), BOUNDS)
    assert b"secret" not in content and not Image.open(io.BytesIO(content)).info
    assert (width, height) == (12, 16), "rotated as its EXIF orientation requires"


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "PPM", "AVIF", "ICO", "PDF"])
def test_other_formats_are_refused(tmp_path: Path, format: str) -> None:
    with pytest.raises(RefusedFile, match="not a valid image of type PNG, JPEG, WEBP") as caught:
        reencode_image(write_file(tmp_path, encoded_image(50, format=format)), BOUNDS)
    assert caught.value.code == "not-an-image"


def test_svg_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFile) as caught:
        reencode_image(
            write_file(tmp_path, b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>'), BOUNDS
        )
    assert caught.value.code == "not-an-image"


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "PNG"])
def test_gps_position_is_removed(tmp_path: Path, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    exif.get_ifd(0x8825)[29] = "secret"
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, format, exif=exif)
    assert b"secret" in buffer.getvalue()
    content, width, height = reencode_image(write_file(tmp_path, buffer.getvalue()), BOUNDS)
    assert b"secret" not in content and not Image.open(io.BytesIO(content)).getexif()
    assert (width, height) == (12, 16)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_only_the_first_frame_of_an_animation_is_used(tmp_path: Path, format: str) -> None:
    frames = [Image.new("RGB", (16, 12), color) for color in ("red", "green", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, format, save_all=True, append_images=frames[1:], lossless=True)
    content, *_ = reencode_image(write_file(tmp_path, buffer.getvalue()), BOUNDS)
    image = Image.open(io.BytesIO(content))
    assert getattr(image, "n_frames", 1) == 1 and image.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_color_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (16, 12)).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    assert (
        Image.open(io.BytesIO(reencode_image(write_file(tmp_path, buffer.getvalue()), BOUNDS)[0])).mode
        == "RGB"
    )


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_data_appended_to_an_image_is_removed(tmp_path: Path, format: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hidden.txt", "secret")
    polyglot = encoded_image(50, format=format) + buffer.getvalue()
    assert zipfile.is_zipfile(write_file(tmp_path, polyglot))
    content, *_ = reencode_image(write_file(tmp_path, polyglot), BOUNDS)
    assert not zipfile.is_zipfile(io.BytesIO(content)) and b"secret" not in content


def test_damaged_images_are_refused_without_naming_the_path(tmp_path: Path) -> None:
    intact = encoded_image(50, size=(60, 60))
    for content in (b"", b"text", intact[: len(intact) // 2], intact[:40] + b"x" * 40 + intact[80:]):
        with pytest.raises(RefusedFile) as caught:
            reencode_image(write_file(tmp_path, content), BOUNDS)
        assert str(tmp_path) not in str(caught.value)


def test_decompression_bombs_are_refused_before_decoding(tmp_path: Path) -> None:
    with pytest.raises(RefusedFile, match="101 × 100 px, but at most 10000") as caught:
        reencode_image(write_file(tmp_path, encoded_image(50, size=(101, 100))), BOUNDS)
    assert caught.value.code == "image-too-large"
    bomb = bytearray(encoded_image(50))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(RefusedFile):
        reencode_image(write_file(tmp_path, bytes(bomb)), replace(BOUNDS, max_image_px=10**12))


def test_a_compressed_text_bomb_is_refused(tmp_path: Path) -> None:
    intact = encoded_image(50)
    text = b"c\0\0" + zlib.compress(bytes(1 << 27), 1)
    chunk = len(text).to_bytes(4, "big") + b"zTXt" + text + zlib.crc32(b"zTXt" + text).to_bytes(4, "big")
    with pytest.raises(RefusedFile):
        reencode_image(
            write_file(tmp_path, intact[:33] + chunk + intact[33:]), replace(BOUNDS, max_image_mb=20)
        )


def test_a_jpeg_with_many_scans_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, "JPEG", progressive=True)
    intact = buffer.getvalue()
    assert reencode_image(write_file(tmp_path, intact), BOUNDS)
    scan = intact[intact.rindex(b"\xff\xda") : -2]
    with pytest.raises(RefusedFile, match="scans, but at most 100") as caught:
        reencode_image(write_file(tmp_path, intact[:-2] + scan * 200 + intact[-2:]), BOUNDS)
    assert caught.value.code == "image-too-large"


def test_an_extreme_aspect_ratio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFile, match="1 × 101 px") as caught:
        reencode_image(write_file(tmp_path, encoded_image(50, size=(1, 101))), BOUNDS)
    assert caught.value.code == "image-too-thin"


def test_a_file_above_the_size_limit_is_not_read(tmp_path: Path) -> None:
    path = write_file(tmp_path, encoded_image(50))
    os.truncate(path, 20 << 30)
    with pytest.raises(RefusedFile, match=r"at most \d+ are allowed") as caught:
        reencode_image(path, BOUNDS)
    assert caught.value.code == "image-too-large"


def test_links_pipes_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(write_file(tmp_path, encoded_image(50)))
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "link", tmp_path / "pipe"):
        with pytest.raises(RefusedFile, match="not a regular file"):
            reencode_image(path, BOUNDS)


@pytest.mark.long(full=5000, sample=60)
def test_mutated_images_are_refused_or_reencoded(tmp_path: Path, seed: int) -> None:
    """Images with changed, removed, repeated or moved bytes raise nothing but RefusedFile."""
    rng = random.Random(seed)
    content = mutate_bytes(rng, encoded_image(seed % 256, (24, 18), rng.choice(("PNG", "JPEG", "WEBP"))))
    try:
        png, width, height = reencode_image(write_file(tmp_path, content), BOUNDS)
    except RefusedFile as error:
        assert error.code in ("not-an-image", "image-too-large", "image-too-thin")
        assert str(error).isprintable()
    else:
        assert Image.open(io.BytesIO(png)).size == (width, height)
