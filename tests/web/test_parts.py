"""The small parts of the page: words, URLs, drawings, thumbnails and the gallery."""

import io
from pathlib import Path

import pytest
from PIL import Image
from PIL.ExifTags import Base

from autolora.pool import store as pool
from autolora.web.gallery import Gallery, read_gallery
from autolora.web.query import View
from autolora.web.results import match, resemblance
from autolora.web.thumbnails import Thumbnails

SHA256 = "a" * 64


@pytest.mark.parametrize(
    ("relevance", "level"), [(1.0, 3), (0.9, 3), (0.7, 2), (0.6, 2), (0.59, 1), (0.25, 1), (0.1, 0), (0.0, 0)]
)
def test_relevance_has_four_levels(relevance: float, level: int) -> None:
    assert match(relevance, min_relevance=0.6)[0] == level


def test_a_match_is_good_from_the_configured_relevance_on() -> None:
    assert [match(value, min_relevance=0.04)[1] for value in (0.05, 0.95)] == ["good match", "strong match"]
    assert resemblance(0.99)[1] == "nearly the same" and resemblance(-0.5) == (0, "not similar")


def test_a_url_states_what_differs_from_the_start() -> None:
    view = View(q="a & b", license=["mit", ""], nsfw=True, use=[SHA256])
    assert view.url() == f"/?q=a+%26+b&license=mit&nsfw=1&use={SHA256}"
    assert view.url(q="", use=[], nsfw=False) == "/?license=mit"
    assert view.cleared() == f"/?q=a+%26+b&use={SHA256}"
    assert (view.num_filters, view.num_more_filters) == (2, 1)


def test_a_tab_keeps_prompt_filters_and_selected_adapters() -> None:
    view = View(q="a cat", may_sell=True, use=[SHA256], adapter=SHA256, like=SHA256, k=48)
    assert view.tab("/generate") == f"/generate?q=a+cat&may_sell=1&use={SHA256}"


def save_image(root: Path, size: tuple[int, int]) -> None:
    path = pool.rendering_path(root, SHA256)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path, "PNG")


@pytest.mark.parametrize(
    ("size", "reduced"), [((64, 32), (320, 160)), ((1000, 500), (320, 160)), ((200, 100), (200, 100))]
)
def test_thumbnails_fit_the_side(tmp_path: Path, size: tuple[int, int], reduced: tuple[int, int]) -> None:
    save_image(tmp_path, size)
    thumbnails = Thumbnails(tmp_path, (320,))
    content = thumbnails.load(SHA256, 320)
    assert content is not None and Image.open(io.BytesIO(content)).size == reduced
    assert thumbnails.size(SHA256) == size
    assert thumbnails.load(SHA256, 321) is None and thumbnails.load("../x", 320) is None


@pytest.mark.parametrize(("orientation", "upright"), [(1, (200, 400)), (3, (200, 400)), (6, (400, 200))])
def test_images_are_upright(tmp_path: Path, orientation: int, upright: tuple[int, int]) -> None:
    """The pool of one's own files links to photos as a camera has written them."""
    save_image(tmp_path, (200, 400))
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    Image.new("RGB", (200, 400)).save(pool.rendering_path(tmp_path, SHA256), "JPEG", exif=exif)
    thumbnails = Thumbnails(tmp_path, (400,))
    content = thumbnails.load(SHA256, 400)
    assert content is not None and Image.open(io.BytesIO(content)).size == upright
    assert thumbnails.size(SHA256) == upright


@pytest.mark.parametrize("size", [7, 200])
def test_a_file_that_replaces_an_image_has_no_thumbnail(tmp_path: Path, size: int) -> None:
    save_image(tmp_path, (640, 640))
    path = pool.rendering_path(tmp_path, SHA256)
    path.write_bytes(path.read_bytes()[:size])
    assert Thumbnails(tmp_path, (320,)).load(SHA256, 320) is None
    assert not list((tmp_path / "cache").rglob("*.webp"))


def test_an_image_that_was_taken_down_has_no_thumbnail_any_more(tmp_path: Path) -> None:
    save_image(tmp_path, (64, 64))
    thumbnails = Thumbnails(tmp_path, (320,))
    assert thumbnails.load(SHA256, 320) is not None
    pool.rendering_path(tmp_path, SHA256).write_bytes(b"")
    assert thumbnails.load(SHA256, 320) is None and not list((tmp_path / "cache").rglob("*.webp"))
    assert thumbnails.size(SHA256) is None


def test_a_project_without_a_dataset_has_no_images(tmp_path: Path) -> None:
    assert (
        read_gallery(tmp_path).of(SHA256, with_unsafe=True) == Gallery().of(SHA256, with_unsafe=False) == []
    )
