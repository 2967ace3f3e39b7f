"""`python -m studies.released encoder`: released files become data/encoder, and other files are errors."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from autolora.encoder.config import EncoderConfig
from autolora.encoder.store import folder, load_encoder
from autolora.encoder.transformer import TransformerEncoder
from autolora.errors import MismatchError, MissingArtifact
from autolora.storage.incremental import read_digest
from studies.released.__main__ import main
from studies.released.encoder import layout
from studies.released.presets import ENCODER
from tests.support.tiny_flux import CONFIG, save_pipeline

REPOSITORY = Path(__file__).parents[3]
OVERRIDES = {"heads": 4, "mlp_ratio": 2}
WIDTH = 16
"""of the tiny pipeline's text encoder"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the tiny pipeline."""
    root = tmp_path_factory.mktemp("repository")
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["models"] |= {"pipeline": str(save_pipeline(root / "flux")), "threads": 1}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copy(REPOSITORY / "dvc.yaml", root)
    return root


def published(path: Path, width: int = WIDTH, **transformer: int) -> TransformerEncoder:
    """Write a random encoder in bfloat16 in the published layout, and return it."""
    names = ("num_layers", "num_single_layers", "num_attention_heads", "attention_head_dim")
    config = EncoderConfig(
        transformer={name: CONFIG[name] for name in names} | transformer,
        variant=replace(ENCODER, **OVERRIDES),
        width=width,
        sketch_size=None,
        sketch_key=None,
        text_encoder="",
    )
    torch.manual_seed(0)
    encoder = TransformerEncoder(config).to(torch.bfloat16)
    save_file(layout(encoder), path)
    return encoder


@pytest.fixture(autouse=True)
def here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)


def test_converts_to_data_encoder_with_a_digest(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = published(root / "encoder.safetensors")
    main(["encoder", "encoder.safetensors", "--heads", "4"])
    assert "dvc commit --force encoder" in capsys.readouterr().out
    loaded = load_encoder(folder(root))
    assert loaded.config.variant == replace(ENCODER, **OVERRIDES)
    for name, tensor in loaded.state_dict().items():
        assert torch.allclose(
            tensor.float(), encoder.state_dict()[name].float(), rtol=0, atol=0, equal_nan=True
        )
    assert read_digest(root, "encoder")["adapters"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_single_layers": 1}, "set models.pipeline in params.yaml to the base model"),
        ({"attention_head_dim": 8}, "set models.pipeline in params.yaml to the base model"),
        ({"width": 32}, "set models.pipeline in params.yaml to the pipeline"),
    ],
)
def test_encoder_for_other_models_is_an_error(root: Path, change: dict[str, int], message: str) -> None:
    published(root / "other.safetensors", **change)
    with pytest.raises(MismatchError, match=message):
        main(["encoder", "other.safetensors", "--heads", "4"])


def test_other_and_missing_files_are_errors(root: Path) -> None:
    save_file({"lora_A.weight": torch.zeros(2, 2)}, root / "lora.safetensors")
    for name, error, message in (
        ("lora", MismatchError, "lora.safetensors: not a released encoder: tensor"),
        ("missing", MissingArtifact, "cannot read an encoder from"),
    ):
        with pytest.raises(error, match=message):
            main(["encoder", f"{name}.safetensors", "--heads", "4"])
