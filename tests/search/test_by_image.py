"""Images that searches start from: files and loaded images under one rule, and their captions."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autolora import vlm
from autolora.errors import CaptionError, MissingArtifact, ParamsError, RefusedFile
from autolora.params import Params, PoolParams
from autolora.search.by_image import describe_image, open_image
from tests.support import small_root, tiny_judges

ORIENTATION, TURNED = 0x0112, 6
IMAGE = Image.new("RGB", (32, 32), "navy")


@pytest.fixture(scope="module")
def bounds() -> PoolParams:
    return small_root.params().pool


def test_images_are_read_within_the_bounds_of_the_pool(bounds: PoolParams, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "red.png")
    assert open_image(tmp_path / "link.png", bounds).size == (40, 30)
    with pytest.raises(RefusedFile, match=r"red\.png: the image has 40 × 30 px, but at most 1000 px"):
        open_image(tmp_path / "red.png", replace(bounds, max_image_px=1000))
    with pytest.raises(RefusedFile, match="at most 10 are allowed"):
        open_image(tmp_path / "red.png", replace(bounds, max_image_mb=1e-5))
    (tmp_path / "text.png").write_text("no image")
    for name, reason in (
        ("text.png", "the file is not a valid image"),
        (".", "it is a folder; give an image file"),
    ):
        with pytest.raises(RefusedFile, match=reason) as refused:
            open_image(tmp_path / name, bounds)
        assert refused.value.code == "not-an-image" and str(refused.value).startswith("cannot search by /")
    with pytest.raises(MissingArtifact, match=r"cannot read .*absent\.png \(No such file"):
        open_image(tmp_path / "absent.png", bounds)


@pytest.mark.parametrize(
    "given", ["https://a.org/b.png", Path("https://a.org/b.png"), Path("/x/https:/a.org/b.png")]
)
def test_a_url_is_not_opened(given: str | Path, bounds: PoolParams) -> None:
    """Also if a command has taken it for the path of a file."""
    with pytest.raises(
        MissingArtifact, match=r"^https://a\.org/b\.png is a URL: save the image, and give its file$"
    ):
        open_image(given, bounds)


@pytest.mark.parametrize("form", ["file", "opened", "loaded"])
def test_files_and_loaded_images_are_turned_upright_and_bounded(
    form: str, bounds: PoolParams, tmp_path: Path
) -> None:
    pixels = Image.fromarray(np.arange(40 * 30, dtype=np.uint8).reshape(30, 40), "L")
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED
    path = tmp_path / "turned.png"
    pixels.save(path, exif=exif)
    image: Path | Image.Image = path if form == "file" else Image.open(path)
    if isinstance(image, Image.Image) and form == "loaded":
        image.load()
    opened = open_image(image, bounds)
    assert (opened.mode, opened.size) == ("RGB", (30, 40))
    assert np.array_equal(np.asarray(opened)[..., 0], np.rot90(np.asarray(pixels), -1))
    if isinstance(image, Image.Image):
        assert image.size == (40, 30) and image.getexif()[ORIENTATION] == TURNED, "it stays as it is"
    with pytest.raises(
        RefusedFile, match=r"^cannot search by .*: the image has 40 × 30 px, but at most 1000 px"
    ) as refused:
        open_image(image, replace(bounds, max_image_px=1000))
    assert refused.value.code == "image-too-large"


@pytest.mark.parametrize("size", [(1000, 5), (0, 0), (8, 0)])
def test_a_loaded_image_that_is_too_thin_or_empty_is_refused(
    size: tuple[int, int], bounds: PoolParams
) -> None:
    with pytest.raises(RefusedFile, match="the longer side may be at most 100 times") as refused:
        open_image(Image.new("RGB", size), bounds)
    assert refused.value.code == "image-too-thin"


def test_a_loaded_image_of_another_format_or_with_damage_is_refused(
    bounds: PoolParams, tmp_path: Path
) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.bmp")
    Image.effect_noise((40, 30), 50).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(
        RefusedFile, match="cannot search by the image: it is a BMP, but must be a PNG, JPEG, WEBP"
    ):
        open_image(Image.open(tmp_path / "a.bmp"), bounds)
    with pytest.raises(RefusedFile, match="the file is not a valid image"):
        open_image(Image.open(tmp_path / "cut.png"), bounds)


def test_an_image_that_pillow_does_not_open_is_refused_with_the_bound(
    bounds: PoolParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(RefusedFile, match=r"the image has more than 1000 px, but at most \d+ px are allowed"):
        open_image(tmp_path / "a.png", bounds)


@pytest.mark.parametrize("given", [np.zeros((8, 8, 3)), b"\x89PNG", None])
def test_what_is_no_image_is_an_error(given: object, bounds: PoolParams) -> None:
    with pytest.raises(TypeError, match="but must be the path of a file, or an image of Pillow"):
        open_image(given, bounds)  # type: ignore[arg-type]


def test_an_image_is_opened_without_torch() -> None:
    code = "import sys, autolora.search.by_image; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.fixture
def params(tmp_path: Path) -> Params:
    """Return params with a tiny captioner in the folder `vlm` of the project, whose captions have few tokens."""
    tiny_judges.save_vlm(tmp_path / "vlm")
    shipped = small_root.params()
    base = replace(shipped.models, vlm="vlm", threads=1)
    return replace(shipped, models=base, captions=replace(shipped.captions, max_tokens=3))


def test_the_model_of_the_captions_describes_an_image(params: Params, tmp_path: Path) -> None:
    """With a relative folder that is one of the project."""
    caption = describe_image(tmp_path, params, IMAGE)
    assert caption.strip() and len(caption.split()) <= 3
    assert describe_image(tmp_path, params, IMAGE) == caption


def test_without_a_captioner_an_image_is_not_described(params: Params, tmp_path: Path) -> None:
    without = replace(params, captions=replace(params.captions, engine=None))
    with pytest.raises(
        ParamsError, match=r"captions\.engine in params\.yaml is null.* or describe the image"
    ):
        describe_image(tmp_path, without, IMAGE)
    absent = replace(params, models=replace(params.models, vlm="./absent"))
    with pytest.raises(
        MissingArtifact, match=r"models.vlm is \./absent, which is neither an existing folder nor a hub id"
    ):
        describe_image(tmp_path, absent, IMAGE)


def test_an_image_that_the_model_does_not_caption_is_an_error(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent:
        def describe(self, *_: Any) -> list[vlm.FailedImage]:
            return [vlm.FailedImage(position=0, reason="the answer is empty")]

    monkeypatch.setattr(vlm, "captioner", lambda *_: Silent())
    with pytest.raises(CaptionError, match=r"vlm does not caption the image \(the answer is empty\)"):
        describe_image(tmp_path, params, IMAGE)
