"""The presets `paper`, `released` and `best`: everything in which the variants of encoder and gates differ.

`paper` is the method as published, `released` is what the authors' code does, `best` is what measured best here.
A preset fixes architecture, loss, sampling and optimizer; `overrides` in params.yaml replaces single fields.
Only the size of a run (steps, batch, seed) and the strength of augmentation stand in params.yaml for all presets.

Where the paper is silent (layers, heads, initial values, optimizer, noise levels), `paper` follows the released code,
with four exceptions: a learned temperature that starts at 0.07, as in CLIP; batches of distinct adapters; each layer's
own alpha; and masks for missing slots, because its LoRAs "have different structures".

The released code exists in several versions; `released` is the paper's own repository. Its encoder trains for 2,000
steps with 32 pairs per step on each of 4 GPUs, its gates for 8,000 steps with 1 pair per step. Its command trains the
gate `no_base` with a global LoRA of rank 2; the overrides `gate: full` and `global_rank: 4` give the version in
DiffSynth-Studio, whose gates are published. Not followed: training in bfloat16; an error for an adapter without some
slot (`missing_slots: error` does that); ranking by the norm of the whole index (an index stores unit vectors); and
captions that begin with a LoRA's description.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Preset = Literal["paper", "released", "best"]
Model = Literal["transformer", "ridge"]
Probe = Literal["sketch", "full"]
SlotView = Literal["canonical", "fused"]
TokensPer = Literal["slot", "probe"]
ProjectionsPer = Literal["type", "slot"]
AlphaPer = Literal["layer", "file"]
MissingSlots = Literal["mask", "zero", "error"]
ProjectionInit = Literal["zero", "normal"]
TextMapping = Literal["none", "center", "whiten"]
Negatives = Literal["all", "other_families"]
BatchSampling = Literal["adapters", "captions"]
Schedule = Literal["constant", "cosine"]
GateForm = Literal["full", "no_base", "no_cross", "no_lora", "scalar"]
Objective = Literal["interference", "velocity"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderVariant:
    """Architecture, loss and training of the encoder (Eq. 1-3). The fields from `alpha` to `regularize` apply to the
    transformer only, those after them to the ridge regression only."""

    model: Model
    """the transformer of Eq. 1-2, or a ridge regression in closed form on the slots' sketches of unit norm"""
    text_map: TextMapping
    """text features as they are, centered at the mean of the training captions, or whitened by the covariance of the
    captions within training adapters too"""
    text_shrinkage: float
    """share of the covariance's mean eigenvalue that is added to its diagonal before whitening"""
    probe: Probe
    """what an adapter is encoded from: its sketch, or its full weights"""
    slots: SlotView
    """the transformer's own linears, or the authors' fused ones"""
    alpha: AlphaPer
    """scale of a LoRA file's layers, read by the probe `full`: each layer's own, or the file's first one for all"""
    probes: int
    """L, the number of probe vectors q of Eq. 1 per slot"""
    tokens: TokensPer
    """one token per slot, from all its probes, or one token per probe"""
    scale_invariant: bool
    """tokens are made of unit updates and each slot's relative strength, instead of Eq. 1 as printed"""
    projections: ProjectionsPer
    """one matrix W of Eq. 1 per type of linear, or one per slot"""
    projection_init: ProjectionInit
    """W starts at zero, or at the random values of a linear layer"""
    layers: int
    """transformer blocks of Eq. 2"""
    heads: int
    """attention heads; must divide the text encoder's width"""
    mlp_ratio: int
    """hidden width of a block's MLP, in multiples of the text encoder's width"""
    causal: bool
    """a token attends only to itself and to earlier tokens"""
    missing_slots: MissingSlots
    """a slot that an adapter does not change is masked, encoded as an update of zero, or an error"""
    temperature: float
    """tau of Eq. 3; its initial value if it is learned"""
    temperature_learned: bool
    """train the temperature with the encoder"""
    loss_factor: float
    """factor of the sum of both cross entropies in Eq. 3"""
    negatives: Negatives
    """all other pairs of a batch, or only those with another family and another caption"""
    batch_sampling: BatchSampling
    """distinct adapters with one random caption each, or (adapter, caption) pairs with replacement"""
    learning_rate: float
    """of AdamW"""
    weight_decay: float
    """of AdamW"""
    schedule: Schedule
    """constant learning rate, or linear warm-up over the first tenth of the steps and cosine decay to zero"""
    clip_grad_norm: bool
    """clip the gradient's norm at 1"""
    regularize: bool
    """apply `dropout`, `slot_dropout` and `sketch_noise` of params.yaml"""
    hybrid: bool
    """the index's vectors combine weights and captions, unless these contradict each other; only with the ridge
    regression, whose predictions out of fold say when they do"""
    ridge: float
    """lambda of the ridge regression"""
    landmarks: int
    """maximum number of training adapters with whose sketches the ridge regression compares the others, and of
    concepts"""
    concepts: bool
    """the ridge regression learns from the concepts of the stage `concepts` too"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionVariant:
    """Architecture, loss and training of the gates (Eq. 6-10)."""

    slots: SlotView
    """the transformer's own linears, or the authors' fused ones"""
    gate: GateForm
    """which terms of Eq. 7 the gate has; `no_cross` has no base term either, as in the released code; `scalar` has only
    b, one number per slot as is w_out, and the relevance"""
    relevance: bool
    """the gate has one more term, w_rel · s_i, with the relevance s_i of adapter i to the prompt"""
    relevance_weight: float
    """initial w_rel"""
    global_rank: int
    """rank of the global LoRA (Eq. 9), used with two or more adapters; 0 disables it"""
    init_std: float
    """standard deviation of the initial w_base, w_lora, w_cross and b"""
    init_bias: float
    """mean of the initial b"""
    init_output_scale: float
    """initial w_out"""
    objective: Objective
    """what the training lowers: the loss of Eq. 10, or the error against the velocity of the method `velocity`"""
    velocity_factor: float
    """c of the method `velocity` that the objective `velocity` learns from"""
    max_active: int
    """maximum number of active adapters per step, 2 to 4; their number is drawn, from 2 on"""
    single_share: float
    """share of steps with the target adapter alone, 0 to 1"""
    other_family: bool
    """the interfering adapter is of another near-duplicate family than the target, instead of any other adapter"""
    hinge: float
    """h of the loss max(0, h - error of the same image under the interfering adapter's caption); 0 disables it"""
    caption_dropout: float
    """share of steps with an empty caption, 0 to 1"""
    flow_shift: float | None
    """shift of the training noise levels; None takes the pipeline's own, which depends on the image size"""
    guidance: float
    """the transformer's guidance input in training"""
    learning_rate: float
    """of AdamW"""
    weight_decay: float
    """of AdamW"""
    schedule: Schedule
    """constant learning rate, or the released code's cosine, see `fusion.training.learning_rate_factor`"""


ENCODER: Mapping[str, EncoderVariant] = {
    "paper": EncoderVariant(
        model="transformer", text_map="none", text_shrinkage=0.1,
        probe="full", slots="fused", alpha="layer", probes=1, tokens="probe", scale_invariant=False,
        projections="slot", projection_init="normal", layers=2, heads=12, mlp_ratio=4, causal=False,
        missing_slots="mask", temperature=0.07, temperature_learned=True, loss_factor=1.0, negatives="all",
        batch_sampling="adapters", learning_rate=1e-4, weight_decay=0.01,
        schedule="constant", clip_grad_norm=False, regularize=False, hybrid=False,
        ridge=0.3, landmarks=2000, concepts=False,
    ),
    "released": EncoderVariant(
        model="transformer", text_map="none", text_shrinkage=0.1,
        probe="full", slots="fused", alpha="file", probes=1, tokens="probe", scale_invariant=False,
        projections="type", projection_init="normal", layers=2, heads=12, mlp_ratio=4, causal=True,
        missing_slots="zero", temperature=1.0, temperature_learned=False, loss_factor=10.0, negatives="all",
        batch_sampling="captions", learning_rate=1e-4, weight_decay=0.01,
        schedule="constant", clip_grad_norm=False, regularize=False, hybrid=False,
        ridge=0.3, landmarks=2000, concepts=False,
    ),
    "best": EncoderVariant(
        model="ridge", text_map="whiten", text_shrinkage=0.1,
        probe="sketch", slots="canonical", alpha="layer", probes=32, tokens="slot", scale_invariant=True,
        projections="type", projection_init="zero", layers=4, heads=12, mlp_ratio=4, causal=False,
        missing_slots="mask", temperature=0.07, temperature_learned=True, loss_factor=0.5,
        negatives="other_families", batch_sampling="adapters", learning_rate=1e-4,
        weight_decay=0.05, schedule="cosine", clip_grad_norm=True, regularize=True, hybrid=True,
        ridge=0.3, landmarks=2000, concepts=False,
    ),
}  # fmt: skip
"""preset -> variant of the encoder"""

FUSION: Mapping[str, FusionVariant] = {
    "paper": FusionVariant(
        slots="fused", gate="full", relevance=False, relevance_weight=0.0, global_rank=4, init_std=1.0,
        init_bias=0.0, init_output_scale=1.0,
        objective="interference", velocity_factor=0.85, max_active=2, single_share=0.0, other_family=False, hinge=0.0,
        caption_dropout=0.0, flow_shift=3.0, guidance=1.0, learning_rate=1e-4, weight_decay=0.01,
        schedule="constant",
    ),
    "released": FusionVariant(
        slots="fused", gate="no_base", relevance=False, relevance_weight=0.0, global_rank=2, init_std=1.0,
        init_bias=0.0, init_output_scale=0.512,
        objective="interference", velocity_factor=0.85, max_active=2, single_share=0.0, other_family=False, hinge=0.5,
        caption_dropout=0.3, flow_shift=3.0, guidance=1.0, learning_rate=1e-4, weight_decay=0.01,
        schedule="cosine",
    ),
    "best": FusionVariant(
        slots="canonical", gate="full", relevance=True, relevance_weight=6.0, global_rank=4, init_std=0.0,
        init_bias=-3.0, init_output_scale=1.0,
        objective="interference", velocity_factor=0.85, max_active=2, single_share=0.2, other_family=True, hinge=0.0,
        caption_dropout=0.0, flow_shift=None, guidance=1.0, learning_rate=1e-4, weight_decay=0.0,
        schedule="constant",
    ),
}  # fmt: skip
"""preset -> variant of the gates"""
