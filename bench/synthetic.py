"""Synthetic LoRAs with the real shapes of FLUX.1-dev and known themes.

An adapter's update of a linear is strength · Σ √share · signal, a sum of four low-rank signals. The share is the
fraction of the update's energy ‖ΔW‖²:

* common: in all adapters and all blocks
* author: in all adapters of one author, whatever their theme; it competes with the theme for the nearest neighbor
* theme: only in the theme's blocks; its share is the independent variable of the experiment
* own: the rest

The directions of a signal are random and nearly orthogonal; their energies follow a power law. The strength of a
linear is log-normal over kinds of linears, blocks and adapters. The factors are rotated, so that no rank of a file
belongs to a single signal. `down` has the scale of Kaiming initialization, and `up` determines the norm. Files are
bfloat16, in diffusers' layout (each linear has its own `down`) or kohya's (the parts of a fused linear share one).

Random numbers are drawn from SFC64, seeded with the sha256 of their name, so the order of drawing does not matter.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolora.lora.factors import Factors, Lora
from autolora.lora.formats import BFL_DOUBLE, BFL_SINGLE
from autolora.lora.slots import FusedSlot, Slot, fused_slots
from autolora.storage.arrays import Float32Array

SUBSETS = {"attention": (".attn.",), "attention+ff": (".attn.", ".ff", ".proj_"), "all": (".",)}
"""subset -> substrings of the names of the linears that an adapter trains"""
COMMON, AUTHOR = 0.03, 0.02
"""shares of the common and the author's signal in an adapter's energy"""
THEME_RANK = 4
THEME_BLOCKS = 0.6
"""share of the blocks in which a theme is present"""
THEME_SPREAD, TYPE_SPREAD, SLOT_SPREAD = 0.35, 0.5, 0.4
"""standard deviations of logarithms: of a theme's share over its adapters, of norms over kinds and over slots"""
NORM = 0.3
"""median ‖ΔW‖ of a linear"""
DECAY = 1.2
"""relative energies of a signal's directions: 1, 2^-DECAY, 3^-DECAY, …"""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """Parameters of a synthetic pool of adapters, which is drawn with the seed."""

    transformer: dict[str, int]
    shares: tuple[float, ...]
    """energy shares of themes in their adapters, assigned to the themes in turn"""
    themes: int
    authors: int
    adapters: int
    ranks: tuple[int, ...]
    """ranks of the adapters, assigned in turn and shuffled; a repeated rank is more frequent"""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSpec:
    """Parameters of one synthetic adapter."""

    number: int
    theme: int
    author: int
    share: float
    """of the theme in the adapter's energy"""
    rank: int
    layout: str
    """peft or kohya"""
    subset: str
    alpha: float
    """alpha / rank"""


def list_adapters(pool_spec: PoolSpec) -> list[AdapterSpec]:
    """Return the parameters of all adapters: themes are assigned in turn, other properties are shuffled."""
    generator = random(f"{pool_spec.seed}|recipes")
    count = pool_spec.adapters
    ranks = _shuffled(pool_spec.ranks, count, generator)
    subsets = _shuffled(("attention",) * 5 + ("attention+ff",) * 3 + ("all",) * 2, count, generator)
    layouts = _shuffled(("peft", "kohya"), count, generator)
    authors = _shuffled(tuple(range(pool_spec.authors)), count, generator)
    spread = np.exp(THEME_SPREAD * generator.standard_normal(count))
    return [
        AdapterSpec(
            number=number,
            theme=number % pool_spec.themes,
            author=authors[number],
            share=min(
                0.9,
                float(pool_spec.shares[number % pool_spec.themes % len(pool_spec.shares)] * spread[number]),
            ),
            rank=ranks[number],
            layout=layouts[number],
            subset=subsets[number],
            alpha=(1.0, 0.5)[number // pool_spec.themes % 2],
        )
        for number in range(count)
    ]


def draw_lora(adapter: AdapterSpec, pool_spec: PoolSpec) -> Lora:
    """Return an adapter's factors in bfloat16, by canonical slot."""
    return {
        slot.name: factors
        for fused in fused_slots(pool_spec.transformer)
        for slot, factors in draw_fused(adapter, pool_spec, fused)
    }


def draw_fused(adapter: AdapterSpec, pool_spec: PoolSpec, fused: FusedSlot) -> Iterator[tuple[Slot, Factors]]:
    """Yield the parts of one fused slot that the adapter trains, with their factors."""
    trained = [part for part in fused.parts if any(mark in part.name for mark in SUBSETS[adapter.subset])]
    if trained and adapter.layout == "kohya":
        down, up = _draw_module(adapter, pool_spec, fused, fused.parts, fused.name)
        rows = torch.split(up, [part.d_out for part in fused.parts])
        for part, part_rows in zip(fused.parts, rows, strict=True):
            yield part, Factors(down, part_rows, adapter.alpha)
        return
    for part in trained:
        down, up = _draw_module(adapter, pool_spec, fused, (part,), part.name)
        yield part, Factors(down, up, adapter.alpha)


def lay_out(lora: Lora, adapter: AdapterSpec, pool_spec: PoolSpec) -> dict[str, Tensor]:
    """Return the tensors of the adapter's file, in its layout."""
    return lay_out_kohya(lora, pool_spec) if adapter.layout == "kohya" else lay_out_peft(lora)


def lay_out_peft(
    lora: Lora,
    prefix: str = "transformer.",
    names: tuple[str, str] = ("lora_A", "lora_B"),
    separator: str = ".",
) -> dict[str, Tensor]:
    """Return a LoRA's tensors by canonical slot, under diffusers' names or names derived from them."""
    tensors: dict[str, Tensor] = {}
    for name, factors in lora.items():
        module = prefix + name.replace(".", separator)
        # cloned, since parts may share `down`, but tensors of a file must not share memory
        tensors[f"{module}.{names[0]}.weight"] = factors.down.clone()
        tensors[f"{module}.{names[1]}.weight"] = factors.up.clone()
        tensors[f"{module}.alpha"] = torch.tensor(factors.scale * factors.rank)
    return tensors


def lay_out_kohya(lora: Lora, pool_spec: PoolSpec) -> dict[str, Tensor]:
    """Return the tensors of a LoRA under sd-scripts' names; the parts of each fused slot must share `down`."""
    names = {suffix: name.replace(".", "_") for name, suffix in (BFL_DOUBLE | BFL_SINGLE).items()}
    tensors: dict[str, Tensor] = {}
    for fused in fused_slots(pool_spec.transformer):
        parts = [lora[part.name] for part in fused.parts if part.name in lora]
        if parts:
            stack, block, suffix = fused.name.split(".", 2)
            stack = {"blocks": "double_blocks"}.get(stack, stack)
            module = f"lora_unet_{stack}_{block}_{names[suffix]}"
            tensors[f"{module}.lora_down.weight"] = parts[0].down
            tensors[f"{module}.lora_up.weight"] = torch.cat([part.up for part in parts])
            tensors[f"{module}.alpha"] = torch.tensor(parts[0].scale * parts[0].rank)
    return tensors


def random(name: str) -> np.random.Generator:
    """Return an SFC64 generator seeded with the name's sha256."""
    return np.random.Generator(np.random.SFC64(_seed(name)))


def rotation(name: str, rank: int) -> Tensor:
    """Return a random rotation (rank, rank)."""
    matrix = torch.from_numpy(random(name).standard_normal((rank, rank), dtype=np.float32))
    factors: tuple[Tensor, Tensor] = torch.linalg.qr(matrix)
    return factors[0]


def _draw_module(
    adapter: AdapterSpec, pool_spec: PoolSpec, fused: FusedSlot, parts: Sequence[Slot], name: str
) -> tuple[Tensor, Tensor]:
    """Return down (r, d_in) and up (d_out, r) of one module that updates `parts`, in bfloat16."""
    first, d_out = parts[0].row, sum(part.d_out for part in parts)
    downs: list[Float32Array] = []
    ups: list[Float32Array] = []
    energies: list[NDArray[np.float64]] = []
    for signal, count, energy in _signals(adapter, pool_spec, fused.name):
        if signal.startswith("own"):
            down, up = _directions(f"{pool_spec.seed}|{signal}|{name}", count, fused.d_in, d_out)
        else:
            down, up = _directions(
                f"{pool_spec.seed}|{signal}|{fused.name}", THEME_RANK, fused.d_in, fused.d_out
            )
            up = up[:, first : first + d_out]
        downs.append(down[:count])
        ups.append(up[:count])
        energies.append(energy)
    rotation_matrix = rotation(f"{pool_spec.seed}|turn|{adapter.number}", adapter.rank)
    norm = NORM * _strength(adapter, pool_spec, fused.type, name) / adapter.alpha
    sizes = torch.from_numpy(np.sqrt(np.concatenate(energies))).float() * norm * math.sqrt(3 / fused.d_out)
    mixed_down = (rotation_matrix / math.sqrt(3 * fused.d_in)) @ torch.from_numpy(np.concatenate(downs))
    mixed_up = torch.from_numpy(np.concatenate(ups)).T @ (sizes[:, None] * rotation_matrix.T)
    return mixed_down.bfloat16(), mixed_up.bfloat16()


def _signals(
    adapter: AdapterSpec, pool_spec: PoolSpec, fused: str
) -> Iterator[tuple[str, int, NDArray[np.float64]]]:
    """Yield the name, the number of directions and their energies of each signal of an adapter in a slot."""
    theme_rank = max(1, min(THEME_RANK, adapter.rank // 4))
    share = adapter.share if _theme_is_in(adapter.theme, pool_spec.seed, fused) else 0.0
    yield "common", 1, np.array([COMMON])
    yield f"author|{adapter.author}", 1, np.array([AUTHOR])
    yield f"theme|{adapter.theme}", theme_rank, share * _power_law(theme_rank)
    own = adapter.rank - theme_rank - 2
    yield f"own|{adapter.number}", own, max(0.0, 1 - COMMON - AUTHOR - share) * _power_law(own)


@lru_cache(maxsize=1 << 16)
def _theme_is_in(theme: int, seed: int, fused: str) -> bool:
    block = ".".join(fused.split(".")[:2])
    return bool(random(f"{seed}|lives|{theme}|{block}").random() < THEME_BLOCKS)


def _strength(adapter: AdapterSpec, pool_spec: PoolSpec, kind: str, name: str) -> float:
    """Return the relative strength of an adapter in a slot, with median 1."""
    of_kind = random(f"{pool_spec.seed}|kind|{kind}").standard_normal()
    of_slot = random(f"{pool_spec.seed}|slot|{adapter.number}|{name}").standard_normal()
    return math.exp(TYPE_SPREAD * of_kind + SLOT_SPREAD * of_slot)


def _directions(name: str, count: int, d_in: int, d_out: int) -> tuple[Float32Array, Float32Array]:
    """Return `count` random input and output directions (count, d_in) and (count, d_out), entries with variance 1."""
    total = count * (d_in + d_out)
    words = np.random.SFC64(_seed(name)).random_raw(-(-total // 4))
    entries = words.view(np.int16)[:total].astype(np.float32)
    entries *= np.float32(math.sqrt(12) / 65536)
    down, up = np.split(entries, [count * d_in])
    return down.reshape(count, d_in), up.reshape(count, d_out)


def _power_law(count: int) -> NDArray[np.float64]:
    """Return energies (count,) that follow a decreasing power law and sum to 1."""
    energies: NDArray[np.float64] = np.arange(1, count + 1, dtype=np.float64) ** -DECAY
    energies /= energies.sum()
    return energies


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")


def _shuffled(values: Sequence[Value], count: int, generator: np.random.Generator) -> list[Value]:
    """Return `count` values, taken in turn and shuffled."""
    repeated = [value for value, _ in zip(cycle(values), range(count), strict=False)]
    return [repeated[int(index)] for index in generator.permutation(count)]
