"""Errors of a generation: missing or damaged weights and gates, and numbers that are not finite."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.install import fused
from autolora.generation.images import Generator, add_trigger_words, generate
from autolora.lora.slots import slots
from autolora.params import METHODS, Method, load
from autolora.pool.store import weights_path
from autolora.records import Hit
from autolora.storage.hashes import hash_file
from tests.generation.conftest import REPOSITORY
from tests.generation.drawing import PARAMS, PROMPT, generate_with
from tests.support.tiny_flux import CONFIG, random_lora, save_peft


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_with_values_that_are_not_finite_is_an_error(
    generator: Generator, hits: list[Hit], method: Method
) -> None:
    lora = random_lora(1)
    name = next(iter(lora))
    lora[name] = replace(lora[name], up=torch.full_like(lora[name].up, torch.nan))
    file = save_peft(lora, weights_path(generator.root, "f" * 64))
    path = file.rename(weights_path(generator.root, hash_file(file)))
    chosen = [hits[0], replace(hits[1], sha256=path.stem)]
    with pytest.raises(MismatchError, match=r"is intact, but .* contains a value that is not finite"):
        generate(generator, PROMPT, chosen, method=method, seed=0, params=PARAMS)


def test_an_adapter_with_other_finite_values_is_an_error(generator: Generator, hits: list[Hit]) -> None:
    path = weights_path(generator.root, hits[0].sha256)
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-8] + bytes(8))
        changed = hash_file(path)
        with pytest.raises(MissingArtifact, match=f"its sha256 is {changed}, expected {path.stem}.*verify"):
            generate(generator, PROMPT, hits, method="direct", seed=0, params=PARAMS)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt": "a \ud800"}, "the prompt is not valid UTF-8"),
        ({"seed": -1}, "the seed is -1: give a whole number from 0"),
        ({"method": "sum"}, "no method of fusion 'sum'"),
    ],
)
def test_what_the_command_refuses_python_refuses(
    generator: Generator, hits: list[Hit], changes: dict[str, Any], message: str
) -> None:
    arguments: dict[str, Any] = {"prompt": PROMPT, "method": "direct", "seed": 0} | changes
    with pytest.raises(ValueError, match=message):
        generate(generator, hits=hits, params=PARAMS, **arguments)


def test_adapters_are_hits_and_each_is_given_once(generator: Generator, hits: list[Hit]) -> None:
    with pytest.raises(MismatchError, match="adapter huggingface:someone/1 is given twice: give it once"):
        generate(generator, PROMPT, [*hits, hits[0]], method="direct", seed=0, params=PARAMS)
    names: Any = [hit.id for hit in hits]
    with pytest.raises(TypeError, match="expected a list of hits, but it contains str"):
        generate(generator, PROMPT, names, method="direct", seed=0, params=PARAMS)


def test_an_argument_of_another_type_is_an_error_that_says_what_to_give(
    generator: Generator, hits: list[Hit], tmp_path: Path
) -> None:
    folder: Any = tmp_path
    with pytest.raises(TypeError, match="the generator is of type PosixPath: give a Generator"):
        generate(folder, PROMPT, hits, method="direct", seed=0, params=PARAMS)
    params: Any = load(REPOSITORY / "params.yaml")
    with pytest.raises(TypeError, match=r"params is of type Params: give `params\.generation`"):
        generate(generator, PROMPT, hits, method="direct", seed=0, params=params)
    hit: Any = hits[0]
    with pytest.raises(TypeError, match=r"not one hit: give `\[hit\]`"):
        add_trigger_words(PROMPT, hit)


def test_what_is_wrong_is_said_before_the_base_model_is_loaded(
    generator: Generator, hits: list[Hit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fusion").mkdir()
    (tmp_path / "fusion/config.json").write_text("{")
    monkeypatch.setattr(fusion, "folder", lambda root: tmp_path / "fusion")
    monkeypatch.setattr("autolora.models.load_pipeline", pytest.fail)
    unloaded = Generator(generator.root, generator.base, generator.bounds)
    strong = replace(hits[0], strength=50.0)
    cases: list[tuple[Method, list[Hit], type[Exception], str]] = [
        ("direct", [strong], MismatchError, "strength of adapter 'someone/1' is 50"),
        ("direct", [replace(hits[0], sha256="0" * 64)], MissingArtifact, "weights"),
        ("gated", hits, MissingArtifact, "gates"),
    ]
    for method, chosen, error, message in cases:
        with pytest.raises(error, match=message):
            generate(unloaded, PROMPT, chosen, method=method, seed=0, params=PARAMS)


def test_without_adapters_the_method_gated_needs_no_gates(
    generator: Generator, hits: list[Hit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusion, "folder", lambda root: tmp_path)
    monkeypatch.delitem(generator.__dict__, "_gates", raising=False)
    for chosen in ([], [replace(hit, strength=0.0) for hit in hits]):
        generated = generate(generator, PROMPT, chosen, method="gated", seed=0, params=PARAMS)
        assert generated.provenance["gates"] is None
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
