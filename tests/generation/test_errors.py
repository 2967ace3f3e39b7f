"""Errors of a generation: missing or damaged weights and gates, and numbers that are not finite."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.install import fused
from autolora.generation import Generator, generate
from autolora.params import METHODS, METHODS_WITH_STYLE, Method
from autolora.pool.store import weights_path
from autolora.records import Hit
from autolora.slots import slots
from tests.generation.drawing import PARAMS, PROMPT, generate_with
from tests.support.tiny_flux import CONFIG, random_lora, save_peft


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_with_values_that_are_not_finite_is_an_error(
    generator: Generator, hits: list[Hit], method: Method
) -> None:
    path = weights_path(generator.root, "f" * 64)
    lora = random_lora(1)
    name = next(iter(lora))
    lora[name] = replace(lora[name], up=torch.full_like(lora[name].up, torch.nan))
    save_peft(lora, path)
    chosen = [hits[0], replace(hits[1], sha256=path.stem)]
    style = path.stem if method in METHODS_WITH_STYLE else None
    with pytest.raises(MissingArtifact, match=r"is damaged \(.* contains a value that is not finite"):
        generate(generator, PROMPT, chosen, method=method, seed=0, params=PARAMS, style=style)


def test_without_adapters_the_method_gated_needs_no_gates(
    generator: Generator, hits: list[Hit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusion, "folder", lambda root: tmp_path)
    for name in ("gates", "gates_digest"):
        monkeypatch.delitem(generator.__dict__, name, raising=False)
    for chosen in ([], [replace(hit, strength=0.0) for hit in hits]):
        generated = generate(generator, PROMPT, chosen, method="gated", seed=0, params=PARAMS)
        assert generated.provenance["gates"] is None and generated.provenance["gate_means"] is None
    with pytest.raises(MissingArtifact, match="no trained gates"):
        generate(generator, PROMPT, hits, method="gated", seed=0, params=PARAMS)


def test_an_image_of_numbers_that_are_not_finite_is_an_error(generator: Generator) -> None:
    lora = random_lora(1)
    name = next(iter(lora))
    lora[name] = replace(lora[name], up=torch.full_like(lora[name].up, torch.nan))
    with (
        fused(generator.pipeline.transformer, [lora]),
        pytest.raises(MismatchError, match="not finite numbers"),
    ):
        generate_with(generator.pipeline)


def test_missing_gates_error_names_the_command_and_missing_weights_error_the_file(
    generator: Generator, hits: list[Hit], tmp_path: Path
) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro fusion"):
        fusion.load(slots(CONFIG), tmp_path)
    unknown = Hit(**{name: getattr(hits[0], name) for name in hits[0].__slots__} | {"sha256": "0" * 64})
    with pytest.raises(MissingArtifact, match="0000"):
        generate(generator, PROMPT, [unknown], method="direct", seed=0, params=PARAMS)


def test_gates_of_another_base_model_and_damaged_gates_are_refused(
    gates_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(MismatchError, match="another base"):
        fusion.load(slots(CONFIG | {"num_layers": 2}), gates_folder)
    (tmp_path / "config.json").write_bytes((gates_folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((gates_folder / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(MissingArtifact, match="cannot be read"):
        fusion.load(slots(CONFIG), tmp_path)
