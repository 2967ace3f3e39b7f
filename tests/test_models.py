"""Loading of the base pipeline: local folders, pinned hub ids, and errors that name the remedy."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from autolora import models
from autolora.errors import HubError, MissingArtifact, ParamsError
from autolora.lora.slots import slots
from autolora.params import ModelsParams, load
from tests.support.tiny_flux import CONFIG, TOKENS, save_pipeline

SHIPPED = load(Path(__file__).parents[1] / "params.yaml").models


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelsParams:
    folder = save_pipeline(tmp_path_factory.getbasetemp() / "tiny-flux")
    return replace(SHIPPED, pipeline=str(folder), threads=1)


def test_local_folder_needs_no_revision(base: ModelsParams) -> None:
    assert models.resolve(base.pipeline, None) == Path(base.pipeline)
    assert {name: models.transformer_config(base)[name] for name in CONFIG} == json.loads(json.dumps(CONFIG))


@pytest.mark.parametrize("name", ["playground/models/nothing", "/nowhere/flux", "./flux", "flux"])
def test_missing_folder_error_names_the_command_to_run(name: str) -> None:
    with pytest.raises(MissingArtifact, match="make playground"):
        models.resolve(name, None)


def test_hub_id_without_revision_is_refused() -> None:
    with pytest.raises(ParamsError, match="revision"):
        models.resolve("someone/flux", None)


def test_failed_download_error_names_model_and_revision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="someone/flux@0123"):
        models.resolve("someone/flux", "0123")


@pytest.mark.parametrize(
    ("parts", "listed", "needed"),
    [
        (
            models.PIPELINE_FILES,
            ["flux1-dev.safetensors", "ae.safetensors", "dev_grid.jpg", "README.md"],
            ["model_index.json", "transformer/diffusion_pytorch_model-00001-of-00003.safetensors", "vae/config.json"],
        ),
        (
            (),
            ["tf_model.h5", "flax_model.msgpack", "open_clip_model.safetensors", "onnx/model.onnx"],
            ["config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json", "preprocessor_config.json"],
        ),
    ],
    ids=["black-forest-labs/FLUX.1-dev", "a CLIP model"],
)  # fmt: skip
def test_weights_for_other_programs_are_not_downloaded(
    monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...], listed: list[str], needed: list[str]
) -> None:
    import huggingface_hub

    def list_downloads(name: str, *, revision: str, allow_patterns: Any, ignore_patterns: Any) -> str:
        patterns = {"allow_patterns": allow_patterns, "ignore_patterns": ignore_patterns}
        return "\n".join(huggingface_hub.utils.filter_repo_objects([*listed, *needed], **patterns))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", list_downloads)
    assert str(models.resolve("someone/model", "0123", parts)).split("\n") == needed


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_missing_gpu_is_an_error_that_names_the_param(base: ModelsParams) -> None:
    with pytest.raises(ParamsError, match=r"models.device is 'cuda' .* set models.device: cpu"):
        models.load_text_encoder(replace(base, device="cuda"))


def test_text_encoder_equals_that_of_the_pipeline(base: ModelsParams) -> None:
    encoder = models.load_text_encoder(base)
    pipeline = models.load_pipeline(base)
    texts = ["a red ball", "b", "a text that is much longer than the twelve tokens that fit"]
    features = encoder.encode(texts)
    expected = pipeline.encode_prompt(prompt=texts, prompt_2=None, max_sequence_length=TOKENS)[1]
    assert features.shape == (3, encoder.width) == (3, 16)
    assert features.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(features), expected)
    assert encoder.encode([]).shape == (0, 16)


def test_digest_of_the_text_encoder_depends_on_its_files(base: ModelsParams, tmp_path: Path) -> None:
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


def test_pipeline_is_frozen(base: ModelsParams) -> None:
    pipeline = models.load_pipeline(base)
    for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())


def test_training_noise_levels_equal_those_of_sampling(base: ModelsParams) -> None:
    pipeline = models.load_pipeline(base)
    sigmas = models.training_sigmas(pipeline, 4)
    assert (sigmas[0].item(), len(sigmas)) == (1.0, 1000)
    assert bool((sigmas.diff() < 0).all())
    pipeline(
        "a", width=32, height=32, num_inference_steps=2, max_sequence_length=TOKENS, output_type="latent"
    )
    assert sigmas[500].item() == pytest.approx(pipeline.scheduler.sigmas[1].item(), abs=2e-3)


def test_if_diffusers_cannot_import_its_libraries_the_error_says_what_to_install(
    base: ModelsParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> None:
            raise RuntimeError("Failed to import diffusers.pipelines.flux")

    monkeypatch.setitem(sys.modules, "diffusers", Broken())
    message = r"diffusers cannot be imported: Failed to import .* pip install 'autolora\[pipeline\]'"
    with pytest.raises(MissingArtifact, match=message):
        models.load_pipeline(base)


@pytest.mark.parametrize("part", ["text_encoder", "transformer", "vae"])
def test_damaged_pipeline_error_names_its_folder(base: ModelsParams, tmp_path: Path, part: str) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(base.pipeline, folder)
    (folder / part / "config.json").write_text("{")
    damaged = replace(base, pipeline=str(folder))
    with pytest.raises(MissingArtifact, match=f"cannot load {folder}"):
        models.load_pipeline(damaged)
    if part == "text_encoder":
        with pytest.raises(MissingArtifact, match=f"cannot load {folder / part}"):
            models.load_text_encoder(damaged)


def test_incomplete_pipeline_error_names_the_missing_part(base: ModelsParams, tmp_path: Path) -> None:
    incomplete = replace(base, pipeline=str(tmp_path))
    with pytest.raises(MissingArtifact, match="'text_encoder', which a FluxPipeline has"):
        models.load_text_encoder(incomplete)
    with pytest.raises(MissingArtifact, match=r"config\.json"):
        models.transformer_config(incomplete)


def test_importing_models_imports_no_library_that_runs_models() -> None:
    code = "import sys, autolora.models; print({'torch', 'transformers', 'diffusers'} & set(sys.modules))"
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "set()"


def test_the_config_of_flux_1_dev_needs_no_account(base: ModelsParams) -> None:
    config = models.transformer_config(replace(base, pipeline="black-forest-labs/FLUX.1-dev"))
    assert len(slots(config)) == 494 and {slot.d_in for slot in slots(config)} >= {3072, 12288, 15360}


def load_judges_classifier(folder: Path, params: ModelsParams) -> object:
    from autolora.metrics.classifier import load_classifier

    return load_classifier(folder, "cpu")


def load_vlm(folder: Path, params: ModelsParams) -> object:
    from autolora.vlm.in_process import InProcessModel

    return InProcessModel(replace(params, vlm=str(folder), vlm_revision=None, device="cpu"), batch=1)


def load_sentences(folder: Path, params: ModelsParams) -> object:
    from autolora.text_encoder.torch_network import TorchNetwork

    return TorchNetwork(folder, "evil")


@pytest.mark.parametrize("load_model", [load_judges_classifier, load_vlm, load_sentences])
def test_code_of_a_model_is_neither_offered_nor_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load_model: Callable[[Path, ModelsParams], object]
) -> None:
    ran, asked = tmp_path / "ran", []
    folder = tmp_path / "model"
    folder.mkdir()
    names = ("Config", "Model", "ModelForImageClassification", "ModelForImageTextToText")
    auto_map = {f"Auto{name}": "evil.Evil" for name in (*names, "Processor", "ImageProcessor")}
    config = json.dumps({"model_type": "evil", "auto_map": auto_map, "processor_class": "Evil"})
    for name in ("config.json", "processor_config.json", "preprocessor_config.json"):
        (folder / name).write_text(config)
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    monkeypatch.setattr("builtins.input", lambda *prompt: asked.append(prompt) or "y")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    with pytest.raises(MissingArtifact):
        load_model(folder, SHIPPED)
    assert not asked and not ran.exists()


def test_pickled_weights_of_a_pipeline_are_not_read(tmp_path: Path, base: ModelsParams) -> None:
    folder = tmp_path / "flux"
    shutil.copytree(base.pipeline, folder)
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(MissingArtifact, match=r"no file named diffusion_pytorch_model\.safetensors"):
        models.load_pipeline(replace(base, pipeline=str(folder)))
