"""Images as data URLs."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from autolora.report.images import encode_image, image_store
from tests.support.report_root import save_image


def test_large_images_are_reduced_and_small_ones_retain_their_pixels(tmp_path: Path) -> None:
    save_image(tmp_path / "large.png", (200, 10, 10), side=1024)
    save_image(tmp_path / "small.png", (200, 10, 10))
    large, small = encode_image(tmp_path / "large.png", 256), encode_image(tmp_path / "small.png", 256)
    assert large is not None and large[0].startswith("data:image/webp") and not large[1]
    assert small is not None and small[0].startswith("data:image/webp") and small[1]
    assert len(large[0]) < 200_000
    assert encode_image(tmp_path / "none.png", 256) is None
    content = base64.b64decode(small[0].split(",")[1])
    with Image.open(io.BytesIO(content)) as encoded, Image.open(tmp_path / "small.png") as original:
        assert encoded.convert("RGB").tobytes() == original.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("count", "side", "lossless"), [(10, 256, True), (1000, 160, False), (5000, 96, False)]
)
def test_images_get_smaller_as_their_number_grows(count: int, side: int, lossless: bool) -> None:
    store = image_store(count)
    assert (store.max_side, store.lossless) == (side, lossless)
