"""Images of the pool are opened in its formats only, and one's own only as they were when they were checked."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

from autolora.errors import ImageFailed
from autolora.report.images import reduce_image
from autolora.storage.images import open_image
from autolora.vlm.images import load_rendering, read_rendering

READERS: list[Callable[[Path], object]] = [
    lambda path: reduce_image(path, 320),
    lambda path: load_rendering(path, 320),
    lambda path: read_rendering(path, 320),
]


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """Return one's own image, and the pool's link to it."""
    image = tmp_path / "mine" / "cat.png"
    image.parent.mkdir()
    Image.new("RGB", (20, 10), (200, 10, 10)).save(image)
    link = tmp_path / "data/pool/open/renderings" / f"{hashlib.sha256(image.read_bytes()).hexdigest()}.png"
    link.parent.mkdir(parents=True)
    link.symlink_to(image)
    return image, link


def test_ones_own_image_is_opened(own: tuple[Path, Path]) -> None:
    with open_image(own[1]) as image:
        assert image.size == (20, 10)
    for read in READERS:
        assert read(own[1])


@pytest.mark.parametrize("read", READERS, ids=["page", "transformers", "vllm"])
def test_postscript_in_place_of_an_image_starts_no_program(
    own: tuple[Path, Path], tmp_path: Path, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", str(program))
    regular = tmp_path / "regular.png"
    for path, opened in [(own[0], own[1]), (regular, regular)]:
        Image.new("RGB", (20, 10)).save(path, "EPS")
        with pytest.raises((OSError, ValueError, ImageFailed)):
            read(opened)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("read", READERS, ids=["page", "transformers", "vllm"])
def test_an_image_that_was_replaced_since_its_check_is_not_shown(
    own: tuple[Path, Path], tmp_path: Path, read: Callable[[Path], object]
) -> None:
    image, link = own
    Image.new("RGB", (20, 10)).save(tmp_path / "secret.png")
    replacements: list[Callable[[], object]] = [
        lambda: image.symlink_to(tmp_path / "secret.png"),
        lambda: image.write_bytes((tmp_path / "secret.png").read_bytes()),
        lambda: os.mkfifo(image),
    ]
    for replace in replacements:
        image.unlink()
        replace()
        with pytest.raises((OSError, ValueError, ImageFailed)):
            assert read(link) is None
            raise OSError
