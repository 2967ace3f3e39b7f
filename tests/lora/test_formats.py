"""Keys of every layout, as tools write them, and the slots that they update."""

import time

import pytest

from autolora.errors import RefusedFile
from autolora.lora import unsupported
from autolora.lora.formats import find_module, parse_key
from autolora.lora.key_accounting import account_for_keys
from tests.lora.writing import SLOTS

Q, K, V = (f"transformer_blocks.7.attn.to_{part}" for part in "qkv")
ADDED = tuple(f"transformer_blocks.7.attn.add_{part}_proj" for part in "qkv")
SINGLE = tuple(
    f"single_transformer_blocks.3.{part}" for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
)
NORM, NET = "transformer_blocks.7.norm1.linear", "transformer_blocks.7.ff_context.net.2"
TO_OUT, ADD_OUT = "transformer_blocks.7.attn.to_out.0", "transformer_blocks.7.attn.to_add_out"
FF, MODULATION = "transformer_blocks.7.ff.net.0.proj", "single_transformer_blocks.3.norm.linear"
OUT = ("single_transformer_blocks.3.proj_out",)

KEYS = [
    ("lora_unet_double_blocks_7_img_attn_qkv.lora_down.weight", "kohya", "down", (Q, K, V)),
    ("lora_unet_double_blocks_7_txt_attn_qkv.lora_up.weight", "kohya", "up", ADDED),
    ("lora_unet_double_blocks_7_img_mod_lin.alpha", "kohya", "alpha", (NORM,)),
    ("lora_unet_double_blocks_7_txt_mlp_2.lora_up.weight", "kohya", "up", (NET,)),
    ("lora_unet_single_blocks_3_linear1.lora_down.weight", "kohya", "down", SINGLE),
    ("lora_unet_single_blocks_3_linear2.lora_down.weight", "kohya", "down", OUT),
    ("lora_unet_single_blocks_3_modulation_lin.lora_up.weight", "kohya", "up", (MODULATION,)),
    ("diffusion_model.double_blocks.7.img_attn.qkv.lora_down.weight", "comfy", "down", (Q, K, V)),
    ("diffusion_model.double_blocks.7.img_attn.qkv.lora_A.weight", "bfl-peft", "down", (Q, K, V)),
    ("double_blocks.7.img_attn.qkv.lora_B.weight", "bfl-bare", "up", (Q, K, V)),
    ("base_model.model.double_blocks.7.img_attn.proj.lora_A.weight", "fal-kontext", "down", (TO_OUT,)),
    ("transformer.transformer_blocks.7.attn.to_q.lora_A.weight", "peft", "down", (Q,)),
    ("transformer.transformer_blocks.7.attn.to_q.lora_A.default.weight", "peft", "down", (Q,)),
    ("transformer.single_transformer_blocks.3.proj_mlp.lora_B.weight", "peft", "up", SINGLE[3:]),
    ("transformer.transformer_blocks.7.attn.to_q.lora_down.weight", "peft-down", "down", (Q,)),
    ("transformer.transformer_blocks.7.attn.to_q.lora.up.weight", "old-diffusers", "up", (Q,)),
    ("transformer_blocks.7.attn.to_q.lora_A.weight", "peft-bare", "down", (Q,)),
    ("base_model.model.transformer_blocks.7.attn.to_q.lora_A.weight", "peft-model", "down", (Q,)),
    ("lora_transformer_transformer_blocks_7_attn_to_q.lora_down.weight", "onetrainer", "down", (Q,)),
    ("lora_transformer_single_transformer_blocks_3_proj_mlp.alpha", "onetrainer", "alpha", SINGLE[3:]),
    ("lora_transformer_transformer_blocks_7_ff_net_0_proj.lora_up.weight", "onetrainer", "up", (FF,)),
    ("double_blocks.7.processor.qkv_lora1.down.weight", "xlabs", "down", (Q, K, V)),
    ("diffusion_model.double_blocks.7.processor.qkv_lora2.up.weight", "xlabs", "up", ADDED),
    ("double_blocks.7.processor.proj_lora2.up.weight", "xlabs", "up", (ADD_OUT,)),
    ("single_blocks.3.processor.qkv_lora.up.weight", "xlabs", "up", SINGLE[:3]),
    ("single_blocks.3.processor.proj_lora.down.weight", "xlabs", "down", OUT),
    ("blocks.7.attn.a_to_qkv.lora_A.weight", "native", "down", (Q, K, V)),
    ("transformer.transformer_blocks.7.attn.to_q.lora_A", "peft", "down", (Q,)),
    ("base_model.model.transformer.transformer_blocks.7.attn.to_q.lora_B.weight", "peft-pipeline", "up", (Q,)),
    ("transformer_blocks.7.attn.to_q.lora_up.weight", "peft-bare-down", "up", (Q,)),
    ("transformer.transformer_blocks.7.attn.to_q.lora_linear_layer.up.weight", "old-diffusers", "up", (Q,)),
    ("diffusion_model.transformer_blocks.7.attn.to_q.lora_A.weight", "comfy-diffusers", "down", (Q,)),
    ("diffusion_model.transformer_blocks.7.attn.to_q.lora_up.weight", "comfy-diffusers-down", "up", (Q,)),
    ("diffusion_model.single_blocks.3.linear1_qkv.lora_down.weight", "comfy", "down", SINGLE[:3]),
    ("double_blocks.7.img_attn.qkv.lora_up.weight", "bfl-bare-down", "up", (Q, K, V)),
    ("transformer.double_blocks.7.img_attn.qkv.lora_A.weight", "bfl-transformer", "down", (Q, K, V)),
    ("transformer.double_blocks.7.img_attn.qkv.1.lora_down.weight", "onetrainer-bfl", "down", (K,)),
    ("transformer.double_blocks.7.img_mlp.0.lora_up.weight", "onetrainer-bfl", "up", (FF,)),
    ("transformer.single_blocks.3.linear1.3.alpha", "onetrainer-bfl", "alpha", SINGLE[3:]),
    ("lora_transformer_single_blocks.3.linear2.lora_up.weight", "onetrainer-bfl", "up", OUT),
    ("lora_unet_transformer_blocks_7_attn_to_q.lora_down.weight", "kohya-diffusers", "down", (Q,)),
    ("lora_unet_double_blocks_7_img_attn_qkv.hada_w1_a", "kohya", "w1_a", (Q, K, V)),
    ("lora_unet_single_blocks_3_linear2.lokr_w2_b", "kohya", "w2_b", OUT),
    ("lycoris_transformer_blocks_7_attn_to_q.lokr_w1", "lycoris", "w1", (Q,)),
    ("lycoris_single_transformer_blocks_3_proj_out.lora_down.weight", "lycoris", "down", OUT),
    ("base_model.model.transformer_blocks.7.attn.to_q.lokr_w2", "peft-model", "w2", (Q,)),
    ("single_blocks.3.to_qkv_mlp.lora_A.default.weight", "native", "down", SINGLE),
    ("transformer.transformer_blocks.7.attn.to_q.lora_B.my-style.weight", "peft", "up", (Q,)),
    ("lora_unet_double_blocks_7_img_attn_qkv.lora_A.weight", "mixed", "down", (Q, K, V)),
    ("lora_unet_transformer_blocks_7_attn_to_q.lora_B.weight", "mixed", "up", (Q,)),
    ("transformer.double_blocks.7.img_attn.qkv.lora_up.weight", "onetrainer-bfl", "up", (Q, K, V)),
    ("base_model.model.diffusion_model.single_blocks.3.linear1.lora_A.weight", "peft-wrapped", "down", SINGLE),
    ("base_model.model.unet.transformer_blocks.7.attn.to_q.lora_A.weight", "peft-wrapped", "down", (Q,)),
    ("model.diffusion_model.double_blocks.7.img_attn.qkv.lora_up.weight", "mixed", "up", (Q, K, V)),
    ("unet.transformer_blocks.7.attn.to_q.lora.down.weight", "mixed", "down", (Q,)),
    ("unet.single_blocks.3.linear2.lokr_w1", "mixed", "w1", OUT),
]  # fmt: skip


@pytest.mark.parametrize(("key", "layout", "role", "slots"), KEYS, ids=[key for key, *_ in KEYS])
def test_key_has_layout_role_and_slots(key: str, layout: str, role: str, slots: tuple[str, ...]) -> None:
    part = parse_key(key)
    assert part is not None and part.role == role
    module = find_module(part.path, part.style)
    assert module is not None and module.slots == slots
    assert module.layout == layout


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("transformer.transformer_blocks.7.attn.to_q", "transformer_blocks.7.attn.to_q"),
        ("base_model.model.transformer_blocks.7.attn.to_q", "transformer_blocks.7.attn.to_q"),
        (
            "base_model.model.transformer.transformer_blocks.7.attn.to_q",
            "transformer.transformer_blocks.7.attn.to_q",
        ),
        ("lora_unet_double_blocks_7_img_attn_qkv", "double_blocks.7.img_attn.qkv"),
        ("diffusion_model.single_blocks.3.modulation.lin", "single_blocks.3.modulation.lin"),
    ],
)
def test_modules_are_named_as_in_the_model(path: str, name: str) -> None:
    module = find_module(path, None)
    assert module is not None and module.name == name


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", "text-encoder"),
        ("lora_te3_encoder_block_0_layer_0_SelfAttention_q.alpha", "text-encoder"),
        ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight", "text-encoder"),
        (
            "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.lora_up.weight",
            "text-encoder",
        ),
        ("clip_l.text_model.encoder.layers.0.self_attn.q_proj.lora_down.weight", "text-encoder"),
        ("base_model.model.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight", "text-encoder"),
        ("t5.encoder.block.0.layer.0.SelfAttention.q.lora_up.weight", "text-encoder"),
        ("lora_te2_encoder_block_0_layer_0_SelfAttention_q.lokr_w1", "text-encoder"),
        ("clip_l", "text-embedding"),
        ("bundle_emb.mytoken.t5", "text-embedding"),
        ("lora_unet_img_in.lora_down.weight", "embedder"),
        ("lora_unet_time_in_in_layer.lora_up.weight", "embedder"),
        ("diffusion_model.guidance_in.out_layer.lora_A.weight", "embedder"),
        ("transformer.x_embedder.lora_A.weight", "embedder"),
        ("transformer.time_text_embed.text_embedder.linear_1.lora_B.weight", "embedder"),
        ("lora_unet_final_layer_adaLN_modulation_1.alpha", "final-layer"),
        ("transformer.proj_out.lora_A.weight", "final-layer"),
        ("transformer.norm_out.linear.lora_A.weight", "final-layer"),
        ("unet.x_embedder.lora_A.weight", "embedder"),
        ("base_model.model.diffusion_model.img_in.lora_A.weight", "embedder"),
        ("model.diffusion_model.final_layer.linear.lora_up.weight", "final-layer"),
        ("transformer.transformer_blocks.3.attn.norm_added_k.diff", "norm"),
        ("lora_unet_single_blocks_3_norm_key_norm.b_norm", "norm"),
        ("transformer.transformer_blocks.3.norm1.linear.diff", None),
        ("double_blocks.3.img_attn.norm.query_norm.scale", None),
        ("transformer.single_transformer_blocks.3.proj_out.lora_A.weight", None),
        ("single_blocks.3.proj_out.lora_A.weight", None),
        ("lora_unet_double_blocks_7_img_attn_qkv.alpha", None),
    ],
)
def test_ignored_keys_have_a_family(key: str, family: str | None) -> None:
    assert unsupported.find_ignored_family(key) == family


@pytest.mark.parametrize("key", [key for key, *_ in KEYS])
def test_flux_keys_are_not_unsupported(key: str) -> None:
    assert unsupported.find_ignored_family(key) is None
    assert unsupported.find_other_base(key) is None
    assert unsupported.find_parametrization(key) is None
    assert unsupported.find_incompatible_key(key) is None


@pytest.mark.parametrize(
    "path",
    [
        "lora_unet_double_blocks_7_img_attn.qkv",
        "lora_unet_double.blocks.7.img_attn_qkv",
        "lora_unet_double_blocks_7_img_attn_qkv_extra",
        "double_blocks.x.img_attn.qkv",
        "double_blocks.99999.img_attn.qkv",
        "transformer.transformer.transformer_blocks.7.attn.to_q",
        "",
    ],
)
def test_similar_paths_are_unknown(path: str) -> None:
    assert find_module(path, None) is None


@pytest.mark.parametrize(
    ("key", "base"),
    [
        ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight", "XL"),
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight", "XL"),
        ("unet.mid_block.attentions.0.proj_in.lora_A.weight", "XL"),
        ("lora_unet_joint_blocks_3_x_block_attn_qkv.lora_down.weight", "Stable Diffusion 3"),
        ("transformer.transformer_blocks.0.attn2.to_q.lora_A.weight", "Stable Diffusion 3"),
        ("transformer.joint_transformer_blocks.0.attn.to_q.lora_A.weight", "AuraFlow"),
        ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj.lora_A.weight", "FLUX.2"),
        ("transformer.transformer_blocks.0.ff.linear_in.lora_A.weight", "FLUX.2"),
        ("diffusion_model.double_stream_modulation_img.lin.lora_A.weight", "FLUX.2"),
        ("transformer.transformer_blocks.0.img_mlp.net.0.proj.lora_A.weight", "Qwen"),
        ("lora_unet_transformer_blocks_0_img_mod_1.lora_down.weight", "Qwen"),
        ("diffusion_model.double_blocks.0.img_attn_qkv.lora_A.weight", "Hunyuan"),
        ("lora_unet_double_blocks_0_img_mlp_fc1.lora_down.weight", "Hunyuan"),
        ("lora_unet_distilled_guidance_layer_in_proj.lora_down.weight", "Chroma"),
        ("diffusion_model.blocks.0.self_attn.q.lora_A.weight", "Wan"),
        ("lora_unet_blocks_0_cross_attn_k.lora_down.weight", "Wan"),
        ("diffusion_model.layers.0.attention.to_q.lora_A.weight", "Z-Image"),
        ("transformer.layers.3.feed_forward.w1.lora_A.weight", "Z-Image"),
        ("transformer.transformer_blocks.0.attn1.to_q.lora_A.weight", "LTX"),
        ("diffusion_model.double_stream_blocks.0.block.attn1.to_q.lora_A.weight", "HiDream"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", "language"),
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", None),
    ],
)
def test_other_base_models_are_recognized(key: str, base: str | None) -> None:
    result = unsupported.find_other_base(key)
    assert base in result if base and result else result is base


@pytest.mark.parametrize(
    ("field", "value", "base"),
    [
        ("modelspec.architecture", "chroma/lora", "Chroma"),
        ("ss_base_model_version", "flux2_klein_4b", "FLUX.2"),
        ("ss_base_model_version", "Flux.2-dev", "FLUX.2"),
        ("modelspec.architecture", "flux-1-dev/lora", None),
        ("ss_base_model_version", "flux1", None),
        ("ss_base_model_version", "sd_1.5", None),  # some trainers write this for every LoRA
        ("modelspec.title", "chroma", None),
    ],
)
def test_base_models_similar_to_flux_are_found_in_metadata(field: str, value: str, base: str | None) -> None:
    result = unsupported.find_base_in_metadata({field: value})
    assert (result and result[0]) == base


@pytest.mark.parametrize(
    "keys",
    [
        [f"transformer.transformer_blocks.{number}.x.y.lora_A.weight" for number in range(100_000)],
        ["base_model.model." * 1000 + f"{number}.lora_A.weight" for number in range(1000)],
        [f"{number}" + "_lora_unet_" * 1000 + ".lora_down.weight" for number in range(1000)],
    ],
    ids=["many", "long", "repeated prefixes"],
)
def test_hostile_keys_take_little_time(keys: list[str]) -> None:
    start = time.process_time()
    with pytest.raises(RefusedFile):
        account_for_keys(keys, SLOTS, 0.0, lambda key: False)
    assert time.process_time() - start < 2
