"""Files whose tensors are odd: no LoRA for this base model, or one that another tool would take without a word."""

import random
from collections.abc import Callable

import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora
from autolora.slots import slots
from tests.lora.writing import BOUNDS, CONFIG, SLOTS, peft

Tensors = dict[str, Tensor]
Damage = Callable[[random.Random, Tensors], Tensors]
"""the tensors of a valid file -> those of an odd one"""
Redraw = Callable[[random.Random, Lora], Lora]
WIDER = {slot.name: slot for slot in slots(CONFIG | {"attention_head_dim": 16})}


def weights(tensors: Tensors) -> list[str]:
    """Return the keys of all downs and ups."""
    return [key for key in tensors if not key.endswith(".alpha")]


def _pick(rng: random.Random, tensors: Tensors) -> str:
    return rng.choice(weights(tensors))


def _spoil(value: float) -> Damage:
    """Return a damage that puts one value somewhere into one weight."""

    def damage(rng: random.Random, tensors: Tensors) -> Tensors:
        key = _pick(rng, tensors)
        spoilt = tensors[key].clone()
        spoilt.view(-1)[rng.randrange(spoilt.numel())] = value
        return tensors | {key: spoilt}

    return damage


def _alphas(change: Callable[[Tensor], Tensor]) -> Damage:
    def damage(rng: random.Random, tensors: Tensors) -> Tensors:
        return {key: change(tensor) if key.endswith(".alpha") else tensor for key, tensor in tensors.items()}

    return damage


def _drop_half(rng: random.Random, tensors: Tensors) -> Tensors:
    gone = _pick(rng, tensors)
    return {key: tensor for key, tensor in tensors.items() if key != gone}


def _rename(change: Callable[[str], str]) -> Damage:
    return lambda rng, tensors: {change(key): tensor for key, tensor in tensors.items()}


def _rename_one(rng: random.Random, tensors: Tensors) -> Tensors:
    stem = _pick(rng, tensors).split(".lora")[0]
    return {key.replace(stem, f"{stem}_neu"): tensor for key, tensor in tensors.items()}


def _add(**more: Tensor) -> Damage:
    return lambda rng, tensors: tensors | more


def _add_to_module(suffix: str) -> Damage:
    def damage(rng: random.Random, tensors: Tensors) -> Tensors:
        return tensors | {_pick(rng, tensors).split(".lora")[0] + suffix: torch.ones(16)}

    return damage


def _cast(dtype: torch.dtype) -> Damage:
    return lambda rng, tensors: tensors | {key: tensors[key].to(dtype) for key in weights(tensors)}


def _reshape(rng: random.Random, tensors: Tensors) -> Tensors:
    key = _pick(rng, tensors)
    return tensors | {key: tensors[key].reshape(1, *tensors[key].shape)}


def _twice(rng: random.Random, tensors: Tensors) -> Tensors:
    slot = SLOTS[0]
    one, other = Factors(torch.ones(1, slot.d_in), torch.ones(slot.d_out, 1), 1.0), slot.name
    return tensors | peft({other: one}, "") | peft({other: one}, "base_model.model.")


def _foreign(*patterns: str) -> Damage:
    """Return a damage that puts another model's LoRA in place of this one."""

    def damage(rng: random.Random, tensors: Tensors) -> Tensors:
        modules = [pattern.format(block) for pattern in patterns for block in range(3)]
        down, up = torch.ones(4, 320), torch.ones(320, 4)
        found = {f"{module}.lora_down.weight": down for module in modules}
        return found | {f"{module}.lora_up.weight": up.clone() for module in modules}

    return damage


ALPHA, NAN, UNKNOWN = "bad-alpha", "nan-or-inf", ("unknown-keys", "not-a-lora")
TENSORS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "nan": (_spoil(float("nan")), (NAN,)),
    "infinity": (_spoil(float("-inf")), (NAN,)),
    "near overflow": (_spoil(3e38), (NAN,)),
    "alpha nan": (_alphas(lambda alpha: alpha * float("nan")), (NAN,)),
    "alpha a vector": (_alphas(lambda alpha: alpha.repeat(2)), (ALPHA,)),
    "alpha empty": (_alphas(lambda alpha: torch.empty(0)), (ALPHA,)),
    "alpha boolean": (_alphas(lambda alpha: alpha > 0), (ALPHA,)),
    "alpha zero": (_alphas(torch.zeros_like), ("zero-effect",)),
    "orphan half": (_drop_half, ("orphan",)),
    "upper case": (_rename(str.upper), UNKNOWN),
    "odd suffix": (_rename(lambda key: key.replace("weight", "wt")), UNKNOWN),
    "odd prefix": (_rename(lambda key: "my_model/" + key), UNKNOWN),
    "one odd module": (_rename_one, UNKNOWN),
    "whole numbers": (_cast(torch.int32), ("bad-dtype",)),
    "bytes": (_cast(torch.int8), ("bad-dtype", "quantized")),
    "complex": (_cast(torch.complex64), ("bad-dtype",)),
    "three dimensions": (_reshape, ("shape-mismatch",)),
    "two claim one slot": (_twice, ("slot-twice",)),
    "DoRA": (_add_to_module(".dora_scale"), ("dora",)),
    "bias": (_add_to_module(".lora_B.bias"), ("lora-bias",)),
    "difference beside it": (_add_to_module(".diff"), ("weight-diff",)),
    "full model": (
        lambda rng, _: {f"{s.name}.weight": torch.zeros(s.d_out, s.d_in) for s in SLOTS},
        ("not-a-lora",),
    ),
    "Stable Diffusion 1.5": (
        _foreign("lora_unet_down_blocks_{}_attentions_0_transformer_blocks_0_attn1_to_q"), ("wrong-base",)),
    "Stable Diffusion XL": (
        _foreign("lora_unet_input_blocks_{}_1_transformer_blocks_0_attn1_to_k"), ("wrong-base",)),
    "Stable Diffusion 3": (_foreign("lora_unet_joint_blocks_{}_x_block_attn_qkv"), ("wrong-base",)),
    "Wan": (_foreign("diffusion_model.blocks.{}.self_attn.q"), ("wrong-base",)),
    "text encoder alone": (
        _foreign("lora_te1_text_model_encoder_layers_{}_mlp_fc1"), ("text-encoder-only", "no-slots")),
    "no tensors": (lambda rng, _: {}, ("not-a-lora",)),
    "a stranger's tensors": (_add(photos=torch.ones(3)), ("unknown-keys",)),
}  # fmt: skip
"""kind -> what is done to the tensors of a valid file, and the codes that it may be refused with"""


def _each(change: Callable[[random.Random, Factors], Factors]) -> Redraw:
    return lambda rng, lora: {name: change(rng, factors) for name, factors in lora.items()}


def _cancel(rng: random.Random, f: Factors) -> Factors:
    """Return an update of zero of which neither factor is zero, its ranks shuffled."""
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
    more = {
        s.name.replace("transformer_blocks.0", "transformer_blocks.18"): Factors(
            torch.ones(1, s.d_in), torch.ones(s.d_out, 1), 1.0
        )
        for s in SLOTS
        if s.name.startswith("transformer_blocks.0")
    }
    return lora | more


def _misfit(rng: random.Random, lora: Lora) -> Lora:
    """Return a LoRA of which one module in many has another width."""
    name = rng.choice(list(lora))
    return lora | _widen(rng, {name: lora[name]})


LORAS: dict[str, tuple[Redraw, tuple[str, ...]]] = {
    "up zero": (_each(lambda rng, f: Factors(f.down, 0 * f.up, f.scale)), ("zero-effect",)),
    "down zero": (_each(lambda rng, f: Factors(-0.0 * f.down, f.up, f.scale)), ("zero-effect",)),
    "ranks that cancel": (_each(_cancel), ("zero-effect",)),
    "rank 0": (_each(_of_rank(0)), ("rank-out-of-bounds",)),
    "rank too high": (_each(_of_rank(BOUNDS.max_rank + 1)), ("rank-out-of-bounds",)),
    "another width": (_widen, ("wrong-base",)),
    "more blocks": (_deepen, ("wrong-base",)),
    "one module misfits": (_misfit, ("shape-mismatch",)),
}
"""kind -> another LoRA in place of a valid one, under diffusers' names, and the codes that it may be refused with"""
