"""The presets of the released code."""

from autolora.presets.encoder import EncoderVariant
from autolora.presets.fusion import FusionVariant

ENCODER = EncoderVariant(
    model="transformer", text_map="none", text_shrinkage=0.1,
    probe="full", slots="fused", alpha="file", probes=1, projections="type", layers=2, heads=12, mlp_ratio=4,
    causal=True, missing_slots="zero", temperature=1.0, temperature_learned=False, loss_factor=10.0,
    batch_sampling="captions", steps=20_000, batch=256, learning_rate=1e-4, weight_decay=0.01,
    hybrid=False, ridge=0.3, landmarks=2000,
)  # fmt: skip
FUSION = FusionVariant(
    slots="fused", gate="no_base", relevance=False, relevance_weight=0.0, global_rank=2, init_std=1.0,
    init_bias=0.0, init_output_scale=0.512,
    max_active=2, single_share=0.0, other_family=False, hinge=0.5,
    caption_dropout=0.3, flow_shift=3.0, guidance=1.0, learning_rate=1e-4, weight_decay=0.01,
    schedule="cosine",
)  # fmt: skip
