"""Names and shapes of the linears of base models, and the spellings of tools, for tests of autolora.lora.bases.

The numbers are those of the models in diffusers 0.42.1 (instantiated without weights), and the native names those of
the models' own code; they are written out here, and not taken from the table that is tested.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Shapes = dict[str, tuple[int, ...]]
Linear = tuple[str, int, int]
"""module within a block, rows, columns"""


@dataclass(frozen=True, slots=True)
class Model:
    """A base model: stack -> number of blocks and linears of one block, under two names."""

    native: dict[str, tuple[int, list[Linear]]]
    diffusers: dict[str, tuple[int, list[Linear]]]


def _each(names: str, rows: int, columns: int) -> list[Linear]:
    return [(name, rows, columns) for name in names.split()]


def _flux_1() -> Model:
    d = 3072
    streams = _each("img_attn.qkv txt_attn.qkv", 9216, d) + _each("img_attn.proj txt_attn.proj", d, d)
    streams += _each("img_mlp.0 txt_mlp.0", 12288, d) + _each("img_mlp.2 txt_mlp.2", d, 12288)
    streams += _each("img_mod.lin txt_mod.lin", 18432, d)
    single = [("linear1", 21504, d), ("linear2", d, 15360), ("modulation.lin", 9216, d)]
    block = _each("attn.to_q attn.to_k attn.to_v attn.to_out.0", d, d)
    block += _each("attn.add_q_proj attn.add_k_proj attn.add_v_proj attn.to_add_out", d, d)
    block += _each("ff.net.0.proj ff_context.net.0.proj", 12288, d)
    block += _each("ff.net.2 ff_context.net.2", d, 12288) + _each(
        "norm1.linear norm1_context.linear", 18432, d
    )
    alone = _each("attn.to_q attn.to_k attn.to_v", d, d)
    alone += [("proj_mlp", 12288, d), ("proj_out", d, 15360), ("norm.linear", 9216, d)]
    return Model(
        {"double_blocks": (19, streams), "single_blocks": (38, single)},
        {"transformer_blocks": (19, block), "single_transformer_blocks": (38, alone)},
    )


def _flux_2(d: int, double: int, single: int) -> Model:
    streams = _each("img_attn.qkv txt_attn.qkv", 3 * d, d) + _each("img_attn.proj txt_attn.proj", d, d)
    streams += _each("img_mlp.0 txt_mlp.0", 6 * d, d) + _each("img_mlp.2 txt_mlp.2", d, 3 * d)
    block = _each("attn.to_q attn.to_k attn.to_v attn.to_out.0", d, d)
    block += _each("attn.add_q_proj attn.add_k_proj attn.add_v_proj attn.to_add_out", d, d)
    block += _each("ff.linear_in ff_context.linear_in", 6 * d, d)
    block += _each("ff.linear_out ff_context.linear_out", d, 3 * d)
    alone = [("attn.to_qkv_mlp_proj", 9 * d, d), ("attn.to_out", d, 4 * d)]
    return Model(
        {"double_blocks": (double, streams), "single_blocks": (single, [("linear1", 9 * d, d), ("linear2", d, 4 * d)])},
        {"transformer_blocks": (double, block), "single_transformer_blocks": (single, alone)},
    )  # fmt: skip


def _next_dit(d: int, layers: int, hidden: int, out: str, modulation: Linear) -> Model:
    feed = [*_each("feed_forward.w1 feed_forward.w3", hidden, d), ("feed_forward.w2", d, hidden), modulation]
    split = _each("attention.to_q attention.to_k attention.to_v attention.to_out.0", d, d)
    return Model(
        {"layers": (layers, [("attention.qkv", 3 * d, d), (out, d, d), *feed])},
        {"layers": (layers, split + feed)},
    )


def _krea_2() -> Model:
    d = 6144
    blocks = _each("attn.wq attn.gate attn.wo", d, d) + _each("attn.wk attn.wv", 1536, d)
    blocks += [*_each("mlp.gate mlp.up", 16384, d), ("mlp.down", d, 16384)]
    block = _each("attn.to_q attn.to_gate attn.to_out.0", d, d) + _each("attn.to_k attn.to_v", 1536, d)
    block += [*_each("ff.gate ff.up", 16384, d), ("ff.down", d, 16384)]
    text = _each("attn.wq attn.wk attn.wv attn.gate attn.wo", 2560, 2560)
    text += [*_each("mlp.gate mlp.up", 6912, 2560), ("mlp.down", 2560, 6912)]
    fusion = _each("attn.to_q attn.to_k attn.to_v attn.to_gate attn.to_out.0", 2560, 2560)
    fusion += [*_each("ff.gate ff.up", 6912, 2560), ("ff.down", 2560, 6912)]
    return Model(
        {
            "blocks": (28, blocks),
            "txtfusion.layerwise_blocks": (2, text),
            "txtfusion.refiner_blocks": (2, text),
        },
        {
            "transformer_blocks": (28, block),
            "text_fusion.layerwise_blocks": (2, fusion),
            "text_fusion.refiner_blocks": (2, fusion),
        },
    )


def _one_name(stack: str, blocks: int, linears: list[Linear]) -> Model:
    return Model({stack: (blocks, linears)}, {stack: (blocks, linears)})


def _qwen() -> Model:
    d = 3072
    block = _each("attn.to_q attn.to_k attn.to_v attn.to_out.0", d, d)
    block += _each("attn.add_q_proj attn.add_k_proj attn.add_v_proj attn.to_add_out", d, d)
    block += _each("img_mlp.net.0.proj txt_mlp.net.0.proj", 12288, d)
    block += _each("img_mlp.net.2 txt_mlp.net.2", d, 12288) + _each("img_mod.1 txt_mod.1", 18432, d)
    return _one_name("transformer_blocks", 60, block)


def _qwen_21() -> Model:
    block = _each("attn.to_q attn.to_k attn.to_v attn.to_out.0", 4096, 4096)
    block += [*_each("img_mlp.proj img_mlp.gate_layer", 12288, 4096), ("img_mlp.out", 4096, 12288)]
    return _one_name("transformer_blocks", 32, block)


def _sd_3(d: int, blocks: int) -> Model:
    joint = _each("x_block.attn.qkv context_block.attn.qkv", 3 * d, d)
    joint += _each("x_block.attn.proj x_block.mlp.fc2", d, d)[:1] + _each("x_block.mlp.fc1", 4 * d, d)
    block = _each("attn.to_q attn.to_k attn.to_v attn.to_out.0 attn.add_q_proj attn.add_k_proj", d, d)
    block += [("ff.net.0.proj", 4 * d, d), ("ff.net.2", d, 4 * d)]
    return Model({"joint_blocks": (blocks, joint)}, {"transformer_blocks": (blocks, block)})


def _wan(d: int, blocks: int, hidden: int) -> Model:
    names = [f"{kind}_attn.{part}" for kind in ("self", "cross") for part in "qkvo"]
    split = [f"{kind}.to_{part}" for kind in ("attn1", "attn2") for part in ("q", "k", "v", "out.0")]
    feed = [("ffn.0", hidden, d), ("ffn.2", d, hidden)]
    other = [("ffn.net.0.proj", hidden, d), ("ffn.net.2", d, hidden)]
    return Model(
        {"blocks": (blocks, _each(" ".join(names), d, d) + feed)},
        {"blocks": (blocks, _each(" ".join(split), d, d) + other)},
    )


def _ernie() -> Model:
    attention = "self_attention.to_q self_attention.to_k self_attention.to_v self_attention.to_out.0"
    layer = [*_each("mlp.gate_proj mlp.up_proj", 8192, 3072), ("mlp.linear_fc2", 3072, 8192)]
    return _one_name("layers", 24, _each(attention, 3072, 3072) + layer)


def _hidream() -> Model:
    names = "block.attn1.to_q block.attn1.to_k block.attn1.to_v block.attn1.to_out"
    stacks = {
        "double_stream_blocks": (16, _each(names, 2560, 2560)),
        "single_stream_blocks": (32, _each(names, 2560, 2560)),
    }
    return Model(stacks, stacks)  # fmt: skip


MODELS: dict[str, Model] = {
    "FLUX.1": _flux_1(),
    "FLUX.2-dev": _flux_2(6144, 8, 48),
    "FLUX.2-klein 9B": _flux_2(4096, 8, 24),
    "FLUX.2-klein 4B": _flux_2(3072, 5, 20),
    "Z-Image": _next_dit(3840, 30, 10240, "attention.out", ("adaLN_modulation.0", 15360, 256)),
    "Krea 2": _krea_2(),
    "Qwen-Image": _qwen(),
    "Qwen-Image-2.1": _qwen_21(),
    "Stable Diffusion 3 Medium": _sd_3(1536, 24),
    "Stable Diffusion 3.5 Large": _sd_3(2432, 38),
    "Wan 14B": _wan(5120, 40, 13824),
    "Wan 5B": _wan(3072, 30, 14336),
    "Wan 1.3B": _wan(1536, 30, 8960),
    "Ideogram 4": _next_dit(4608, 34, 12288, "attention.o", ("adaln_modulation", 18432, 512)),
    "Ernie-Image": _ernie(),
    "HiDream-I1": _hidream(),
}
SD_SCRIPTS = {"FLUX.1", "Stable Diffusion 3 Medium", "Stable Diffusion 3.5 Large"}
"""bases that kohya's sd-scripts trains; musubi-tuner trains the others"""


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a tool names tensors."""

    writer: str
    """kohya: sd-scripts or musubi-tuner, depending on the base"""
    prefix: str
    is_native: bool = True
    is_flat: bool = False
    roles: Callable[[str, int, int], Shapes] = lambda path, rows, columns: peft(path, rows, columns)


def peft(path: str, rows: int, columns: int, name: str = "") -> Shapes:
    return {f"{path}.lora_A{name}.weight": (8, columns), f"{path}.lora_B{name}.weight": (rows, 8)}


def kohya(path: str, rows: int, columns: int) -> Shapes:
    return {
        f"{path}.lora_down.weight": (8, columns),
        f"{path}.lora_up.weight": (rows, 8),
        f"{path}.alpha": (),
    }


def old(path: str, rows: int, columns: int) -> Shapes:
    return {f"{path}.lora.down.weight": (8, columns), f"{path}.lora.up.weight": (rows, 8)}


def lokr(path: str, rows: int, columns: int) -> Shapes:
    return {f"{path}.lokr_w1": (8, 8), f"{path}.lokr_w2": (rows // 8, columns // 8), f"{path}.alpha": ()}


def dora(path: str, rows: int, columns: int) -> Shapes:
    return kohya(path, rows, columns) | {f"{path}.dora_scale": (rows, 1)}


def named(path: str, rows: int, columns: int) -> Shapes:
    return peft(path, rows, columns, ".style")


SPELLINGS: dict[str, Spelling] = {
    "ai-toolkit": Spelling("ai-toolkit", "diffusion_model."),
    "ai-toolkit LoKr": Spelling("ai-toolkit", "diffusion_model.", roles=lokr),
    "kohya": Spelling("kohya", "lora_unet_", is_flat=True, roles=kohya),
    "kohya, diffusers' names": Spelling("kohya", "lora_unet_", is_native=False, is_flat=True, roles=kohya),
    "two underscores": Spelling("a converter to kohya's names", "lora_unet__", is_flat=True, roles=kohya),
    "diffusers": Spelling("diffusers", "transformer.", is_native=False),
    "PEFT": Spelling("PEFT", "base_model.model.", is_native=False),
    "PEFT, native": Spelling("PEFT", "base_model.model."),
    "PEFT, named adapter": Spelling("PEFT", "", is_native=False, roles=named),
    "SimpleTuner": Spelling("LyCORIS (SimpleTuner)", "lycoris_", is_native=False, is_flat=True, roles=lokr),
    "OneTrainer": Spelling("OneTrainer", "lora_transformer_", is_native=False, is_flat=True, roles=kohya),
    "OneTrainer, newer": Spelling("OneTrainer", "transformer.", is_native=False, roles=kohya),
    "OneTrainer DoRA": Spelling("OneTrainer", "lora_transformer_", is_native=False, is_flat=True, roles=dora),
    "ComfyUI": Spelling("ComfyUI", "diffusion_model.", roles=kohya),
    "no prefix": Spelling("PEFT without a prefix", "", is_native=False),
    "old diffusers": Spelling("early diffusers", "transformer.", is_native=False, roles=old),
}


def linears(model: Model, *, is_native: bool) -> Iterator[Linear]:
    """Yield the linears of all blocks, with their full names."""
    for stack, (blocks, block) in (model.native if is_native else model.diffusers).items():
        for number in range(blocks):
            yield from ((f"{stack}.{number}.{name}", rows, columns) for name, rows, columns in block)


def spell(model: Model, spelling: Spelling, keep: Callable[[str], bool] = lambda name: True) -> Shapes:
    """Return the shapes of a file's tensors, by key. keep: which linears the file updates, by name."""
    shapes: Shapes = {}
    for name, rows, columns in linears(model, is_native=spelling.is_native):
        if keep(name):
            path = spelling.prefix + (name.replace(".", "_") if spelling.is_flat else name)
            shapes |= spelling.roles(path, rows, columns)
    return shapes
