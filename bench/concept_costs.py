"""What the gradient sketch of an image costs: measured on a base, and counted for FLUX.1-dev without its weights."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from autolora.concepts.denoising import DenoisingGradients
from autolora.lora.sketch import SketchSpec
from autolora.lora.slots import slots
from autolora.params import Params
from bench.timing import cpu_timed

FLUX_DEV: Mapping[str, Any] = {"guidance_embeds": True}
"""FLUX.1-dev's config, where it differs from the defaults of diffusers"""
TEXT_TOKENS = 512
PIXELS_PER_TOKEN = 16
"""side of the square of pixels that one image token stands for"""
GPU_FLOPS = 4e14
"""multiplications and additions per second: 40 % of the 989e12 that NVIDIA states for one H100 in bfloat16"""


def count_image(image_side: int, size: int, config: Mapping[str, Any] = FLUX_DEV) -> dict[str, float]:
    """Return the operations for one image and draw: `pass` of forward and backward, `sketch` of both products.

    image_side: px. size: m = p of a sketch. config: of a FluxTransformer2DModel, which is built without weights.
    """
    with torch.device("meta"):
        model = FluxTransformer2DModel(**config).requires_grad_(False)
        tokens = (image_side // PIXELS_PER_TOKEN) ** 2
        run = make_pass(model, tokens, TEXT_TOKENS)
    with FlopCounterMode(display=False) as counter:
        run()
    lengths = {"single": tokens + TEXT_TOKENS, "image": tokens, "text": TEXT_TOKENS, "modulation": 1}
    products = sum(
        2 * size * lengths[stream_of(slot.type)] * (slot.d_in + slot.d_out + size)
        for slot in slots(dict(model.config))
    )
    return {"pass": float(counter.get_total_flops()), "sketch": float(products)}


def make_pass(model: Any, image_tokens: int, text_tokens: int, batch: int = 1) -> Callable[[], None]:
    """Return a forward and a backward pass of images through a frozen transformer, to its inputs."""
    config = model.config
    inputs = {
        "hidden_states": torch.zeros(batch, image_tokens, config.in_channels),
        "encoder_hidden_states": torch.zeros(batch, text_tokens, config.joint_attention_dim),
        "pooled_projections": torch.zeros(batch, config.pooled_projection_dim),
    }
    inputs = {name: values.requires_grad_() for name, values in inputs.items()}
    fixed = {
        "timestep": torch.zeros(batch),
        "guidance": torch.zeros(batch) if config.guidance_embeds else None,
        "img_ids": torch.zeros(image_tokens, 3),
        "txt_ids": torch.zeros(text_tokens, 3),
        "return_dict": False,
    }
    return lambda: model(**inputs, **fixed)[0].sum().backward()


def stream_of(slot_type: str) -> str:
    """Return which tokens pass a kind of slot: `image`, `text`, both (`single`), or none (`modulation`)."""
    if slot_type.endswith("norm.linear") or ".norm1" in slot_type:
        return "modulation"
    if slot_type.startswith("single"):
        return "single"
    return "text" if "context" in slot_type or "add_" in slot_type else "image"


def time_images(pipeline: Any, params: Params, count: int = 64) -> dict[str, float]:
    """Return the CPU seconds per image and draw: of gradient sketches, and of the forward and backward pass alone."""
    section = replace(params.concepts, noise_levels=params.concepts.noise_levels[:1], draws=1)
    spec, tokens = SketchSpec(params.pool.sketch_size), params.generation.max_sequence_length
    gradients = DenoisingGradients(pipeline, section, spec, tokens)
    side, batch = section.image_size, section.batch
    images = [Image.new("RGB", (side, side), (number % 256, 0, 0)) for number in range(batch)]
    names, prompts = [str(number) for number in range(batch)], [""] * batch
    rounds = max(1, count // batch)
    gradients.compute(images, names, prompts)  # warm-up
    sketched, _ = cpu_timed(lambda: [gradients.compute(images, names, prompts) for _ in range(rounds)])
    latents = (side // PIXELS_PER_TOKEN) ** 2
    run = make_pass(pipeline.transformer, latents, tokens, batch)
    run()
    passed, _ = cpu_timed(lambda: [run() for _ in range(rounds)])
    return {"sketch": sketched / (rounds * batch), "pass": passed / (rounds * batch)}
