"""Loading the base: folders as they are, pinned hub ids, and errors that say what to do."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autolora import models
from autolora.errors import HubError, MissingArtifact, ParamsError
from autolora.params import ModelsParams, load
from tests.support.tiny_flux import CONFIG, TOKENS, save_pipeline

SHIPPED = load(Path(__file__).parents[1] / "params.yaml").models


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelsParams:
    folder = save_pipeline(tmp_path_factory.getbasetemp() / "tiny-flux")
    return replace(SHIPPED, pipeline=str(folder), threads=1)


def test_a_folder_is_taken_as_it_is(base: ModelsParams) -> None:
    assert models.resolve(base.pipeline, None) == Path(base.pipeline)
    assert {name: models.transformer_config(base)[name] for name in CONFIG} == json.loads(json.dumps(CONFIG))


@pytest.mark.parametrize("name", ["playground/models/nothing", "/nowhere/flux", "./flux", "flux"])
def test_a_missing_folder_says_what_to_do(name: str) -> None:
    with pytest.raises(MissingArtifact, match="make playground"):
        models.resolve(name, None)


def test_a_hub_id_needs_its_revision() -> None:
    with pytest.raises(ParamsError, match="revision"):
        models.resolve("someone/flux", None)


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="someone/flux@0123"):
        models.resolve("someone/flux", "0123")


def test_the_text_encoder_is_the_pipelines_own(base: ModelsParams) -> None:
    encoder = models.load_text_encoder(base)
    pipeline = models.load_pipeline(base)
    texts = ["a red ball", "b", "a text that is much longer than the twelve tokens that fit"]
    found = encoder.encode(texts)
    expected = pipeline.encode_prompt(prompt=texts, prompt_2=None, max_sequence_length=TOKENS)[1]
    assert found.shape == (3, encoder.width) == (3, 16)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    assert encoder.encode([]).shape == (0, 16)


def test_the_text_encoders_digest_follows_its_files(base: ModelsParams, tmp_path: Path) -> None:
    digest = models.load_text_encoder(base).digest
    for part in ("text_encoder", "tokenizer"):
        (tmp_path / part).mkdir()
        for file in (Path(base.pipeline) / part).iterdir():
            (tmp_path / part / file.name).write_bytes(file.read_bytes())
    copy = replace(base, pipeline=str(tmp_path))
    assert models.load_text_encoder(copy).digest == digest
    path = tmp_path / "tokenizer" / "tokenizer_config.json"
    path.write_text(path.read_text() + "\n")
    assert models.load_text_encoder(copy).digest != digest


def test_parts_are_frozen(base: ModelsParams) -> None:
    for part in (
        models.load_transformer(base),
        models.load_vae(base),
        models.load_pipeline(base).transformer,
    ):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())


def test_noise_levels_are_those_of_sampling(base: ModelsParams) -> None:
    pipeline = models.load_pipeline(base)
    sigmas = models.training_sigmas(pipeline, 4)
    assert (sigmas[0].item(), len(sigmas)) == (1.0, 1000)
    assert bool((sigmas.diff() < 0).all())
    pipeline(
        "a", width=32, height=32, num_inference_steps=2, max_sequence_length=TOKENS, output_type="latent"
    )
    assert sigmas[500].item() == pytest.approx(pipeline.scheduler.sigmas[1].item(), abs=2e-3)


@pytest.mark.parametrize("part", ["text_encoder", "transformer", "vae"])
def test_a_damaged_part_is_named(base: ModelsParams, tmp_path: Path, part: str) -> None:
    (tmp_path / part).mkdir()
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / part / "config.json").write_text("{")
    damaged = replace(base, pipeline=str(tmp_path))
    loaders = {
        "text_encoder": models.load_text_encoder,
        "transformer": models.load_transformer,
        "vae": models.load_vae,
    }
    with pytest.raises(MissingArtifact, match=part):
        loaders[part](damaged)
    with pytest.raises(MissingArtifact, match="FluxPipeline"):
        models.component(damaged, "scheduler")
    with pytest.raises(MissingArtifact, match=r"config\.json"):
        models.transformer_config(replace(base, pipeline=str(tmp_path / "tokenizer")))


def test_importing_models_imports_neither_transformers_nor_diffusers() -> None:
    code = "import sys, autolora.models; print({'transformers', 'diffusers'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
