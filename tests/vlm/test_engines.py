"""What both engines have in common: images, and the digest of a model."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from autolora import vlm
from autolora.errors import MissingArtifact, ParamsError
from autolora.storage.hashes import hash_folder
from autolora.vlm.images import load_rendering
from tests.support.fake_openai import FakeOpenAI
from tests.vlm.engines import MODELS, ROOT, answer, connect, describe, image_of


def test_large_image_is_downsized_by_both_engines(
    server: tuple[FakeOpenAI, str], tmp_path: Path, captioner: vlm.Captioner
) -> None:
    fake, url = server
    path = tmp_path / "large.png"
    Image.new("RGB", (640, 320), "red").save(path)
    assert describe(connect(url), [path], max_side=64) == [answer()]
    (request,) = fake.requests
    assert image_of(request).size == (64, 32) == load_rendering(path, 64).size
    Image.new("RGB", (64, 32), "red").save(tmp_path / "small.png")
    assert describe(captioner, [path], max_side=64) == describe(captioner, [tmp_path / "small.png"])


def damage(path: Path, kind: str) -> None:
    """Damage an image file."""
    data = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "bit flip":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        path.write_bytes({"empty": b"", "cut": data[:-100], "text": b"not an image"}[kind])


@pytest.mark.parametrize("kind", ["missing", "empty", "cut", "text", "bit flip"])
@pytest.mark.parametrize("max_side", [1024, 32])
def test_damaged_image_fails_alone_in_both_engines(
    server: tuple[FakeOpenAI, str], images: list[Path], captioner: vlm.Captioner, kind: str, max_side: int
) -> None:
    fake, url = server
    damage(images[1], kind)
    for engine in (connect(url), captioner):
        results = sorted(describe(engine, images[:3], max_side=max_side), key=lambda result: result.position)
        assert [type(result) for result in results] == [vlm.Answer, vlm.FailedImage, vlm.Answer]
        assert "missing or damaged since its download" in results[1].reason  # type: ignore[union-attr]
    assert len(fake.requests) == 2


def test_digest_is_the_hash_of_a_folder_or_the_commit_of_a_hub_model() -> None:
    assert vlm.digest(MODELS) == hash_folder(ROOT / "playground/models/vlm")
    assert vlm.digest(replace(MODELS, vlm="owner/name", vlm_revision="c0ffee")) == "owner/name@c0ffee"
    with pytest.raises(ParamsError, match="vlm_revision"):
        vlm.digest(replace(MODELS, vlm="owner/name"))
    with pytest.raises(MissingArtifact, match="make playground"):
        vlm.digest(replace(MODELS, vlm="./nowhere"))
