"""Synthetic LoRAs at the real shapes of FLUX.1-dev, with planted themes.

One adapter's update of one linear is strength · Σ √share · signal, over four signals of low rank:

* common: what every adapter has, in every block
* author: what one trainer's adapters have, whatever their theme: it competes with the theme for nearest
* theme: in the theme's own blocks only; its share of the energy is the dial of the experiment
* own: the rest

A signal's directions are random and all but orthogonal; its energies fall as a power law. How strong a linear is
spreads log-normally over kinds of linear, blocks and adapters. The factors are mixed by a rotation, so that
no rank of a file belongs to one signal, `down` has the size of kaiming's initial values, and `up` carries the norm.
Files are bfloat16, in diffusers' layout (every linear its own `down`) or kohya's (fused linears share one).

Every number is drawn from SFC64 seeded by the sha256 of its name: nothing depends on order.
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
from autolora.slots import FusedSlot, Slot, fused_slots

FLUX_DEV = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128}
SUBSETS = {"attention": (".attn.",), "attention+ff": (".attn.", ".ff", ".proj_"), "all": (".",)}
"""which linears an adapter trains: parts of their names"""
COMMON, AUTHOR = 0.03, 0.02
"""shares of an adapter's energy"""
THEME_RANK = 4
THEME_BLOCKS = 0.6
"""share of the blocks that a theme lives in"""
THEME_SPREAD, TYPE_SPREAD, SLOT_SPREAD = 0.35, 0.5, 0.4
"""standard deviations of the logarithm: of a theme's share over its adapters, of norms over kinds and over slots"""
NORM = 0.3
"""‖ΔW‖ of a middling linear"""
DECAY = 1.2
"""energies of a signal's directions: 1, 2^-DECAY, 3^-DECAY, …"""

Floats = NDArray[np.float32]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """How many adapters there are, of how many themes and authors, and of which ranks; drawn by its seed."""

    transformer: dict[str, int]
    shares: tuple[float, ...]
    """energy share of a theme in its own adapters; themes take them in turn"""
    themes: int
    authors: int
    adapters: int
    ranks: tuple[int, ...]
    """adapters take them in turn, after a shuffle: write one twice to have it twice as often"""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One adapter: everything that it is drawn from."""

    number: int
    theme: int
    author: int
    share: float
    """of its energy that is its theme's"""
    rank: int
    layout: str
    """peft or kohya"""
    subset: str
    alpha: float
    """in ranks: 1 is alpha = rank"""


def write_recipes(world: World) -> list[Recipe]:
    """Return the recipes of all adapters: themes in turn, everything else shuffled over them."""
    draw = random(f"{world.seed}|recipes")
    count = world.adapters
    ranks = _shuffled(world.ranks, count, draw)
    subsets = _shuffled(("attention",) * 5 + ("attention+ff",) * 3 + ("all",) * 2, count, draw)
    layouts = _shuffled(("peft", "kohya"), count, draw)
    authors = _shuffled(tuple(range(world.authors)), count, draw)
    spread = np.exp(THEME_SPREAD * draw.standard_normal(count))
    return [
        Recipe(
            number=number,
            theme=number % world.themes,
            author=authors[number],
            share=min(0.9, float(world.shares[number % world.themes % len(world.shares)] * spread[number])),
            rank=ranks[number],
            layout=layouts[number],
            subset=subsets[number],
            alpha=(1.0, 0.5)[number // world.themes % 2],
        )
        for number in range(count)
    ]


def draw_lora(recipe: Recipe, world: World) -> Lora:
    """Return an adapter's factors in bfloat16, by canonical slot."""
    return {
        slot.name: factors
        for fused in fused_slots(world.transformer)
        for slot, factors in draw_fused(recipe, world, fused)
    }


def draw_fused(recipe: Recipe, world: World, fused: FusedSlot) -> Iterator[tuple[Slot, Factors]]:
    """Yield the factors of the parts of one fused slot that the adapter trains."""
    trained = [part for part in fused.parts if any(mark in part.name for mark in SUBSETS[recipe.subset])]
    if trained and recipe.layout == "kohya":
        down, up = _draw_module(recipe, world, fused, fused.parts, fused.name)
        rows = up.split([part.d_out for part in fused.parts])
        for part, part_rows in zip(fused.parts, rows, strict=True):
            yield part, Factors(down, part_rows, recipe.alpha)
        return
    for part in trained:
        down, up = _draw_module(recipe, world, fused, (part,), part.name)
        yield part, Factors(down, up, recipe.alpha)


def lay_out(lora: Lora, recipe: Recipe, world: World) -> dict[str, Tensor]:
    """Return the tensors of a file with this adapter, in its layout."""
    return lay_out_kohya(lora, world) if recipe.layout == "kohya" else lay_out_peft(lora)


def lay_out_peft(
    lora: Lora, prefix: str = "transformer.", names: tuple[str, str] = ("lora_A", "lora_B"), mark: str = "."
) -> dict[str, Tensor]:
    """Return a LoRA's tensors by canonical slot, under diffusers' names or a relative of them."""
    tensors: dict[str, Tensor] = {}
    for name, factors in lora.items():
        module = prefix + name.replace(".", mark)
        # parts may share their `down`; keys of a file may not
        tensors[f"{module}.{names[0]}.weight"] = factors.down.clone()
        tensors[f"{module}.{names[1]}.weight"] = factors.up.clone()
        tensors[f"{module}.alpha"] = torch.tensor(factors.scale * factors.rank)
    return tensors


def lay_out_kohya(lora: Lora, world: World) -> dict[str, Tensor]:
    """Return the tensors of a LoRA whose fused slots' parts share their `down`, under sd-scripts' names."""
    names = {suffix: name.replace(".", "_") for name, suffix in (BFL_DOUBLE | BFL_SINGLE).items()}
    tensors: dict[str, Tensor] = {}
    for fused in fused_slots(world.transformer):
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
    """Return the generator of this name: SFC64, seeded by the name's sha256."""
    return np.random.Generator(np.random.SFC64(_seed(name)))


def rotation(name: str, rank: int) -> Tensor:
    """Return a random rotation (rank, rank)."""
    drawn = torch.from_numpy(random(name).standard_normal((rank, rank), dtype=np.float32))
    return torch.linalg.qr(drawn).Q


def _draw_module(
    recipe: Recipe, world: World, fused: FusedSlot, parts: Sequence[Slot], name: str
) -> tuple[Tensor, Tensor]:
    """Return down (r, d_in) and up (d_out, r) of one module that feeds `parts`, in bfloat16."""
    first, d_out = parts[0].row, sum(part.d_out for part in parts)
    downs: list[Floats] = []
    ups: list[Floats] = []
    energies: list[NDArray[np.float64]] = []
    for signal, count, energy in _signals(recipe, world, fused.name):
        if signal.startswith("own"):
            down, up = _directions(f"{world.seed}|{signal}|{name}", count, fused.d_in, d_out)
        else:
            down, up = _directions(f"{world.seed}|{signal}|{fused.name}", THEME_RANK, fused.d_in, fused.d_out)
            up = up[:, first : first + d_out]
        downs.append(down[:count])
        ups.append(up[:count])
        energies.append(energy)
    turn = rotation(f"{world.seed}|turn|{recipe.number}", recipe.rank)
    norm = NORM * _strength(recipe, world, fused.type, name) / recipe.alpha
    sizes = torch.from_numpy(np.sqrt(np.concatenate(energies))).float() * norm * math.sqrt(3 / fused.d_out)
    mixed_down = (turn / math.sqrt(3 * fused.d_in)) @ torch.from_numpy(np.concatenate(downs))
    mixed_up = torch.from_numpy(np.concatenate(ups)).T @ (sizes[:, None] * turn.T)
    return mixed_down.bfloat16(), mixed_up.bfloat16()


def _signals(recipe: Recipe, world: World, fused: str) -> Iterator[tuple[str, int, NDArray[np.float64]]]:
    """Yield name, number of directions and their energies, of the signals that an adapter has in a slot."""
    theme_rank = max(1, min(THEME_RANK, recipe.rank // 4))
    share = recipe.share if _lives_in(recipe.theme, world.seed, fused) else 0.0
    yield "common", 1, np.array([COMMON])
    yield f"author|{recipe.author}", 1, np.array([AUTHOR])
    yield f"theme|{recipe.theme}", theme_rank, share * _falling(theme_rank)
    own = recipe.rank - theme_rank - 2
    yield f"own|{recipe.number}", own, max(0.0, 1 - COMMON - AUTHOR - share) * _falling(own)


@lru_cache(maxsize=1 << 16)
def _lives_in(theme: int, seed: int, fused: str) -> bool:
    block = ".".join(fused.split(".")[:2])
    return bool(random(f"{seed}|lives|{theme}|{block}").random() < THEME_BLOCKS)


def _strength(recipe: Recipe, world: World, kind: str, name: str) -> float:
    """Return how strong an adapter is in a slot, around 1."""
    of_kind = random(f"{world.seed}|kind|{kind}").standard_normal()
    of_slot = random(f"{world.seed}|slot|{recipe.number}|{name}").standard_normal()
    return math.exp(TYPE_SPREAD * of_kind + SLOT_SPREAD * of_slot)


def _directions(name: str, count: int, d_in: int, d_out: int) -> tuple[Floats, Floats]:
    """Return `count` random directions in input and output (count, d_in) and (count, d_out), entries of variance 1."""
    total = count * (d_in + d_out)
    words = np.random.SFC64(_seed(name)).random_raw(-(-total // 4))
    drawn = words.view(np.int16)[:total].astype(np.float32)
    drawn *= np.float32(math.sqrt(12) / 65536)
    down, up = np.split(drawn, [count * d_in])
    return down.reshape(count, d_in), up.reshape(count, d_out)


def _falling(count: int) -> NDArray[np.float64]:
    """Return energies (count,) that fall as a power law and sum to 1."""
    energies: NDArray[np.float64] = np.arange(1, count + 1, dtype=np.float64) ** -DECAY
    energies /= energies.sum()
    return energies


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")


def _shuffled(values: Sequence[Value], count: int, draw: np.random.Generator) -> list[Value]:
    """Return `count` values taken in turn, shuffled."""
    taken = [value for value, _ in zip(cycle(values), range(count), strict=False)]
    return [taken[int(place)] for place in draw.permutation(count)]
