"""Files with unusable tensors: not a LoRA for this base model, or a LoRA that other tools load without an error."""

import random
from collections.abc import Callable

import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora
from autolora.lora.slots import slots
from tests.lora.writing import BOUNDS, CONFIG, SLOTS, peft

Tensors = dict[str, Tensor]
TensorChange = Callable[[random.Random, Tensors], Tensors]
"""tensors of a valid file -> tensors of another file"""
LoraChange = Callable[[random.Random, Lora], Lora]
WIDER = {slot.name: slot for slot in slots(CONFIG | {"attention_head_dim": 16})}


def weights(tensors: Tensors) -> list[str]:
    """Return the keys of all factors."""
    return [key for key in tensors if not key.endswith(".alpha")]


def _pick(rng: random.Random, tensors: Tensors) -> str:
    return rng.choice(weights(tensors))


def _set_entry(value: float) -> TensorChange:
    """Return a change that sets one random entry of one weight to a value."""

    def change(rng: random.Random, tensors: Tensors) -> Tensors:
        key = _pick(rng, tensors)
        tensor = tensors[key].clone()
        tensor.view(-1)[rng.randrange(tensor.numel())] = value
        return tensors | {key: tensor}

    return change


def _alphas(convert: Callable[[Tensor], Tensor]) -> TensorChange:
    def change(rng: random.Random, tensors: Tensors) -> Tensors:
        return {key: convert(tensor) if key.endswith(".alpha") else tensor for key, tensor in tensors.items()}

    return change


def _drop_factor(rng: random.Random, tensors: Tensors) -> Tensors:
    dropped = _pick(rng, tensors)
    return {key: tensor for key, tensor in tensors.items() if key != dropped}


def _rename(change: Callable[[str], str]) -> TensorChange:
    return lambda rng, tensors: {change(key): tensor for key, tensor in tensors.items()}


def _rename_one(rng: random.Random, tensors: Tensors) -> Tensors:
    stem = _pick(rng, tensors).split(".lora")[0]
    return {key.replace(stem, f"{stem}_new"): tensor for key, tensor in tensors.items()}


def _add(**added: Tensor) -> TensorChange:
    return lambda rng, tensors: tensors | added


def _add_to_module(suffix: str) -> TensorChange:
    def change(rng: random.Random, tensors: Tensors) -> Tensors:
        return tensors | {_pick(rng, tensors).split(".lora")[0] + suffix: torch.ones(16)}

    return change


def _cast(dtype: torch.dtype) -> TensorChange:
    return lambda rng, tensors: tensors | {key: tensors[key].to(dtype) for key in weights(tensors)}


def _reshape(rng: random.Random, tensors: Tensors) -> Tensors:
    key = _pick(rng, tensors)
    return tensors | {key: tensors[key].reshape(1, *tensors[key].shape)}


def _duplicate_slot(rng: random.Random, tensors: Tensors) -> Tensors:
    """Add two modules in different layouts that update the same slot."""
    slot = SLOTS[0]
    lora = {slot.name: Factors(torch.ones(1, slot.d_in), torch.ones(slot.d_out, 1), 1.0)}
    return tensors | peft(lora, "") | peft(lora, "base_model.model.")


def _other_model(*patterns: str) -> TensorChange:
    """Return a change that replaces the LoRA by one for another model."""

    def change(rng: random.Random, tensors: Tensors) -> Tensors:
        modules = [pattern.format(block) for pattern in patterns for block in range(3)]
        down, up = torch.ones(4, 320), torch.ones(320, 4)
        downs = {f"{module}.lora_down.weight": down for module in modules}
        return downs | {f"{module}.lora_up.weight": up.clone() for module in modules}

    return change


ALPHA, NAN, UNKNOWN = "bad-alpha", "nan-or-inf", ("unknown-keys", "not-a-lora")
TENSORS: dict[str, tuple[TensorChange, tuple[str, ...]]] = {
    "NaN": (_set_entry(float("nan")), (NAN,)),
    "infinity": (_set_entry(float("-inf")), (NAN,)),
    "near overflow": (_set_entry(3e38), (NAN,)),
    "NaN alpha": (_alphas(lambda alpha: alpha * float("nan")), (NAN,)),
    "vector alpha": (_alphas(lambda alpha: alpha.repeat(2)), (ALPHA,)),
    "empty alpha": (_alphas(lambda alpha: torch.empty(0)), (ALPHA,)),
    "boolean alpha": (_alphas(lambda alpha: alpha > 0), (ALPHA,)),
    "zero alpha": (_alphas(torch.zeros_like), ("zero-effect",)),
    "missing factor": (_drop_factor, ("orphan",)),
    "upper-case keys": (_rename(str.upper), UNKNOWN),
    "unknown suffix": (_rename(lambda key: key.replace("weight", "wt")), UNKNOWN),
    "unknown prefix": (_rename(lambda key: "my_model/" + key), UNKNOWN),
    "one unknown module": (_rename_one, UNKNOWN),
    "int32 weights": (_cast(torch.int32), ("bad-dtype",)),
    "int8 weights": (_cast(torch.int8), ("bad-dtype", "quantized")),
    "complex weights": (_cast(torch.complex64), ("bad-dtype",)),
    "three-dimensional weight": (_reshape, ("shape-mismatch",)),
    "duplicate slot": (_duplicate_slot, ("duplicate-slot",)),
    "DoRA": (_add_to_module(".dora_scale"), ("dora",)),
    "bias": (_add_to_module(".lora_B.bias"), ("lora-bias",)),
    "weight difference": (_add_to_module(".diff"), ("weight-diff",)),
    "full model": (
        lambda rng, _: {f"{s.name}.weight": torch.zeros(s.d_out, s.d_in) for s in SLOTS},
        ("not-a-lora",),
    ),
    "Stable Diffusion 1.5": (
        _other_model("lora_unet_down_blocks_{}_attentions_0_transformer_blocks_0_attn1_to_q"), ("wrong-base",)),
    "Stable Diffusion XL": (
        _other_model("lora_unet_input_blocks_{}_1_transformer_blocks_0_attn1_to_k"), ("wrong-base",)),
    "Stable Diffusion 3": (_other_model("lora_unet_joint_blocks_{}_x_block_attn_qkv"), ("wrong-base",)),
    "Wan": (_other_model("diffusion_model.blocks.{}.self_attn.q"), ("wrong-base",)),
    "text encoder only": (
        _other_model("lora_te1_text_model_encoder_layers_{}_mlp_fc1"), ("text-encoder-only", "no-slots")),
    "no tensors": (lambda rng, _: {}, ("not-a-lora",)),
    "unrelated tensor": (_add(photos=torch.ones(3)), ("unknown-keys",)),
}  # fmt: skip
"""kind -> change of a valid file's tensors, and the expected reason codes"""


def _each(change: Callable[[random.Random, Factors], Factors]) -> LoraChange:
    return lambda rng, lora: {name: change(rng, factors) for name, factors in lora.items()}


def _cancel(rng: random.Random, f: Factors) -> Factors:
    """Return a zero update whose factors are not zero: pairs of canceling ranks, shuffled."""
    order = torch.tensor(rng.sample(range(2 * f.rank), 2 * f.rank))
    return Factors(torch.cat((f.down, f.down))[order], torch.cat((f.up, -f.up), 1)[:, order], f.scale)


def _of_rank(rank: int) -> Callable[[random.Random, Factors], Factors]:
    def change(rng: random.Random, f: Factors) -> Factors:
        return Factors(torch.ones(rank, f.down.shape[1]), torch.ones(len(f.up), rank), f.scale)

    return change


def _widen(rng: random.Random, lora: Lora) -> Lora:
    return {
        name: Factors(torch.ones(2, WIDER[name].d_in), torch.ones(WIDER[name].d_out, 2), 1.0) for name in lora
    }


def _deepen(rng: random.Random, lora: Lora) -> Lora:
    deeper = {
        s.name.replace("transformer_blocks.0", "transformer_blocks.18"): Factors(
            torch.ones(1, s.d_in), torch.ones(s.d_out, 1), 1.0
        )
        for s in SLOTS
        if s.name.startswith("transformer_blocks.0")
    }
    return lora | deeper


def _mismatch_one(rng: random.Random, lora: Lora) -> Lora:
    """Return a LoRA with a different width in one of its modules."""
    name = rng.choice(list(lora))
    return lora | _widen(rng, {name: lora[name]})


LORAS: dict[str, tuple[LoraChange, tuple[str, ...]]] = {
    "zero up": (_each(lambda rng, f: Factors(f.down, 0 * f.up, f.scale)), ("zero-effect",)),
    "zero down": (_each(lambda rng, f: Factors(-0.0 * f.down, f.up, f.scale)), ("zero-effect",)),
    "canceling ranks": (_each(_cancel), ("zero-effect",)),
    "rank 0": (_each(_of_rank(0)), ("rank-out-of-bounds",)),
    "rank above the limit": (_each(_of_rank(BOUNDS.max_rank + 1)), ("rank-out-of-bounds",)),
    "different width": (_widen, ("wrong-base",)),
    "additional blocks": (_deepen, ("wrong-base",)),
    "one mismatched module": (_mismatch_one, ("shape-mismatch",)),
}
"""kind -> change of a valid LoRA, written under diffusers' names, and the expected reason codes"""
