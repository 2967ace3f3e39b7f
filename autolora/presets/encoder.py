"""The presets of the encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from autolora.presets import SlotView
from autolora.storage.bounds import Count, Positive

Model = Literal["transformer", "ridge"]
Probe = Literal["sketch", "full"]
ProjectionsPer = Literal["type", "slot"]
AlphaPer = Literal["layer", "file"]
MissingSlots = Literal["mask", "zero"]
TextMapping = Literal["none", "center", "whiten"]
BatchSampling = Literal["adapters", "captions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderVariant:
    """Architecture, loss and training of the encoder (Eq. 1-3). The fields from `alpha` to `weight_decay` apply to the
    transformer only, those after them to the ridge regression only."""

    model: Model
    """the transformer of Eq. 1-2, or a ridge regression in closed form on the slots' sketches of unit norm"""
    text_map: TextMapping
    """text features as they are, centered at the mean of the training captions, or whitened by the covariance of the
    captions within training adapters too"""
    text_shrinkage: Positive
    """share of the covariance's mean eigenvalue that is added to its diagonal before whitening"""
    probe: Probe
    """what an adapter is encoded from: its sketch, or its full weights"""
    slots: SlotView
    """the transformer's own linears, or the authors' fused ones"""
    alpha: AlphaPer
    """scale of a LoRA file's layers, read by the probe `full`: each layer's own, or the file's first one for all"""
    probes: Count
    """L, the number of probe vectors q of Eq. 1 per slot, and of its tokens"""
    projections: ProjectionsPer
    """one matrix W of Eq. 1 per type of linear, or one per slot"""
    layers: Count
    """transformer blocks of Eq. 2"""
    heads: Count
    """attention heads; must divide the text encoder's width"""
    mlp_ratio: Count
    """hidden width of a block's MLP, in multiples of the text encoder's width"""
    causal: bool
    """a token attends only to itself and to earlier tokens"""
    missing_slots: MissingSlots
    """a slot that an adapter does not change is masked, or encoded as an update of zero"""
    temperature: Positive
    """tau of Eq. 3; its initial value if it is learned"""
    temperature_learned: bool
    """train the temperature with the encoder"""
    loss_factor: float
    """factor of the sum of both cross entropies in Eq. 3"""
    batch_sampling: BatchSampling
    """distinct adapters with one random caption each, or (adapter, caption) pairs with replacement"""
    steps: Count
    """training steps"""
    batch: Count
    """adapters, or pairs, per step"""
    learning_rate: Positive
    """of AdamW"""
    weight_decay: float
    """of AdamW"""
    hybrid: bool
    """the index's vectors combine weights and captions, unless these contradict each other; only with the ridge
    regression, whose predictions out of fold say when they do"""
    ridge: Positive
    """lambda of the ridge regression"""
    landmarks: Count
    """maximum number of training adapters with whose sketches the ridge regression compares the others"""


ENCODER: Mapping[str, EncoderVariant] = {
    "paper": EncoderVariant(
        model="transformer", text_map="none", text_shrinkage=0.1,
        probe="full", slots="fused", alpha="layer", probes=1, projections="slot", layers=2, heads=12, mlp_ratio=4,
        causal=False, missing_slots="mask", temperature=0.07, temperature_learned=True, loss_factor=1.0,
        batch_sampling="adapters", steps=20_000, batch=256, learning_rate=1e-4, weight_decay=0.01,
        hybrid=False, ridge=0.3, landmarks=2000,
    ),
    "best": EncoderVariant(
        model="ridge", text_map="whiten", text_shrinkage=0.1,
        probe="sketch", slots="canonical", alpha="layer", probes=1, projections="type", layers=2, heads=12, mlp_ratio=4,
        causal=False, missing_slots="mask", temperature=0.07, temperature_learned=True, loss_factor=1.0,
        batch_sampling="adapters", steps=20_000, batch=256, learning_rate=1e-4, weight_decay=0.01,
        hybrid=True, ridge=0.3, landmarks=2000,
    ),
}  # fmt: skip
"""preset -> variant of the encoder"""
