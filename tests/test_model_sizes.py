"""Sizes of models: of a folder's files, of the table, and as the hub lists them."""

from dataclasses import replace
from pathlib import Path

import pytest

from autolora.errors import HubError, MissingArtifact
from autolora.model_sizes import HUB_BYTES, LLAVA_TOKENS, PARTS, image_tokens, is_here, is_known, size_of
from autolora.models import load_pipeline
from autolora.params import load
from tests.support.tiny_flux import save_pipeline

PARAMS = load(Path(__file__).parents[1] / "params.yaml")


def test_a_folders_models_have_the_sizes_of_their_files(tmp_path: Path) -> None:
    name = str(save_pipeline(tmp_path / "flux"))
    pipeline = load_pipeline(replace(PARAMS.models, pipeline=name))
    for part in PARTS:
        size, number = size_of(name, None, part)
        assert number == sum(weight.numel() for weight in getattr(pipeline, part).parameters())
        assert 4 * number <= size
    assert size_of(name, None, "unet") == (0, 0) and is_known(name) and is_here(name, None)
    with pytest.raises(MissingArtifact, match=rf"{tmp_path} has no \*\.safetensors file"):
        size_of(str(tmp_path), None)


def test_other_models_have_the_sizes_that_the_hub_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

    files = [("model-1.safetensors", 6), ("model-2.safetensors", 4), ("vae/a.safetensors", 8), ("a.bin", 1)]
    listed = ModelInfo(id="a/b", siblings=[{"rfilename": name, "size": size} for name, size in files])
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: listed)
    assert (size_of("a/b", "c0"), size_of("a/b", "c0", "vae")) == ((10, 5), (8, 4))
    size_of.cache_clear()

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(HfApi, "model_info", refuse)
    with pytest.raises(HubError, match="cannot ask for the size of a/b@c0: no network; check the id"):
        size_of("a/b", "c0")


def test_an_image_has_more_tokens_in_llava() -> None:
    llava = next(name for name in HUB_BYTES if "llava" in name)
    assert image_tokens(llava, 1) == image_tokens(llava, 1e9) == LLAVA_TOKENS
    assert image_tokens(PARAMS.models.vlm, 28 * 28 * 7) == 7
