"""The vectors of the weights of adapters."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from autolora.encoder.inputs import AdapterBatch, concatenate
from autolora.encoder.model import Encoder, predict
from autolora.encoder.ridge import RidgeEncoder
from autolora.storage.arrays import Float32Array

ADAPTERS_PER_PRODUCT = 32


def embed(encoder: Encoder, adapters: Iterator[AdapterBatch], device: torch.device) -> Float32Array:
    """Return the vectors (B, d) of the weights of adapters.

    The regression reads all its weights once per product, and so embeds adapters together, a fixed number at a time:
    the last bits of a row depend on the shape of a product, and not on the other rows. The transformer embeds sketches
    together on a GPU, and otherwise each adapter alone: on the CPU, because the last bits would depend on the batch,
    and weights, because they are large.
    """
    if isinstance(encoder, RidgeEncoder):
        return _predict(encoder, list(adapters), device)
    is_batched = device.type == "cuda" and encoder.config.variant.probe == "sketch"
    batches = [concatenate(list(adapters))] if is_batched else adapters
    vectors: list[Tensor] = []
    with torch.inference_mode():
        for batch in batches:
            moved = batch.to(device)
            vectors.append(predict(encoder, moved.values, moved.present).cpu())
    result: Float32Array = torch.cat(vectors).numpy()
    return result


def _predict(encoder: RidgeEncoder, adapters: Sequence[AdapterBatch], device: torch.device) -> Float32Array:
    """Return the vectors (B, d) of sketches, ADAPTERS_PER_PRODUCT at a time; the last product is filled up."""
    filled = [*adapters, *[adapters[0]] * (-len(adapters) % ADAPTERS_PER_PRODUCT)]
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(filled), ADAPTERS_PER_PRODUCT):
            batch = concatenate(filled[start : start + ADAPTERS_PER_PRODUCT]).to(device)
            vectors.append(predict(encoder, batch.values, batch.present).cpu())
    result: Float32Array = torch.cat(vectors)[: len(adapters)].numpy()
    return result
