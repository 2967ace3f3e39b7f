"""Generated images equal those of diffusers; what they depend on, and what they do not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from autolora.fusion.install import fused
from autolora.generation.images import Generator, generate, generate_images
from autolora.lora.factors import Factors
from autolora.lora.read import read
from autolora.params import PoolParams
from autolora.records import Hit
from tests.generation.drawing import PARAMS, PROMPT, difference, generate_with
from tests.support.tiny_flux import random_lora, save_kohya, save_peft


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


def test_a_named_adapter_leaves_the_relevance_of_others_as_it_is(
    generator: Generator, hits: list[Hit], gates_folder: Path
) -> None:
    def image(*relevance: float | None) -> Image.Image:
        chosen = [replace(hit, relevance=value) for hit, value in zip(hits, relevance, strict=True)]
        return generate(generator, PROMPT, chosen, method="gated", seed=7, params=PARAMS).image

    assert difference(image(0.05, None), image(0.05, 1.0)) == 0
    assert difference(image(0.05, None), image(None, None)) > 0
