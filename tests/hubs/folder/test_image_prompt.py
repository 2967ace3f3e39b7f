"""Prompts in the metadata of images."""

import io
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from PIL.ExifTags import IFD, Base

from autolora.hubs.folder.image_prompt import read_prompt
from tests.hubs.folder.lora_folder import crawl, write

PARAMETERS = "a heron at dawn,\nink wash\nNegative prompt: blurry\nSteps: 20, Sampler: Euler, Seed: 1"
PROMPT = "a heron at dawn, ink wash"


def png(**chunks: str) -> bytes:
    info, stream = PngImagePlugin.PngInfo(), io.BytesIO()
    for name, value in chunks.items():
        info.add_itxt(name, value)
    Image.new("RGB", (8, 8)).save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def with_comment(format: str, comment: bytes) -> bytes:
    image, stream = Image.new("RGB", (8, 8)), io.BytesIO()
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.UserComment] = comment
    image.save(stream, format, exif=exif)
    return stream.getvalue()


def prompt_of(content: bytes) -> str | None:
    return read_prompt(io.BytesIO(content))


def test_png() -> None:
    assert prompt_of(png(parameters=PARAMETERS)) == PROMPT
    assert prompt_of(png(parameters=PARAMETERS.replace("Negative prompt: blurry\n", ""))) == PROMPT
    assert prompt_of(png(parameters="häher, Stufen: 3")) == "häher, Stufen: 3"


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + PARAMETERS.encode("utf-16-be"), b"UNICODE\0" + PARAMETERS.encode("utf-16-le"),
        b"ASCII\0\0\0" + PARAMETERS.encode(),
    ],
    ids=["big endian", "little endian", "ascii"],
)  # fmt: skip
def test_jpeg_and_webp(format: str, comment: bytes) -> None:
    assert prompt_of(with_comment(format, comment)) == PROMPT


@pytest.mark.parametrize(
    "content",
    [
        b"", b"GIF89a", png(), png(other=PARAMETERS), png(parameters="Steps: 20"), png(parameters=PARAMETERS)[:60],
        with_comment("JPEG", b"JIS\0\0\0\0\0abc"), with_comment("JPEG", b"UNICODE\0"), with_comment("WEBP", b"x"),
    ],
)  # fmt: skip
def test_no_prompt(content: bytes) -> None:
    assert prompt_of(content) is None


def test_a_prompt_is_bounded_and_printable() -> None:
    found = prompt_of(png(parameters="\x1b[31m" + "x" * 9999))
    assert found is not None and len(found) <= 2000 and found.isprintable()


def test_a_listing_has_the_prompt_of_its_image_unless_the_sidecar_states_one(root: Path) -> None:
    for name in ("ink", "neon"):
        write(root, f"{name}.safetensors", name)
        write(root, f"{name}.preview.png", png(parameters=PARAMETERS))
    write(root, "neon.json", {"renderings": [{"path": "neon.preview.png", "prompt": "a sign"}]})
    listings = crawl(root)
    assert [listings[name].renderings[0].prompt for name in ("ink", "neon")] == [PROMPT, "a sign"]
