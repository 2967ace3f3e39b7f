"""Foreign keys: what a LoRA file may hold besides updates of slots, and what gives another base model away.

Asked only about keys that no layout of autolora.lora.formats explains.
"""

import re
from collections.abc import Mapping

_OUTER = r"^(?:lora_unet_|lora_transformer_|lycoris_|transformer\.|diffusion_model\.|base_model\.model\.)*"
# family of keys that belong to the pipeline but to no slot; they are set aside, not read
FAMILIES = (
    (
        "text-encoder",
        re.compile(
            r"^(lora_te\d?_|lycoris_text_model_|(base_model\.model\.)?(text_encoders?(_\d)?|text_model)\.|te\d?\."
            r"|(clip_[lg]|t5(xxl)?)\.)"
        ),
    ),
    ("text-embedding", re.compile(r"^(bundle_emb\.|emb_params$|clip_[lg]$|t5(xxl)?$)")),
    (
        "embedder",
        re.compile(
            _OUTER
            + r"((img|txt|time|vector|guidance)_in|x_embedder|context_embedder|time_text_embed|pos_embed)[._]"
        ),
    ),
    ("final-layer", re.compile(_OUTER + r"(final_layer|norm_out|proj_out)[._]")),
)

# reason code, suffixes of adapters that are no product of small matrices
PARAMETRIZATIONS = (
    ("dora", re.compile(r"\.(dora_scale|lora_magnitude_vector(\.default)?(\.weight)?)$")),
    ("tucker", re.compile(r"\.(lora_mid\.weight|lokr_t[12]|hada_t[12])$")),
    ("oft", re.compile(r"\.(b?oft_[A-Za-z]+|hra_u)(\.default)?(\.weight)?$")),
    ("weight-diff", re.compile(r"\.(diff|diff_b|set_weight|reshape_weight|w_norm|b_norm)$")),
    ("lora-bias", re.compile(r"\.lora_(B|up)(\.default)?\.bias$")),
    ("quantized", re.compile(r"\.((qkv|out)_proj(_context)?|mlp_(context_)?fc[12])\.lora_(down|up)$")),
    (
        "other-adapter",
        re.compile(
            r"\.([ab][12]\.weight|bm\.weight|on_input|ia3_l|lambda_layer|[qp]_layer\.weight|vera_lambda_[bd]"
            r"|fourierft_spectrum)(\.default)?$"
        ),
    ),
)
# reason code, keys that a full model has too: beside LoRA keys they change what those mean
COMPANIONS = (
    ("control", re.compile(r"[._](query_norm|key_norm)\.scale$|[._]norm_(added_)?[qk]\.weight$")),
    (
        "quantized",
        re.compile(
            r"(^|\.)(scaled_fp8|scale_weight|scale_input|weight_scale(_\d)?|input_scale|absmax|quant_map"
            r"|quant_state\.\w+|qweight|wscales|smooth(_orig)?)$"
        ),
    ),
)

# base model, what gives its modules away; keys that a FLUX.1 file cannot have
BASES = (
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

# base model, how trainers spell it in a header; those alone whose modules can have FLUX.1's names and shapes
TWINS = (
    ("Chroma", re.compile(r"chroma")),
    ("FLUX.2", re.compile(r"flux[ ._-]?2|klein")),
    ("Qwen-Image", re.compile(r"qwen")),
    ("Hunyuan Video or Image", re.compile(r"hunyuan")),
)
TWIN_KEYS = ("modelspec.architecture", "ss_base_model_version", "ss_model_type")
"""where sd-scripts, ai-toolkit and their like name the architecture in the header"""

IMAGE_EMBEDDER = re.compile(r"(^|[._])(img_in|x_embedder)\.lora(_A|_down|\.down)(\.default)?(\.weight)?$")
VARIANTS = {128: ("control", "takes a control image"), 384: ("wrong-base", "belongs to FLUX.1 Fill")}
"""channels of the image embedder -> reason code and what has so many; FLUX.1 itself has 64"""

WIDTHS = {
    320: "Stable Diffusion 1.x or XL", 640: "Stable Diffusion 1.x or XL", 768: "Stable Diffusion 1.x",
    1280: "Stable Diffusion 1.x or XL", 1536: "Stable Diffusion 3 Medium", 2304: "Lumina",
    2432: "Stable Diffusion 3.5 Large", 3072: "FLUX.1", 3840: "Z-Image", 5120: "Wan", 6144: "FLUX.2",
}  # fmt: skip
"""width -> a base model that is as wide: a hint beside a refusal, never its reason"""


def find_family(key: str) -> str | None:
    """Return the family of a key that belongs to the pipeline but to no slot; None when it is in none."""
    return next((family for family, pattern in FAMILIES if pattern.search(key)), None)


def find_parametrization(key: str) -> str | None:
    """Return the reason code of an adapter that is no product of small matrices; None when it is none."""
    return next((code for code, pattern in PARAMETRIZATIONS if pattern.search(key)), None)


def find_companion(key: str) -> str | None:
    """Return the reason code of a key that changes what the LoRA keys beside it mean; None for any other."""
    return next((code for code, pattern in COMPANIONS if pattern.search(key)), None)


def find_base(key: str) -> str | None:
    """Return the other base model that a key gives away; None when it gives none away."""
    return next((base for base, pattern in BASES if pattern.search(key)), None)


def find_twin(metadata: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the other base model that a header names and where it does; None when it names none.

    Only for models that names and shapes may not tell from FLUX.1: any other name in a header proves nothing.
    """
    for place in TWIN_KEYS:
        said = metadata.get(place, "")[:100].lower()
        for base, pattern in TWINS:
            if pattern.search(said):
                return base, f"{place} {said!r}"
    return None


def find_variant(key: str, shape: tuple[int, ...]) -> tuple[str, str] | None:
    """Return reason code and words for the `down` of an image embedder of a variant of FLUX.1; None for others.

    shape: of the tensor.
    """
    return VARIANTS.get(shape[-1]) if shape and IMAGE_EMBEDDER.search(key) else None
