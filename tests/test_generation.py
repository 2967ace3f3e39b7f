"""Generation: images equal to those of diffusers, and provenance from which an image can be generated again."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import load_file

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.gate_means import GLOBAL, GateMeans
from autolora.fusion.install import fused
from autolora.generation import (
    Generator,
    add_trigger_words,
    generate,
    generate_images,
    report_cut,
    save_image,
)
from autolora.lora.factors import Factors
from autolora.lora.read import read
from autolora.params import METHODS, GenerationParams, Method, ModelsParams, PoolParams, load
from autolora.params.reader import read_section
from autolora.pool.store import weights_path
from autolora.presets import FUSION
from autolora.provenance import PROVENANCE_CHUNK, describe_provenance, read_provenance
from autolora.records import Hit
from autolora.slots import slots
from autolora.storage.hashes import hash_file
from tests.support.rule_params import RULES
from tests.support.text_lora import kohya, random_parts, save
from tests.support.tiny_flux import CONFIG, TOKENS, random_lora, save_kohya, save_peft, save_pipeline

REPOSITORY = Path(__file__).parents[1]
PARAMS = GenerationParams(
    width=32, height=32, steps=3, guidance=3.5, max_sequence_length=TOKENS, trigger_words=True, method="gated",
    rules=RULES, text_encoders=False, batch=2,
)  # fmt: skip
PROMPT = "a red ball"


@pytest.fixture(scope="module")
def bounds() -> PoolParams:
    return load(REPOSITORY / "params.yaml").pool


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repository")


@pytest.fixture(scope="module")
def generator(root: Path, bounds: PoolParams) -> Generator:
    base = ModelsParams(
        pipeline=str(save_pipeline(root / "flux")), pipeline_revision=None, vlm="", vlm_revision=None,
        device="cpu", dtype="float32", threads=1,
    )  # fmt: skip
    return Generator(root, base, bounds)


@pytest.fixture(scope="module")
def hits(root: Path) -> list[Hit]:
    """Return the hits of two adapters of the pool."""
    hits = []
    for rank, (seed, score, relevance) in enumerate([(1, 0.4, 0.75), (2, 0.2, 0.25)], 1):
        file = save_peft(random_lora(seed), root / f"{seed}.safetensors")
        path = weights_path(root, hash_file(file))
        path.parent.mkdir(parents=True, exist_ok=True)
        file.rename(path)
        hits.append(
            Hit(
                rank=rank, score=score, relevance=relevance, sha256=path.stem, hub="huggingface", id=f"someone/{seed}",
                file=file.name, license="mit", nsfw=False, trigger_words=("zzz",), index="i" * 64,
            )
        )  # fmt: skip
    return hits


@pytest.fixture(scope="module")
def gates_folder(root: Path) -> Path:
    variant = replace(FUSION["best"], init_std=0.5, init_bias=0.0, relevance_weight=4.0, global_rank=2)
    torch.manual_seed(3)
    fusion.save(fusion.build(CONFIG, variant), slots(CONFIG), fusion.folder(root))
    return fusion.folder(root)


def generate_with(pipeline: Any) -> Image.Image:
    return generate_images(pipeline, [PROMPT], [5], PARAMS)[0]


def difference(first: Image.Image, second: Image.Image) -> int:
    """Return the largest difference of two images, in 1/255."""
    return int(np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16)).max())


@pytest.mark.parametrize("layout", ["peft", "kohya"])
def test_one_adapter_with_method_direct_equals_diffusers(
    generator: Generator, bounds: PoolParams, tmp_path: Path, layout: str
) -> None:
    file = tmp_path / "adapter.safetensors"
    save_peft(random_lora(1), file) if layout == "peft" else save_kohya(1, file)
    pipeline = generator.pipeline
    base = generate_with(pipeline)
    with fused(pipeline.transformer, [read(file, generator.slots, bounds).lora]):
        actual = generate_with(pipeline)
    pipeline.load_lora_weights(str(file))
    expected = generate_with(pipeline)
    pipeline.unload_lora_weights()
    assert difference(actual, base) > 10
    assert difference(actual, expected) <= 1
    assert difference(generate_with(pipeline), base) == 0


def test_zero_adapter_and_no_adapter_equal_the_base_model(generator: Generator, gates_folder: Path) -> None:
    base = generate_with(generator.pipeline)
    zero = {
        name: Factors(factors.down, torch.zeros_like(factors.up), 1.0)
        for name, factors in random_lora(1).items()
    }
    for gates in (None, generator.gates):
        with fused(generator.pipeline.transformer, [zero], gates=gates):
            assert difference(generate_with(generator.pipeline), base) == 0
    for method in ("direct", "gated"):
        generated = generate(generator, PROMPT, [], method=method, seed=5, params=PARAMS)
        assert difference(generated.image, base) == 0
        assert generated.provenance["adapters"] == []


@pytest.mark.parametrize("method", ["direct", "gated"])
def test_order_of_adapters_does_not_matter(
    generator: Generator, hits: list[Hit], gates_folder: Path, method: Any
) -> None:
    images = [
        generate(generator, PROMPT, order, method=method, seed=5, params=PARAMS).image
        for order in (hits, hits[::-1])
    ]
    assert difference(*images) <= 1
    assert difference(images[0], generate_with(generator.pipeline)) > 10


@pytest.mark.parametrize(("trigger_words", "text"), [(True, f"{PROMPT}, zzz"), (False, PROMPT)])
def test_image_is_of_the_text_that_the_provenance_states(
    generator: Generator, hits: list[Hit], trigger_words: bool, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []

    def record(pipeline: Any, texts: list[str], *rest: Any) -> list[Image.Image]:
        prompts.extend(texts)
        return generate_images(pipeline, texts, *rest)

    monkeypatch.setattr("autolora.generation.generate_images", record)
    params = replace(PARAMS, trigger_words=trigger_words)
    provenance = generate(generator, PROMPT, hits, method="direct", seed=5, params=params).provenance
    assert prompts == [provenance["text"]] == [text] and provenance["prompt"] == PROMPT
    description = describe_provenance(provenance)
    assert description.get("prompt with trigger words") == (text if trigger_words else None)


def test_only_the_first_trigger_word_of_an_adapter_is_added_if_it_is_missing(hits: list[Hit]) -> None:
    first, second = (
        replace(hit, trigger_words=words) for hit, words in zip(hits, (("Inky", "b"), ("aa",)), strict=True)
    )
    assert add_trigger_words("a cat", [first, second]) == "a cat, Inky, aa"
    assert add_trigger_words("a cat", [second, first]) == "a cat, Inky, aa"
    assert add_trigger_words("an inky cat", [first, first]) == "an inky cat"
    assert add_trigger_words("a cat", []) == "a cat"


def test_image_does_not_depend_on_its_batch(generator: Generator) -> None:
    alone = [
        generate_images(generator.pipeline, [prompt], [seed], PARAMS)[0]
        for prompt, seed in (("a", 1), ("b", 2), ("c", 1))
    ]
    together = generate_images(generator.pipeline, ["a", "b", "c"], [1, 2, 1], PARAMS)
    assert [difference(*pair) <= 1 for pair in zip(alone, together, strict=True)] == [True] * 3
    assert difference(alone[0], alone[2]) > 0


def test_strength_multiplies_an_adapters_update(generator: Generator, hits: list[Hit]) -> None:
    def image(first: float, second: float) -> Image.Image:
        chosen = [replace(hits[0], strength=first), replace(hits[1], strength=second)]
        generated = generate(generator, PROMPT, chosen, method="direct", seed=7, params=PARAMS)
        assert [adapter["strength"] for adapter in generated.provenance["adapters"]] == [first, second]
        return generated.image

    plain = generate(generator, PROMPT, hits, method="direct", seed=7, params=PARAMS).image
    alone = generate(generator, PROMPT, hits[:1], method="direct", seed=7, params=PARAMS).image
    assert difference(image(1.0, 1.0), plain) == 0
    assert difference(image(1.0, 0.0), alone) <= 1
    assert difference(image(0.5, 1.0), plain) > 0


def test_updates_of_the_text_encoders_act_if_they_are_asked_for(
    generator: Generator, hits: list[Hit], tmp_path: Path
) -> None:
    tensors = load_file(weights_path(generator.root, hits[0].sha256)) | kohya(random_parts(1))[0]
    file = save(tmp_path / "x.safetensors", tensors)
    path = weights_path(generator.root, hash_file(file))
    path.parent.mkdir(parents=True, exist_ok=True)
    file.rename(path)
    with_part = replace(hits[0], sha256=path.stem)

    def image(hit: Hit, text_encoders: bool) -> Image.Image:
        params = replace(PARAMS, text_encoders=text_encoders)
        return generate(generator, PROMPT, [hit], method="direct", seed=7, params=params).image

    plain = image(hits[0], False)
    assert difference(image(with_part, False), plain) == 0
    assert difference(image(hits[0], True), plain) == 0
    assert difference(image(with_part, True), plain) > 0
    assert difference(image(hits[0], False), plain) == 0


def test_steps_are_reported_and_an_exception_ends_the_generation(
    generator: Generator, hits: list[Hit]
) -> None:
    steps: list[int] = []
    before = generate(generator, PROMPT, [], method="direct", seed=7, params=PARAMS, on_step=steps.append)
    assert steps == list(range(1, PARAMS.steps + 1))

    def cancel(step: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        generate(generator, PROMPT, hits, method="direct", seed=7, params=PARAMS, on_step=cancel)
    after = generate(generator, PROMPT, [], method="direct", seed=7, params=PARAMS)
    assert difference(before.image, after.image) == 0


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_with_values_that_are_not_finite_is_an_error(
    generator: Generator, hits: list[Hit], method: Method
) -> None:
    path = weights_path(generator.root, "f" * 64)
    lora = random_lora(1)
    name = next(iter(lora))
    lora[name] = replace(lora[name], up=torch.full_like(lora[name].up, torch.nan))
    save_peft(lora, path)
    with pytest.raises(MissingArtifact, match=r"is damaged \(.* contains a value that is not finite"):
        generate(
            generator, PROMPT, [hits[0], replace(hits[1], sha256=path.stem)], method=method, seed=0, params=PARAMS
        )  # fmt: skip


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


def test_image_is_generated_again_from_its_provenance(
    generator: Generator, hits: list[Hit], gates_folder: Path, tmp_path: Path
) -> None:
    generated = generate(generator, PROMPT, hits, method="gated", seed=7, params=PARAMS)
    path = tmp_path / "image.png"
    save_image(generated, path)
    provenance = read_provenance(path)
    assert provenance == generated.provenance
    assert [adapter["sha256"] for adapter in provenance["adapters"]] == [hit.sha256 for hit in hits]
    assert [adapter["relevance"] for adapter in provenance["adapters"]] == pytest.approx([0.75, 0.25])
    assert provenance["adapters"][0]["trigger_words"] == ["zzz"]
    assert provenance["index"] == hits[0].index
    assert provenance["gates"] == generator.gates_digest
    means = GateMeans.from_json(provenance["gate_means"])
    assert means.adapters == (hits[0].sha256, hits[1].sha256, GLOBAL) and means.values.shape == (3, 3, 3)
    assert not np.isnan(means.values).any()
    again = generate(
        generator, provenance["prompt"], hits, method=provenance["method"], seed=provenance["seed"],
        params=read_section(GenerationParams, provenance["generation"]),
    )  # fmt: skip
    with Image.open(path) as saved:
        assert difference(again.image, saved) == 0


def test_the_gates_take_named_adapters_for_relevant(
    generator: Generator, hits: list[Hit], gates_folder: Path
) -> None:
    def image(relevance: float | None) -> Image.Image:
        chosen = [replace(hit, relevance=relevance) for hit in hits]
        generated = generate(generator, PROMPT, chosen, method="gated", seed=7, params=PARAMS)
        assert [adapter["relevance"] for adapter in generated.provenance["adapters"]] == [relevance] * 2
        return generated.image

    assert difference(image(None), image(1.0)) == 0
    assert difference(image(None), image(0.0)) > 0


def test_provenance_without_relevance_is_described(generator: Generator, hits: list[Hit]) -> None:
    """Earlier versions of AutoLoRA wrote none, and named adapters have none."""
    provenance = generate(generator, PROMPT, hits[:1], method="direct", seed=7, params=PARAMS).provenance
    (adapter,) = provenance["adapters"]
    assert "relevance 0.75" in describe_provenance(provenance)["adapters"]
    without = {name: value for name, value in adapter.items() if name != "relevance"}
    for fields in (without, adapter | {"relevance": None}):
        text = describe_provenance(provenance | {"adapters": [fields]})["adapters"]
        assert "someone/1" in text and "relevance" not in text


def test_provenance_is_described_in_words(generator: Generator, hits: list[Hit], tmp_path: Path) -> None:
    generated = generate(generator, PROMPT, hits, method="direct", seed=7, params=PARAMS)
    description = describe_provenance(generated.provenance)
    assert (description["prompt"], description["seed"]) == (PROMPT, "7")
    assert (description["size"], description["index"]) == ("32 x 32 px", hits[0].index)
    first, second = description["adapters"].splitlines()
    assert first == (
        f"huggingface:someone/1/1.safetensors; sha256 {hits[0].sha256[:8]}; license mit; score 0.400; "
        "relevance 0.75; trigger words: zzz"
    )
    assert "someone/2" in second and "gates" not in description
    without_adapters = generate(generator, PROMPT, [], method="direct", seed=7, params=PARAMS)
    assert describe_provenance(without_adapters.provenance)["adapters"] == "none: the base model alone"
    with pytest.raises(MissingArtifact, match="'generation'"):
        describe_provenance({"prompt": PROMPT})


def test_show_prints_how_an_image_was_made_outside_a_repository(
    generator: Generator, hits: list[Hit], tmp_path: Path
) -> None:
    generated = generate(generator, PROMPT, hits, method="direct", seed=7, params=PARAMS)
    save_image(generated, tmp_path / "image.png")
    command = [sys.executable, "-m", "autolora", "show", "image.png"]
    table = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert PROMPT in table and "huggingface:someone/1/1.safetensors" in table
    as_json = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, check=True).stdout
    assert json.loads(as_json) == generated.provenance
    command[-1] = "missing.png"
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("MissingArtifact: cannot read missing.png as an image")


def test_provenance_of_method_direct_has_no_gates(generator: Generator, hits: list[Hit]) -> None:
    generated = generate(generator, PROMPT, hits[:1], method="direct", seed=0, params=PARAMS)
    assert generated.provenance["gates"] is None


def test_error_names_a_file_without_valid_provenance(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("not an image")
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(PROVENANCE_CHUNK, "{")
    Image.new("RGB", (4, 4)).save(tmp_path / "damaged.png", pnginfo=chunks)
    for name in ("plain.png", "text.png", "damaged.png", "missing.png"):
        with pytest.raises(MissingArtifact, match=name):
            read_provenance(tmp_path / name)


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


def test_what_text_encoders_do_not_read_of_a_prompt_is_named(
    generator: Generator, caplog: pytest.LogCaptureFixture
) -> None:
    report_cut(generator.pipeline, PROMPT, PARAMS)
    assert not caplog.records
    report_cut(generator.pipeline, "cat " * 500 + "zebra", PARAMS)
    messages = [record.getMessage() for record in caplog.records]
    assert [re.findall(r"tokens that (\w+) reads", message) for message in messages] == [["CLIP"], ["T5"]]
    assert all(message.endswith("zebra'") for message in messages)
