"""`models.memory`: a base model that is offloaded draws the same image; a quantized one nearly the same.

Offloading runs with the hooks of accelerate and the processor as the device. The quantized pipelines need the extra
`quantized` (`make quantized`); of diffusers, only what insists on a GPU is replaced.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolora import models
from autolora.errors import MissingArtifact, ParamsError
from autolora.generation.images import Generator, generate
from autolora.params import METHODS
from autolora.records import Hit
from tests.generation.drawing import PARAMS, PROMPT, difference


def with_memory(generator: Generator, memory: Any, device: str = "cpu") -> Generator:
    base = replace(generator.base, memory=memory)
    other = Generator(generator.root, base, generator.bounds)
    other.base = replace(base, device=device)
    return other


@pytest.mark.parametrize("memory", ["offload", "sequential"])
def test_an_offloaded_base_model_draws_the_same_image(
    generator: Generator, hits: list[Hit], gates_folder: Path, memory: str
) -> None:
    offloaded = with_memory(generator, memory)
    linear = offloaded.pipeline.transformer.transformer_blocks[0].attn.to_q
    assert linear.weight.is_meta == (memory == "sequential")
    images = []
    for method, acting in [("direct", []), *((method, hits) for method in METHODS)]:
        expected, drawn = (
            generate(one, PROMPT, acting, method=method, seed=5, params=PARAMS)
            for one in (generator, offloaded)
        )
        assert difference(drawn.image, expected.image) == 0
        assert drawn.provenance == expected.provenance, "nothing that changes the pixels differs"
        images.append(expected.image)
    assert all(difference(images[0], image) > 1 for image in images[1:])
    assert not any(module._forward_hooks for module in offloaded.pipeline.transformer.modules())


@pytest.mark.parametrize(("memory", "tolerated"), [("8bit", 0.5), ("4bit", 1.0)])
def test_a_quantized_base_model_is_fused_with_adapters(
    generator: Generator, hits: list[Hit], monkeypatch: pytest.MonkeyPatch, memory: Any, tolerated: float
) -> None:
    pytest.importorskip("bitsandbytes.nn.modules")
    from diffusers import FluxPipeline
    from diffusers.quantizers.bitsandbytes import bnb_quantizer

    for quantizer in (bnb_quantizer.BnB4BitDiffusersQuantizer, bnb_quantizer.BnB8BitDiffusersQuantizer):
        monkeypatch.setattr(quantizer, "validate_environment", lambda self, *args, **options: None)
        monkeypatch.setattr(quantizer, "update_device_map", lambda self, device_map: {"": "cpu"})
    # its kernel for such processors takes no width as small as here
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
    to = FluxPipeline.to
    monkeypatch.setattr(FluxPipeline, "to", lambda self, device: to(self, "cpu"))
    quantized = with_memory(generator, memory, "cuda")
    linears = [
        quantized.pipeline.transformer.transformer_blocks[0].attn.to_q,
        quantized.pipeline.text_encoder_2.encoder.block[0].layer[0].SelfAttention.q,
    ]
    assert {type(linear).__module__ for linear in linears} == {"bitsandbytes.nn.modules"}
    plain = generate(quantized, PROMPT, [], method="direct", seed=5, params=PARAMS)
    expected, drawn = (
        generate(one, PROMPT, hits, method="direct", seed=5, params=PARAMS) for one in (generator, quantized)
    )
    lost = np.abs(np.asarray(drawn.image, float) - np.asarray(expected.image, float)).mean()
    effect = np.abs(np.asarray(drawn.image, float) - np.asarray(plain.image, float)).mean()
    assert lost < tolerated * effect
    assert drawn.provenance["base"]["quantization"] == memory


def test_bits_need_a_gpu_and_a_library(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParamsError, match="is 8bit but models"):
        with_memory(generator, "8bit").pipeline  # noqa: B018
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(MissingArtifact, match="4bit, which needs bitsandbytes: pip install bitsandbytes"):
        with_memory(generator, "4bit", "cuda").pipeline  # noqa: B018
