"""`autolora import encoder`: published files become data/encoder, and other files are errors."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

from autolora.cli import app
from autolora.encoder.config import EncoderConfig
from autolora.encoder.released_format import layout
from autolora.encoder.store import folder, load_encoder
from autolora.encoder.transformer import TransformerEncoder
from autolora.presets.encoder import ENCODER
from autolora.storage.incremental import read_digest
from tests.support.tiny_flux import CONFIG, save_pipeline

REPOSITORY = Path(__file__).parents[2]
OVERRIDES = {"heads": 4, "mlp_ratio": 2}
WIDTH = 16
"""of the tiny pipeline's text encoder"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the tiny pipeline and the preset `released`."""
    root = tmp_path_factory.mktemp("repository")
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["models"] |= {"pipeline": str(save_pipeline(root / "flux")), "threads": 1}
    params["encoder"] |= {"preset": "released", "overrides": OVERRIDES}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copy(REPOSITORY / "dvc.yaml", root)
    return root


def published(path: Path, width: int = WIDTH, **transformer: int) -> TransformerEncoder:
    """Write a random encoder in bfloat16 in the published layout, and return it."""
    names = ("num_layers", "num_single_layers", "num_attention_heads", "attention_head_dim")
    config = EncoderConfig(
        transformer={name: CONFIG[name] for name in names} | transformer,
        variant=replace(ENCODER["released"], **OVERRIDES),
        width=width,
        sketch_size=None,
        sketch_key=None,
        text_encoder="",
    )
    torch.manual_seed(0)
    encoder = TransformerEncoder(config).to(torch.bfloat16)
    save_file(layout(encoder), path)
    return encoder


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """Return exit code and output of `autolora import encoder`, run inside the repository."""
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, ["import", "encoder", *arguments])
    return result.exit_code, re.sub(r"(?m)^reading \S+\n", "", result.output)  # the line before slow imports


def test_imports_into_data_encoder_with_a_digest(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = published(root / "encoder.safetensors")
    code, output = run(root, monkeypatch, "encoder.safetensors")
    assert code == 0, output
    assert "dvc commit --force encoder" in output
    loaded = load_encoder(folder(root))
    assert loaded.config.variant == replace(ENCODER["released"], **OVERRIDES)
    for name, tensor in loaded.state_dict().items():
        assert torch.allclose(
            tensor.float(), encoder.state_dict()[name].float(), rtol=0, atol=0, equal_nan=True
        )
    assert read_digest(root, "encoder")["adapters"] == 0


def test_output_writes_no_digest(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(root / "encoder.safetensors")
    (root / "digests" / "encoder.json").unlink(missing_ok=True)
    code, output = run(root, monkeypatch, "encoder.safetensors", "--output", str(tmp_path / "encoder"))
    assert (code, output.strip()) == (0, f"wrote {tmp_path / 'encoder'}")
    assert load_encoder(tmp_path / "encoder").config.width == WIDTH
    assert not (root / "digests" / "encoder.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_single_layers": 1}, "set models.pipeline in params.yaml to the base model"),
        ({"attention_head_dim": 8}, "set models.pipeline in params.yaml to the base model"),
        ({"width": 32}, "set models.pipeline in params.yaml to the pipeline"),
    ],
)
def test_encoder_for_other_models_is_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, int], message: str
) -> None:
    published(root / "other.safetensors", **change)
    code, output = run(root, monkeypatch, "other.safetensors")
    assert code == 1
    assert output.startswith("MismatchError: ") and message in output


def test_other_and_missing_files_are_errors(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"lora_A.weight": torch.zeros(2, 2)}, root / "lora.safetensors")
    code, output = run(root, monkeypatch, "lora.safetensors")
    assert code == 1 and "lora.safetensors: not a published encoder: tensor" in output
    code, output = run(root, monkeypatch, "missing.safetensors")
    assert code == 1 and "MissingArtifact: cannot read an encoder from" in output
