"""What each block of the transformer contributes to an adapter's score, which is their sum with a ridge encoder."""

import torch
from torch import Tensor

from autolora.encoder.inputs import AdapterBatch
from autolora.encoder.ridge import RidgeEncoder, slot_units


def block_contributions(encoder: RidgeEncoder, batch: AdapterBatch, query: Tensor) -> dict[str, float]:
    """Return block, e.g. `transformer_blocks.3` -> its part of the cosine of the weights' vector and a query (d,).

    batch: the sketches of one adapter. The encoder's vector is linear in (x - mean), with x the slots' sketches, up to
    its length; so the inner product with the query is a sum over slots, which is divided by that length.
    """
    with torch.inference_mode():
        deviation = slot_units(batch.values)[0] - encoder.mean
        length = (deviation @ encoder.weights).norm().clamp_min(torch.finfo(torch.float32).tiny)
        names = [slot.name for slot in encoder.config.slots]
        by_slot = (deviation * (encoder.weights @ query) / length).view(len(names), -1).sum(1)
    contributions: dict[str, float] = {}
    for name, part in zip(names, by_slot.tolist(), strict=True):
        block = ".".join(name.split(".")[:2])
        contributions[block] = contributions.get(block, 0.0) + part
    return contributions
