"""The one rule by which images are reduced, for the report and for `autolora serve`."""

import io
from pathlib import Path

import pytest
from PIL import Image

from autolora.report.images import reduce_image


def reduced(path: Path, side: int) -> Image.Image:
    content = reduce_image(path, side)
    assert content is not None
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((64, 64), 256, (256, 256)),
        ((320, 64), 1280, (1280, 256)),
        ((100, 90), 320, (300, 270)),
    ],
)
def test_small_images_keep_their_pixels_enlarged_by_a_whole_factor(
    tmp_path: Path, size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    original = Image.effect_noise(size, 90).convert("RGB")
    original.save(tmp_path / "image.png")
    image = reduced(tmp_path / "image.png", side)
    assert image.size == expected
    assert image.convert("RGB").resize(size, Image.Resampling.NEAREST).tobytes() == original.tobytes()


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((128, 128), 96, (96, 96)), ((400, 100), 200, (200, 50)), ((200, 200), 256, (200, 200))],
)
def test_larger_images_fit_the_side(
    tmp_path: Path, size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    Image.effect_noise(size, 90).convert("RGB").save(tmp_path / "image.png")
    assert reduced(tmp_path / "image.png", side).size == expected


def test_images_are_upright_and_keep_transparency(tmp_path: Path) -> None:
    image, exif = Image.new("RGBA", (60, 40), (255, 0, 0, 0)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "image.png", exif=exif)
    upright = reduced(tmp_path / "image.png", 40)
    assert upright.size == (27, 40) and upright.convert("RGBA").getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_missing_and_erased_images_are_none(tmp_path: Path) -> None:
    (tmp_path / "erased.png").touch()
    assert (
        reduce_image(tmp_path / "erased.png", 256) is None
        and reduce_image(tmp_path / "none.png", 256) is None
    )
