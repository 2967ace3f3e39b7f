"""Images of the page: reduced, stored as thumbnails, and embedded as data URLs."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from autolora.report.images import FILE_SIDE_PX, encode_grid, image_store
from autolora.report.reduction import reduce_image
from tests.support.report_root import save_image


def test_large_images_are_reduced_and_small_ones_retain_their_pixels(tmp_path: Path) -> None:
    save_image(tmp_path / "large.png", (200, 10, 10), side=1024)
    save_image(tmp_path / "small.png", (200, 10, 10))
    large, small = reduce_image(tmp_path / "large.png", 256), reduce_image(tmp_path / "small.png", 256)
    assert large is not None and not large[1]
    assert small is not None and small[1]
    assert len(large[0]) < 150_000
    assert reduce_image(tmp_path / "none.png", 256) is None
    with Image.open(io.BytesIO(small[0])) as encoded, Image.open(tmp_path / "small.png") as original:
        assert encoded.format == "WEBP"
        assert encoded.convert("RGB").tobytes() == original.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("count", "side", "lossless"), [(10, 256, True), (1000, 160, False), (5000, 96, False)]
)
def test_images_get_smaller_as_their_number_grows(
    tmp_path: Path, count: int, side: int, lossless: bool
) -> None:
    store = image_store(tmp_path, count, are_files=False)
    assert (store.max_side, store.lossless) == (side, lossless)


@pytest.mark.parametrize("side", [64, 300])
def test_stored_thumbnail_gives_the_same_image_without_its_file(tmp_path: Path, side: int) -> None:
    path = tmp_path / "image.png"
    save_image(path, (200, 10, 10), side)
    first = image_store(tmp_path, 10, are_files=False).load("ab" * 32, (8, 9), path)
    path.unlink()
    assert first is not None
    assert image_store(tmp_path, 10, are_files=False).load("ab" * 32, (8, 9), path) == first
    assert first.is_small == (side == 64) and (first.width, first.height) == (8, 9)
    content = base64.b64decode(first.url.removeprefix("data:image/webp;base64,"))
    assert content == next((tmp_path / "cache" / "thumbnails").rglob("*.webp")).read_bytes()


def test_another_size_replaces_the_stored_thumbnails(tmp_path: Path) -> None:
    save_image(tmp_path / "image.png", (200, 10, 10), 300)
    large = image_store(tmp_path, 10, are_files=False).load("ab" * 32, (8, 9), tmp_path / "image.png")
    small = image_store(tmp_path, 5000, are_files=False).load("ab" * 32, (8, 9), tmp_path / "image.png")
    assert large is not None and small is not None and len(small.url) < len(large.url)
    assert len(list((tmp_path / "cache" / "thumbnails").rglob("*.webp"))) == 1


def test_missing_image_is_stored_nowhere(tmp_path: Path) -> None:
    assert image_store(tmp_path, 10, are_files=False).load("ab" * 32, (8, 9), tmp_path / "none.png") is None
    assert not (tmp_path / "cache").exists()


def test_thumbnail_of_an_image_that_left_the_page_is_removed(tmp_path: Path) -> None:
    for name in ("ab", "cd"):
        save_image(tmp_path / f"{name}.png", (200, 10, 10))
        image_store(tmp_path, 10, are_files=False).load(name * 32, (8, 9), tmp_path / f"{name}.png")
    store = image_store(tmp_path, 10, are_files=False)
    store.load("cd" * 32, (8, 9), tmp_path / "cd.png")
    store.remove_others()
    (remaining,) = (tmp_path / "cache" / "thumbnails").rglob("*.webp")
    assert remaining.name.startswith("cdcd")


def test_images_beside_the_page_are_files_and_replace_the_thumbnails(tmp_path: Path) -> None:
    save_image(tmp_path / "image.png", (200, 10, 10), 300)
    image_store(tmp_path, 10, are_files=False).load("ab" * 32, (300, 300), tmp_path / "image.png")
    image = image_store(tmp_path, 10, are_files=True).load("ab" * 32, (300, 300), tmp_path / "image.png")
    assert image is not None and image.url.startswith("images/")
    with Image.open(tmp_path / "reports" / image.url) as file:
        assert file.size == (FILE_SIDE_PX, FILE_SIDE_PX)
    assert not list((tmp_path / "cache" / "thumbnails").rglob("*.webp"))
    image_store(tmp_path, 10, are_files=False)
    assert not list((tmp_path / "reports" / "images").rglob("*.webp"))


def test_grid_has_the_size_of_the_embedded_image(tmp_path: Path) -> None:
    save_image(tmp_path / "grid.png", (200, 10, 10), 1600)
    grid = encode_grid(tmp_path / "grid.png")
    assert grid is not None and (grid.width, grid.height) == (256 * 5, 256 * 5)
    assert encode_grid(tmp_path / "none.png") is None
