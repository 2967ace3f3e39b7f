"""Base and tool of a file are named from its tensors, in all spellings; unknown ones with what is known."""

import re
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import save_file

from autolora.errors import RefusedFile
from autolora.lora.bases import LIKELY, SURE, UNKNOWN, find_origin, find_stated
from autolora.lora.read import read
from autolora.lora.slots import slots
from autolora.models import FLUX_1_DEV_TRANSFORMER
from tests.lora.base_cases import MODELS, SD_SCRIPTS, SPELLINGS, Shapes, kohya, lokr, peft, spell
from tests.lora.writing import BOUNDS

FLUX_SLOTS = slots(FLUX_1_DEV_TRANSFORMER)
MATRIX = [(base, name) for base in MODELS for name in SPELLINGS]


def is_attention(name: str) -> bool:
    return "attn" in name or "attention" in name or "linear1" in name


def writer_of(base: str, name: str) -> str:
    kohya_tool = "sd-scripts" if base in SD_SCRIPTS else "musubi-tuner"
    return kohya_tool if SPELLINGS[name].writer == "kohya" else SPELLINGS[name].writer


@pytest.mark.parametrize(("base", "name"), MATRIX)
def test_base_and_writer_are_right_in_every_spelling(base: str, name: str) -> None:
    origin = find_origin(spell(MODELS[base], SPELLINGS[name]), {})
    assert (origin.base, origin.writer, origin.certainty) == (base, writer_of(base, name), SURE)
    assert origin.text == f"{base}, by {writer_of(base, name)}"


@pytest.mark.parametrize(("base", "name"), MATRIX)
def test_attention_alone_shows_the_base(base: str, name: str) -> None:
    origin = find_origin(spell(MODELS[base], SPELLINGS[name], is_attention), {})
    assert (origin.base, origin.writer) == (base, writer_of(base, name))
    assert origin.others == (("Chroma",) if base == "FLUX.1" else ())


def unet(d_text: int, depth: int = 1) -> Shapes:
    shapes: Shapes = {}
    for number in range(depth):
        for part, columns in (("attn1_to_q", 640), ("attn2_to_k", d_text)):
            path = f"lora_unet_down_blocks_1_attentions_0_transformer_blocks_{number}_{part}"
            shapes |= kohya(path, 640, columns)
    return shapes | kohya("lora_te_text_model_encoder_layers_0_mlp_fc1", 3072, 768)


@pytest.mark.parametrize(
    ("shapes", "base"),
    [
        (unet(768), "Stable Diffusion 1.x"),
        (unet(1024), "Stable Diffusion 2.x"),
        (unet(2048, 2), "Stable Diffusion XL"),
        (kohya("lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q", 640, 640), "Stable Diffusion XL"),
        (peft("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", 320, 768), "Stable Diffusion 1.x"),
        (peft("unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q", 1280, 1280), "Stable Diffusion 1.x"),
    ],
)  # fmt: skip
def test_unets_are_told_apart_by_their_text(shapes: Shapes, base: str) -> None:
    assert find_origin(shapes, {}).base == base


def test_other_writers() -> None:
    xlabs = {f"double_blocks.0.processor.qkv_lora1.{role}.weight": shape
             for role, shape in (("down", (4, 3072)), ("up", (9216, 4)))}  # fmt: skip
    native = {f"blocks.0.attn.a_to_qkv.lora_{role}.default.weight": shape
              for role, shape in (("A", (4, 3072)), ("B", (9216, 4)))}  # fmt: skip
    dashes = kohya("lora_unet-transformer_blocks-0-attn-to_q", 3072, 3072)
    for shapes, writer in ((xlabs, "XLabs"), (native, "DiffSynth-Studio"), (dashes, "flux-sliders")):
        origin = find_origin(shapes, {})
        assert (origin.base, origin.writer) == ("FLUX.1", writer)
    numbered = kohya("transformer.double_blocks.0.img_attn.qkv.0", 3072, 3072)
    numbered |= kohya("transformer.single_blocks.0.linear1.3", 12288, 3072)
    assert (find_origin(numbered, {}).base, find_origin(numbered, {}).writer) == ("FLUX.1", "OneTrainer")
    old = {
        "layers.3.attention.to.q.lora.down.weight": (4, 3840),
        "layers.3.attention.to.q.lora.up.weight": (3840, 4),
    }
    assert find_origin(old, {}).base == "Z-Image"


def test_aliases_and_mixed_kinds() -> None:
    shapes = spell(MODELS["Qwen-Image"], SPELLINGS["no prefix"])
    alias = {key.replace("transformer_blocks", "sformer_blocks"): shape for key, shape in shapes.items()}
    assert find_origin(alias, {}).base == "Qwen-Image"
    mixed = peft("diffusion_model.blocks.0.attn.wq", 6144, 6144) | lokr(
        "diffusion_model.blocks.0.attn.wk", 1536, 6144
    )
    assert find_origin(mixed, {}).base == "Krea 2"
    fused = lokr("lycoris_transformer_blocks_3_attn_to_qkv", 9216, 6144)
    assert (
        find_origin(fused | {"lycoris_transformer_blocks_3_attn_to_qkv.dora_scale": (9216, 1)}, {}).base
        == "Krea 2"
    )


def test_double_blocks_alone_are_likely_klein_if_all_its_blocks_are_updated() -> None:
    shapes = spell(
        MODELS["FLUX.2-klein 4B"], SPELLINGS["ai-toolkit"], lambda name: "double" in name and "attn" in name
    )
    origin = find_origin(shapes, {})
    assert (origin.base, origin.certainty) == ("FLUX.2-klein 4B", LIKELY) and "FLUX.1" in origin.others


def test_invokeai_lists() -> None:
    """Names and shapes as in tests/backend/patches/lora_conversions/lora_state_dicts of InvokeAI (Apache-2.0)."""
    krea: Shapes = {}
    for block in (0, 27):
        for name, rows, columns in (
            ("attn_gate", 6144, 6144),
            ("attn_wk", 1536, 6144),
            ("mlp_down", 6144, 16384),
        ):
            krea |= kohya(f"lora_unet_blocks_{block}_{name}", rows, columns)
    krea |= kohya("lora_unet_txtfusion_layerwise_blocks_0_attn_wq", 2560, 2560) | kohya(
        "lora_unet_txtfusion_projector", 1, 12
    )
    assert find_origin(krea, {}).text == "Krea 2, by musubi-tuner"
    qwen = {key: shape for block in (0, 1) for part in "kq"
            for key, shape in kohya(f"transformer_blocks.{block}.attn.to_{part}", 3072, 3072).items()}  # fmt: skip
    origin = find_origin(qwen, {})  # q and k of two blocks fit several bases
    assert origin.certainty == LIKELY and "Qwen-Image" in (origin.base, *origin.others)
    path = "lora_unet_transformer_blocks_0_attn_to_k"
    impossible = {f"{path}.lokr_w1": (3072, 16), f"{path}.lokr_w2": (16, 3072), f"{path}.alpha": ()}
    assert find_origin(impossible, {}).text.startswith("unknown, by sd-scripts: 1 modules of width 49152")
    anima = kohya("lora_unet_blocks_0_cross_attn_k_proj", 2048, 1024) | kohya(
        "lora_unet_blocks_0_mlp_layer1", 8192, 2048
    )
    assert find_origin(anima, {}).base == "Anima or Cosmos-Predict 2"


ATTN1 = "transformer.transformer_blocks.{n}.attn1.to_q"
UNLISTED: dict[str, tuple[str, int, int]] = {
    "Mochi": ("transformer.transformer_blocks.{n}.attn1.add_q_proj", 3072, 1536),
    "CogView 4": (ATTN1, 2560, 2560),
    "PixArt": (ATTN1, 1152, 1152),
    "Sana": (ATTN1, 2240, 2240),
    "Latte": (ATTN1, 1088, 1088),
    "Allegro": (ATTN1, 2304, 2304),
    "Stable Audio": (ATTN1, 1536, 1536),
    "Hunyuan-DiT": ("transformer.blocks.{n}.attn1.to_q", 1408, 1408),
    "EasyAnimate": ("transformer.transformer_blocks.{n}.attn1.to_q", 3584, 3584),
    "GLM-Image": ("transformer.transformer_blocks.{n}.attn1.to_q", 4032, 4032),
    "OmniGen": ("layers.{n}.self_attn.qkv_proj", 9216, 3000),
    "Llama": ("base_model.model.model.layers.{n}.self_attn.q_proj", 4096, 4096),
    "Qwen 3": ("base_model.model.model.layers.{n}.mlp.gate_proj", 12288, 4096),
    "GPT-2": ("transformer.h.{n}.attn.c_attn", 2304, 768),
    "BERT": ("bert.encoder.layer.{n}.attention.self.query", 768, 768),
    "ViT": ("vit.encoder.layer.{n}.attention.attention.key", 768, 768),
    "Whisper": ("base_model.model.model.encoder.layers.{n}.self_attn.q_proj", 1280, 1280),
    "T5": ("encoder.block.{n}.layer.0.SelfAttention.q", 4096, 4096),
    "Mamba": ("backbone.layers.{n}.mixer.in_proj", 3072, 768),
    "RWKV": ("rwkv.blocks.{n}.attention.key", 2048, 2048),
    "Falcon": ("transformer.h.{n}.self_attention.query_key_value", 4672, 4544),
    "Bloom": ("h.{n}.self_attention.dense", 1024, 1024),
    "SAM": ("vision_encoder.layers.{n}.attn.qkv", 2304, 768),
    "DINO": ("encoder.layer.{n}.attention.attention.query", 384, 384),
    "MusicGen": ("decoder.model.decoder.layers.{n}.encoder_attn.k_proj", 1024, 1024),
    "Bark": ("semantic.layers.{n}.attn.att_proj", 3072, 1024),
    "ESM": ("esm.encoder.layer.{n}.attention.self.value", 1280, 1280),
    "GPT-NeoX": ("gpt_neox.layers.{n}.attention.dense", 6144, 6144),
    "Florence": ("vision_tower.blocks.{n}.1.channel_block.attn.qkv", 1152, 384),
    "SigLIP": ("vision_model.encoder.layers.{n}.self_attn.q_proj", 1152, 1152),
    "VAE": ("decoder.up.{n}.block.conv1", 512, 512),
    "ControlNet": ("controlnet_cond_embedding.blocks.{n}.conv", 96, 96),
    "FLUX of another width": ("transformer.transformer_blocks.{n}.attn.to_q", 2048, 2048),
    "small FLUX": ("lora_unet_double_blocks_{n}_img_attn_qkv", 192, 64),
    "Z-Image of another width": ("diffusion_model.layers.{n}.attention.qkv", 6144, 2048),
    "Krea of another width": ("diffusion_model.blocks.{n}.attn.wq", 4096, 4096),
    "Wan of another width": ("diffusion_model.blocks.{n}.self_attn.q", 2048, 2048),
    "Qwen of another width": ("transformer.transformer_blocks.{n}.img_mlp.net.0.proj", 8192, 2048),
    "SD 3 of another width": ("lora_unet_joint_blocks_{n}_x_block_attn_qkv", 3072, 1024),
    "Lumina of another width": ("transformer.layers.{n}.attn.to_q", 2048, 2048),
    "Ernie of another width": ("transformer.layers.{n}.self_attention.to_q", 2048, 2048),
    "nothing known": ("mystery.{n}.layer", 7, 11),
}


@pytest.mark.parametrize("kind", UNLISTED)
def test_unknown_bases_are_described(kind: str) -> None:
    template, rows, columns = UNLISTED[kind]
    shapes = {
        key: shape for n in range(6) for key, shape in peft(template.format(n=n), rows, columns).items()
    }
    origin = find_origin(shapes, {})
    assert (origin.base, origin.certainty) == ("", UNKNOWN)
    named = re.sub(r"\.\d+\.", ".N.", template.format(n="N"))
    assert f": 6 modules of width {columns}, named {named}" in origin.text and origin.text.startswith(
        "unknown"
    )


def test_at_least_forty_unlisted_kinds() -> None:
    assert len(UNLISTED) >= 40


@pytest.mark.parametrize(
    ("label", "base"),
    [
        ("Flux.1 D", "FLUX.1"),
        ("Flux.1 Kontext", "FLUX.1"),
        ("Flux.2 D", "FLUX.2"),
        ("Flux.2 Klein 9B-base", "FLUX.2"),
        ("ZImageTurbo", "Z-Image"),
        ("Krea 2", "Krea 2"),
        ("Qwen 2", "Qwen-Image"),
        ("Chroma", "Chroma"),
        ("Ideogram 4.0", "Ideogram"),
        ("HiDream-O1", "HiDream"),
        ("SD 1.5", "Stable Diffusion 1.x"),
        ("Pony", "Stable Diffusion XL"),
        ("Illustrious", "Stable Diffusion XL"),
        ("Wan Video 14B t2v", "Wan"),
        ("SD 3.5", "Stable Diffusion 3"),
        ("sd_1.5_base", "Stable Diffusion 1.x"),
        ("wan_2.1_t2v", "Wan"),
        ("Umbriatic style", ""),
        ("Other", ""),
    ],
)
def test_labels_of_hubs(label: str, base: str) -> None:
    assert find_stated(label) == base


def test_disagreements_are_stated_and_decide_nothing() -> None:
    header = {"ss_base_model_version": "sdxl_base_v1-0"}
    origin = find_origin(spell(MODELS["Krea 2"], SPELLINGS["ai-toolkit"]), header)
    header_said, label_said = origin.disagreements("Flux.1 D")
    field = "the header's ss_base_model_version = 'sdxl_base_v1-0'"
    assert header_said == f"{field} means Stable Diffusion XL, but the weights are for Krea 2"
    assert "the label 'Flux.1 D' means FLUX.1" in label_said
    assert origin.disagreements("Krea 2") == (header_said,)
    placeholder = find_origin(
        spell(MODELS["FLUX.1"], SPELLINGS["diffusers"]), {"ss_base_model_version": "sd_1.5"}
    )
    assert placeholder.disagreements() == ()


def test_header_names_the_tool_and_one_of_several_bases() -> None:
    shapes = spell(MODELS["FLUX.1"], SPELLINGS["diffusers"], is_attention)
    origin = find_origin(
        shapes, {"software": '{"name": "ai-toolkit"}', "modelspec.architecture": "chroma/lora"}
    )
    assert (origin.base, origin.writer, origin.certainty) == ("Chroma", "ai-toolkit", LIKELY)


def read_shapes(folder: Path, shapes: Shapes, metadata: dict[str, str] | None = None) -> object:
    path = folder / "lora.safetensors"
    save_file({key: torch.ones(shape) for key, shape in shapes.items()}, path, metadata)
    return read(path, FLUX_SLOTS, BOUNDS)


def few(base: str, name: str) -> Shapes:
    """Return the attention of the first blocks of a base, which is enough to tell it."""
    keep = {f".{block}." for block in (0, 1)}
    return spell(
        MODELS[base],
        SPELLINGS[name],
        lambda linear: any(part in linear for part in keep) and is_attention(linear),
    )


@pytest.mark.parametrize(
    "name", ["ai-toolkit", "ai-toolkit LoKr", "kohya", "diffusers", "PEFT", "OneTrainer DoRA"]
)
@pytest.mark.parametrize("base", ["FLUX.2-dev", "Z-Image", "Krea 2", "Wan 14B", "Ideogram 4", "Ernie-Image"])
def test_refusal_names_base_and_writer(tmp_path: Path, base: str, name: str) -> None:
    with pytest.raises(RefusedFile) as caught:
        read_shapes(tmp_path, few(base, name))
    assert caught.value.code == "wrong-base"
    assert f"{base}, by {writer_of(base, name)}; this base model is FLUX.1-dev (" in str(caught.value)


@pytest.mark.parametrize(
    "stated",
    [
        "longcat-image", "bria-fibo", "bria_fibo/lora", "briafibo", "fibo", "Bria-3.2", "bria_3.1/lora", "ovis-image",
        "my_ovis", "flex.2-preview",
    ],
)  # fmt: skip
def test_headers_of_models_like_flux_are_believed(tmp_path: Path, stated: str) -> None:
    shapes = {
        key: shape
        for key, shape in spell(MODELS["FLUX.1"], SPELLINGS["diffusers"]).items()
        if "_blocks.0." in key
    }
    with pytest.raises(RefusedFile, match=r"means (LongCat|FIBO|Bria 3|Ovis|Flex)") as caught:
        read_shapes(tmp_path, shapes, {"modelspec.architecture": stated})
    assert caught.value.code == "wrong-base"


def every_block(name: str) -> bool:
    """Return whether a module is one of a few that show all blocks."""
    return "norm1.linear" in name or "proj_out" in name


@pytest.mark.parametrize("stated", ["chroma", "flux2_klein_4b", "qwen-image", "sdxl", ""])
def test_headers_that_the_weights_disprove_are_not(tmp_path: Path, stated: str) -> None:
    shapes = spell(MODELS["FLUX.1"], SPELLINGS["diffusers"], lambda name: ".18." in name or ".37." in name)
    read_shapes(tmp_path, shapes, {"modelspec.architecture": stated})


def test_only_all_blocks_disprove_a_deeper_base(tmp_path: Path) -> None:
    """Hunyuan Video has one double block and two single ones more than FLUX.1, with the same names and shapes."""
    header = {"modelspec.architecture": "hunyuan"}
    read_shapes(tmp_path, spell(MODELS["FLUX.1"], SPELLINGS["diffusers"], every_block), header)
    some = spell(
        MODELS["FLUX.1"],
        SPELLINGS["diffusers"],
        lambda name: every_block(name) and (".18." in name or ".37." in name),
    )
    with pytest.raises(RefusedFile, match="'hunyuan' means Hunyuan") as caught:
        read_shapes(tmp_path, some, header)
    assert caught.value.code == "wrong-base"


def blocks_of(doubles: Iterable[int], singles: Iterable[int], roles: str = "qkv") -> Shapes:
    """Return the attention of some blocks, in names and shapes that FLUX.1 shares with several bases."""
    shapes: Shapes = {}
    for stack, numbers in (("transformer_blocks", doubles), ("single_transformer_blocks", singles)):
        for number in numbers:
            for role in roles:
                shapes |= peft(f"transformer.{stack}.{number}.attn.to_{role}", 3072, 3072)
    return shapes


def test_a_sure_other_base_is_refused(tmp_path: Path) -> None:
    """Ovis-Image has 6 and 27 blocks with FLUX.1's names and shapes: a LoRA of its attention fits FLUX.1."""
    with pytest.raises(
        RefusedFile, match=r"Ovis-Image, by diffusers; this base model is FLUX\.1-dev"
    ) as caught:
        read_shapes(tmp_path, blocks_of(range(6), range(27), "q"))
    assert caught.value.code == "wrong-base"
    read_shapes(tmp_path, blocks_of(range(6), range(27), "q"), {"modelspec.architecture": "flux-1-dev/lora"})


PARTS = [
    ([], [26]), ([], range(27)), ([], range(28)), ([], range(32)), (range(5), []), (range(6), []), (range(6), [26]),
    ([5], range(27)), (range(3), range(27)), ([18], [37]), ([3, 9], [*range(10), 26]), (range(19), []), ([], range(38)),
]  # fmt: skip


@pytest.mark.parametrize(("doubles", "singles"), PARTS)
def test_a_part_of_the_blocks_is_never_surely_another_base(
    doubles: Iterable[int], singles: Iterable[int]
) -> None:
    for shapes in (blocks_of(doubles, singles), others_of(doubles, singles)):
        origin = find_origin(shapes, {})
        assert origin.certainty == LIKELY or origin.base == "FLUX.1"
        assert "FLUX.1" in (origin.base, *origin.others)


def others_of(doubles: Iterable[int], singles: Iterable[int]) -> Shapes:
    """Return single modules that other bases have in one kind of blocks only."""
    shapes: Shapes = {}
    for number in doubles:
        shapes |= peft(f"transformer.transformer_blocks.{number}.norm1.linear", 18432, 3072)
    for number in singles:
        shapes |= peft(f"transformer.single_transformer_blocks.{number}.proj_out", 3072, 15360)
    return shapes


def test_random_parts_up_to_the_last_block_of_another_base_are_named_flux() -> None:
    random = Random(1)
    for last in (26, 27, 31) * 10:
        doubles = random.sample(range(5), random.randint(0, 4))
        singles = random.sample(range(last), random.randint(0, last - 1))
        origin = find_origin(blocks_of([*doubles, 5], [*singles, last], "q"), {})
        assert (origin.base, origin.certainty) == ("FLUX.1", LIKELY)
