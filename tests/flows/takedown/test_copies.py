"""Copies of the content outside batches: sketches, thumbnails, and captions of concepts."""

from dataclasses import asdict
from pathlib import Path

import pytest

from autolora.concepts.decoded import DecodedImage, decoded_path
from autolora.concepts.store import CaptionedImage, images_path, phrases_path
from autolora.storage.files import write_rows
from flows import takedown
from tests.flows.takedown.erasure import take_down
from tests.support.takedown_repo import IMAGES, INK, OTHER, OWN, SHARED


def test_a_file_outside_of_batches_is_removed(root: Path) -> None:
    sketch = root / f"data/pool/open/sketches/{INK}.safetensors"
    served = root / f"cache/web_images/320/{OWN[:2]}/{OWN}.webp"
    for path in (sketch, served, served.with_name(f"{IMAGES[2]}.webp")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
    take_down("civitai:7")
    assert not sketch.exists() and not served.exists()
    assert served.with_name(f"{IMAGES[2]}.webp").exists()


def write_concepts(root: Path, images: dict[str, str]) -> None:
    """Write data/concepts with captioned images, and the hash of the pixels of one: image -> caption."""
    rows = [
        CaptionedImage(sha256=image, caption=caption, source="s", families=(), gradient="g")
        for image, caption in images.items()
    ]
    write_rows(images_path(root), map(asdict, rows))
    write_rows(phrases_path(root), [{"phrase": "ink", "images": [0]}])


@pytest.mark.parametrize("shown", [OWN, "a copy with the same pixels"])
def test_captions_of_concepts_are_removed(root: Path, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_concepts(root, {shown: "a secret", OTHER: "a dog"})
    decoded = [DecodedImage(image=image, bounds="b", pixels="p") for image in {OWN, shown}]
    write_rows(decoded_path(root), map(asdict, [*decoded, DecodedImage(image=OTHER, bounds="b", pixels="q")]))
    takedown.take_down(["civitai:7"], "asked", is_applied=False)
    assert "would be erased in data/concepts: 1 file" in capsys.readouterr().out
    assert images_path(root).exists()
    take_down("civitai:7")
    assert not images_path(root).exists() and not phrases_path(root).exists()
    assert decoded_path(root).exists()
    take_down("civitai:7")
    assert "nothing to erase" in capsys.readouterr().out


def test_concepts_without_the_image_stay(root: Path) -> None:
    write_concepts(root, {OTHER: "a dog", SHARED: "kept, as another file shows it"})
    before = images_path(root).read_bytes()
    take_down("civitai:7")
    assert images_path(root).read_bytes() == before
