"""The memory of the card that drawing an image needs, for each value of `models.memory`."""

from dataclasses import replace

from torch import nn

from autolora import models
from autolora.gpu_memory import Needs
from autolora.params import GenerationParams
from autolora.params.models import MEMORY, Memory
from autolora.planning import passes
from autolora.planning.meta_models import PARTS, MetaPipeline, weight_bytes

BYTES_PER_WEIGHT = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
"""of the linears of quantized parts; with 4 bits, a scale in float32 for each block of 64"""
KEPT_LINEAR = "wo"
"""linears of T5 that transformers never quantizes"""
CONTEXT_BYTES = 0.8e9
"""of the card for CUDA's context and the gaps between tensors; assumed"""
FEW_ADAPTERS = 3


def resident_bytes(pipeline: MetaPipeline, memory: Memory | None) -> float:
    """Return the bytes of weights that stay on the card between images."""
    if memory in ("offload", "sequential"):
        return 0.0
    return sum(_part_bytes(pipeline, part, memory) for part in PARTS)


def drawing_bytes(
    pipeline: MetaPipeline, memory: Memory | None, texts: float, step: float, decode: float
) -> float:
    """Return the most bytes of the card while an image is drawn, without adapters.

    texts, step, decode: bytes that encoding a prompt, a denoising step and decoding need beside weights.
    """
    phases = {"text_encoder_2": texts, "transformer": step, "vae": decode}
    resident = resident_bytes(pipeline, memory)
    return max(
        resident + _loaded_bytes(getattr(pipeline, part), memory) + beside for part, beside in phases.items()
    )


def drawing_needs(pipeline: MetaPipeline, params: GenerationParams, rank: int, adapter: float) -> Needs:
    """Return the memory of the card for one image with three adapters, of a rank and of so many bytes each.

    It is empty if the pipeline has not all parts, such as that of a published encoder.
    """
    if not set(PARTS) <= pipeline.configs.keys():
        return {}
    one = replace(params, batch=1)
    texts = passes.encode_texts(pipeline, 1, one.max_sequence_length).peak
    step = passes.denoising_step(pipeline, one, FEW_ADAPTERS, rank, None).peak
    decode = passes.decode_images(pipeline, one).peak
    beside = CONTEXT_BYTES + FEW_ADAPTERS * adapter
    return {memory: beside + drawing_bytes(pipeline, memory, texts, step, decode) for memory in MEMORY}


def _part_bytes(pipeline: MetaPipeline, part: str, memory: Memory | None) -> float:
    """Return the bytes of a part's weights as `models.load_pipeline` loads them."""
    module = getattr(pipeline, part)
    size = float(weight_bytes(module))
    if memory not in BYTES_PER_WEIGHT or part not in models.QUANTIZED_PARTS:
        return size
    quantized = [
        linear.weight
        for name, linear in module.named_modules()
        if isinstance(linear, nn.Linear) and not name.endswith(KEPT_LINEAR)
    ]
    return size - sum(weight.nbytes - weight.numel() * BYTES_PER_WEIGHT[memory] for weight in quantized)


def _loaded_bytes(module: nn.Module, memory: Memory | None) -> float:
    """Return the bytes of weights that are copied to the card when a part runs, at the same time."""
    if memory == "sequential":
        return max(
            sum(weight.nbytes for weight in layer.parameters(recurse=False)) for layer in module.modules()
        )
    return float(weight_bytes(module)) if memory == "offload" else 0.0
