"""`autolora export`: files and adapters of an index, the header, and images of unmodified diffusers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from autolora.cli import app
from autolora.fusion.install import fused
from autolora.lora.read import read
from autolora.lora.slots import slots
from autolora.storage.hashes import hash_file
from tests.inspection.files import rewrite, write_pipeline
from tests.lora.writing import BOUNDS, draw_lora, kohya, peft, write
from tests.support import tiny_flux

HEADER = {
    "modelspec.title": "Ink",
    "modelspec.license": "mit",
    "modelspec.trigger_phrase": "inkwsh",
    "modelspec.description": "made in /home/ann/ink",
    "ss_dataset_dirs": "/home/ann",
    "lora_adapter_metadata": json.dumps({"lora_alpha": 8, "r": 4}),
}


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["export", *arguments], env={"COLUMNS": "300"})
    return result.exit_code, result.output


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a LoRA file in the working directory, beside the pipeline that it is for."""
    monkeypatch.chdir(tmp_path)
    write_pipeline(tmp_path / "flux")
    return write(tmp_path / "source.safetensors", peft(draw_lora(1)))


@pytest.mark.parametrize("layout", ["diffusers", "kohya", "bfl"])
def test_file_is_exported(source: Path, layout: str) -> None:
    code, out = run(
        "source.safetensors", "-o", "new/out.safetensors", "--layout", layout, "--pipeline", "flux"
    )
    assert code == 0 and "new/out.safetensors" in out and "tensors in float32" in out
    assert {"peft": "diffusers", "kohya": "kohya", "bfl-peft": "bfl"}[
        _layout(Path("new/out.safetensors"))
    ] == layout


def test_header_states_the_origin_and_nothing_private(source: Path) -> None:
    rewrite(source, HEADER)
    run("source.safetensors", "-o", "out.safetensors", "--pipeline", "flux")
    metadata = _metadata(Path("out.safetensors"))
    assert metadata["autolora.source_sha256"] == hash_file(source)
    assert metadata["autolora.source_layout"] == "peft"
    known = {key: value for key, value in metadata.items() if key.startswith("modelspec.")}
    assert known == {key: HEADER[key] for key in list(HEADER)[:3]}
    assert "ann" not in repr(metadata) and "lora_adapter_metadata" not in metadata


def test_existing_file_is_replaced_only_by_force(source: Path) -> None:
    Path("out.safetensors").write_text("mine")
    code, out = run("source.safetensors", "-o", "out.safetensors", "--pipeline", "flux")
    assert code == 2 and "exists: give another file, or --force" in out
    assert Path("out.safetensors").read_text() == "mine"
    assert run("source.safetensors", "-o", "out.safetensors", "--pipeline", "flux", "--force")[0] == 0
    assert _layout(Path("out.safetensors")) == "peft"


def test_file_can_replace_itself(source: Path) -> None:
    before = hash_file(source)
    run(
        "source.safetensors", "-o", "source.safetensors", "--layout", "kohya", "--pipeline", "flux", "--force"
    )
    assert _layout(source) == "kohya" and _metadata(source)["autolora.source_sha256"] == before


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["none.safetensors", "-o", "out.safetensors"], "there is no file none.safetensors", 1),
        (["source.safetensors", "-o", "out.bin"], "must be a file that ends in .safetensors", 2),
        (["source.safetensors", "-o", "out.safetensors"], "wrong-base|different base model", 1),
        (["source.safetensors", "-o", "out.safetensors", "--dtype", "int8", "--pipeline", "flux"], "int8", 2),
    ],
)
def test_failure_leaves_no_file(source: Path, arguments: list[str], message: str, code: int) -> None:
    exit_code, out = run(*arguments)
    assert exit_code == code and any(part in out for part in message.split("|"))
    assert sorted(path.name for path in Path().iterdir()) == ["flux", "source.safetensors"]


def test_parts_that_are_not_exported_are_named(source: Path) -> None:
    text = {
        f"lora_te1_text_model_encoder_layers_0_mlp_fc1.{n}": torch.ones(2, 2)
        for n in ("lora_down.weight", "alpha")
    }
    write(source, kohya(draw_lora(1)) | text)
    assert (
        "left out: text-encoder"
        in run("source.safetensors", "-o", "out.safetensors", "--pipeline", "flux")[1]
    )


@pytest.mark.parametrize("source_layout", ["peft", "kohya"])
def test_unmodified_diffusers_draws_the_image_of_direct_fusion(tmp_path: Path, source_layout: str) -> None:
    pipeline = tiny_flux.build_pipeline()
    folder = tiny_flux.save_pipeline(tmp_path / "flux")
    source = tmp_path / "source.safetensors"
    if source_layout == "peft":
        tiny_flux.save_peft(tiny_flux.random_lora(1), source)
    else:
        tiny_flux.save_kohya(1, source)
    out = tmp_path / "out.safetensors"
    code, output = run(str(source), "-o", str(out), "--pipeline", str(folder))
    assert code == 0, output
    base = _draw(pipeline)
    with fused(pipeline.transformer, [read(source, slots(tiny_flux.CONFIG), BOUNDS).lora]):
        expected = _draw(pipeline)
    pipeline.load_lora_weights(out)
    drawn = _draw(pipeline)
    assert np.abs(drawn - expected).max() <= 1 / 255
    assert np.abs(base - expected).max() > 2 / 255


def _draw(pipeline: object) -> np.ndarray:
    image = pipeline(  # type: ignore[operator]  # a FluxPipeline
        "abc", height=32, width=32, num_inference_steps=2, max_sequence_length=tiny_flux.TOKENS,
        generator=torch.Generator().manual_seed(0), output_type="np",
    )  # fmt: skip
    return np.asarray(image.images[0])


def _layout(path: Path) -> str:
    return read(path, slots(json.loads(Path("flux/transformer/config.json").read_text())), BOUNDS).layout


def _metadata(path: Path) -> dict[str, str]:
    assert load_file(path)
    with safe_open(path, "pt") as file:
        metadata: dict[str, str] = file.metadata()
    return metadata
