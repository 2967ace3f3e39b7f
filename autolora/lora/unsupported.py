"""Unsupported keys: keys of a LoRA file that update no slot, other kinds of adapters, and other base models.

These functions are called only for keys that match no layout of autolora.lora.formats.
"""

import re
from collections.abc import Mapping

from autolora.lora.bases import TEXT_KEYS, UNLISTED_TWINS, stated_bases

_OUTER = (
    r"^(?:lora_unet_|lora_transformer_|lycoris_|_|pipe\.dit\."
    r"|transformer\.|unet\.|(?:model\.)?diffusion_model\.|base_model\.model\.)*"
)
_ADAPTER_NAME = r"(\.[^.]+)?"
"""PEFT's name of an adapter within a key, such as `.default`"""
# family, pattern of its keys: they belong to the pipeline but to no slot, and are ignored
IGNORED_FAMILIES = (
    ("text-encoder", TEXT_KEYS),
    ("text-embedding", re.compile(r"^(bundle_emb\.|emb_params$|clip_[lg]$|t5(xxl)?$)")),
    (
        "embedder",
        re.compile(
            _OUTER
            + r"((img|txt|time|vector|guidance)_in|x_embedder|context_embedder|time_text_embed|pos_embed)[._]"
        ),
    ),
    ("final-layer", re.compile(_OUTER + r"(final_layer|norm_out|proj_out)[._]")),
    (
        "norm",
        re.compile(
            r"(double|single|transformer)_blocks[._]\d+[._](.*[._])?(query_norm|key_norm|norm_(added_)?[qk])"
            r"(\.(scale|weight))?\.(diff|diff_b|w_norm|b_norm)$"
        ),
    ),
)

# reason code, suffixes of adapters that are not a product of small matrices
PARAMETRIZATIONS = (
    ("dora", re.compile(rf"\.(dora_scale|magnitude|lora_magnitude_vector{_ADAPTER_NAME}(\.weight)?)$")),
    ("tucker", re.compile(r"\.(lora_mid\.weight|lokr_t[12]|hada_t[12])$")),
    ("oft", re.compile(rf"\.(b?oft_[A-Za-z]+|hra_u){_ADAPTER_NAME}(\.weight)?$")),
    ("weight-diff", re.compile(r"\.(diff|diff_b|set_weight|reshape_weight|w_norm|b_norm)$")),
    ("lora-bias", re.compile(rf"\.lora_(B|up){_ADAPTER_NAME}\.bias$")),
    ("quantized", re.compile(r"\.((qkv|out)_proj(_context)?|mlp_(context_)?fc[12])\.lora_(down|up)$")),
    (
        "other-adapter",
        re.compile(
            r"\.([ab][12]\.weight|bm\.weight|on_input|ia3_l|lambda_layer|[qp]_layer\.weight|vera_lambda_[bd]"
            rf"|fourierft_spectrum){_ADAPTER_NAME}$"
        ),
    ),
    (
        "other-adapter",  # what PEFT writes, by the name of the method
        re.compile(
            r"\.(adamss|beft|bone|c3a|cartridge|deft|delora|frod|glora|gralora|hira|lily|ln_tuning|miss|osf|peanut|poly|psoft"
            r"|pvera|randlora|road|shadow|shira|supertuning|tinylora|trainable_tokens|unilora|vblora|vera|waveft|xlora)_\w+"
            rf"(\.\w+)*$|\.lora_(E|ranknum|diag){_ADAPTER_NAME}$"
        ),
    ),
)
ADDED = re.compile(rf"\.(diff|diff_b|w_norm|b_norm|lora_(B|up){_ADAPTER_NAME}\.bias)$")
"""keys of tensors that are added to weights or biases: without effect if they are zero"""
# reason code, keys that a full model also has: next to LoRA keys they change what the LoRA keys mean
INCOMPATIBLE_KEYS = (
    ("control", re.compile(r"[._](query_norm|key_norm)\.scale$|[._]norm_(added_)?[qk]\.weight$")),
    (
        "quantized",
        re.compile(
            r"(^|\.)(comfy_quant|scaled_fp8|scale_weight|scale_input|weight_scale(_\d)?|input_scale|absmax|quant_map"
            r"|quant_state\.\w+|qweight|wscales|smooth(_orig)?)$"
        ),
    ),
)

# base model, pattern of its module names; a FLUX.1 file cannot have such keys
OTHER_BASES = (
    ("Stable Diffusion 1.x, 2.x or XL", re.compile(r"(^|[._])(down|up|input|output)_blocks[._]\d")),
    ("Stable Diffusion 1.x, 2.x or XL", re.compile(r"(^|[._])(mid_block|middle_block)[._]")),
    ("AuraFlow", re.compile(r"joint_transformer_blocks[._]\d")),
    ("Stable Diffusion 3", re.compile(r"(^|[._])joint_blocks[._]\d")),
    ("LTX-Video, CogVideoX or PixArt", re.compile(r"(^|[._])transformer_blocks[._]\d+[._]attn1[._]")),
    ("Stable Diffusion 3", re.compile(r"(^|[._])transformer_blocks[._]\d+[._]attn2[._]")),
    ("FLUX.2", re.compile(r"stream_modulation|to_qkv_mlp_proj|ff(_context)?[._]linear_(in|out)([._]|$)")),
    ("Qwen-Image", re.compile(r"transformer_blocks[._]\d+[._](img|txt)_(mlp[._]net|mod[._]1)")),
    ("Hunyuan Video or Image", re.compile(r"(img|txt)_mlp[._]fc\d|(img|txt)_mod[._]linear|token_refiner")),
    ("Hunyuan Video or Image", re.compile(r"double_blocks\.\d+\.(img|txt)_attn_(qkv|proj|[qkv])(\.|$)")),
    ("Chroma", re.compile(r"distilled_guidance_layer|nerf_(blocks|image_embedder|final_layer)")),
    ("HiDream", re.compile(r"(double|single)_stream_blocks[._]\d")),
    ("Kandinsky", re.compile(r"(visual|text)_transformer_blocks[._]\d")),
    ("Wan or Cosmos", re.compile(r"(^|[._])blocks[._]\d+[._](self_attn|cross_attn|ffn|attn1|attn2)[._]")),
    (
        "Lumina or Z-Image",
        re.compile(r"(^|[._])layers[._]\d+[._](attention|attn|feed_forward)[._]|(noise|context)_refiner[._]"),
    ),
    ("a language model", re.compile(r"(^|[._])layers[._]\d+[._](self_attn|mlp)[._]\w+_proj")),
)

TWINS = ("Chroma", "FLUX.2", "Qwen-Image", "Hunyuan", *UNLISTED_TWINS)
"""base models of which some modules have the names and shapes of FLUX.1's"""

IMAGE_EMBEDDER_DOWN = re.compile(
    rf"(^|[._])(img_in|x_embedder)\.lora(_A|_down|\.down){_ADAPTER_NAME}(\.weight)?$"
)
EMBEDDER_VARIANTS = {
    128: ("control", "the model takes a control image"),
    384: ("wrong-base", "the model is FLUX.1 Fill"),
}
"""input channels of the image embedder -> reason code and explanation; FLUX.1 itself has 64 channels"""


def find_ignored_family(key: str) -> str | None:
    """Return the family of a key that belongs to the pipeline but to no slot, else None."""
    return next((family for family, pattern in IGNORED_FAMILIES if pattern.search(key)), None)


def find_parametrization(key: str) -> str | None:
    """Return the reason code if a key belongs to an adapter that is not a product of small matrices, else None."""
    return next((code for code, pattern in PARAMETRIZATIONS if pattern.search(key)), None)


def is_added(key: str) -> bool:
    """Return whether a key's tensor is added to a weight or a bias, so that zeros have no effect."""
    return ADDED.search(key) is not None


def find_incompatible_key(key: str) -> str | None:
    """Return the reason code of a key that changes the meaning of the LoRA keys next to it, else None."""
    return next((code for code, pattern in INCOMPATIBLE_KEYS if pattern.search(key)), None)


def find_other_base(key: str) -> str | None:
    """Return the other base model to which a key belongs, else None."""
    return next((base for base, pattern in OTHER_BASES if pattern.search(key)), None)


def find_base_in_metadata(metadata: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the other base model that a header states, and the header field as text; None if it states none.

    Only models that cannot be distinguished from FLUX.1 by names and shapes are considered, since trainers often
    write a wrong base model into the header.
    """
    return next((claim for claim in stated_bases(metadata) if claim[0] in TWINS), None)


def find_embedder_variant(key: str, shape: tuple[int, ...]) -> tuple[str, str] | None:
    """Return reason code and explanation if a key is the `down` of a FLUX.1 variant's image embedder, else None.

    shape: shape of the tensor, whose second dimension is the number of input channels.
    """
    return EMBEDDER_VARIANTS.get(shape[1]) if len(shape) > 1 and IMAGE_EMBEDDER_DOWN.search(key) else None
