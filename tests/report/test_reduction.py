"""The one rule by which images are reduced, for the report and for `autolora serve`."""

import io
from pathlib import Path

import pytest
from PIL import Image

from autolora.report.reduction import reduce_image


def reduced(path: Path, side: int, **options: bool) -> tuple[Image.Image, bool]:
    result = reduce_image(path, side, **options)
    assert result is not None
    return Image.open(io.BytesIO(result[0])), result[1]


@pytest.mark.parametrize(
    ("size", "side", "is_small", "plain", "enlarged"),
    [
        ((64, 64), 256, True, (64, 64), (256, 256)),
        ((320, 64), 1280, True, (320, 64), (1280, 256)),
        ((100, 90), 320, True, (100, 90), (300, 270)),
        ((128, 128), 96, False, (96, 96), (96, 96)),
        ((400, 100), 200, False, (200, 50), (200, 50)),
        ((200, 200), 256, False, (200, 200), (200, 200)),
    ],
)
def test_small_images_keep_their_pixels_if_they_fit(
    tmp_path: Path,
    size: tuple[int, int],
    side: int,
    is_small: bool,
    plain: tuple[int, int],
    enlarged: tuple[int, int],
) -> None:
    original = Image.effect_noise(size, 90).convert("RGB")
    original.save(tmp_path / "image.png")
    image, keeps = reduced(tmp_path / "image.png", side)
    larger, keeps_larger = reduced(tmp_path / "image.png", side, enlarge=True)
    assert (keeps, keeps_larger, image.size, larger.size) == (is_small, is_small, plain, enlarged)
    if is_small:
        assert image.convert("RGB").tobytes() == original.tobytes()
        assert larger.convert("RGB").resize(size, Image.Resampling.NEAREST).tobytes() == original.tobytes()


def test_images_are_upright_and_keep_transparency(tmp_path: Path) -> None:
    image, exif = Image.new("RGBA", (60, 40), (255, 0, 0, 0)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "image.png", exif=exif)
    upright, _ = reduced(tmp_path / "image.png", 256)
    assert upright.size == (40, 60) and upright.convert("RGBA").getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_missing_and_erased_images_are_none(tmp_path: Path) -> None:
    (tmp_path / "erased.png").touch()
    assert (
        reduce_image(tmp_path / "erased.png", 256) is None
        and reduce_image(tmp_path / "none.png", 256) is None
    )
