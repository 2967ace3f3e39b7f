"""Slots: the LoRA-bearing linears of a FluxTransformer2DModel, derived from its config.

Canonical slots are the unfused linears as diffusers names them (494 in FLUX.1-dev); fused slots are the
authors' view (304 in FLUX.1-dev), derived from the canonical ones. Widths are written once, here, as multiples
of the hidden size. Source: diffusers' FluxTransformer2DModel; order of the fused view: the released code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MLP_RATIO = 4

# canonical suffix, d_in and d_out in hidden sizes, fused suffix; row order within a fused slot is table order
DOUBLE = (
    ("attn.to_q", 1, 1, "attn.a_to_qkv"),
    ("attn.to_k", 1, 1, "attn.a_to_qkv"),
    ("attn.to_v", 1, 1, "attn.a_to_qkv"),
    ("attn.to_out.0", 1, 1, "attn.a_to_out"),
    ("ff.net.0.proj", 1, MLP_RATIO, "ff_a.0"),
    ("ff.net.2", MLP_RATIO, 1, "ff_a.2"),
    ("norm1.linear", 1, 6, "norm1_a.linear"),
    ("attn.add_q_proj", 1, 1, "attn.b_to_qkv"),
    ("attn.add_k_proj", 1, 1, "attn.b_to_qkv"),
    ("attn.add_v_proj", 1, 1, "attn.b_to_qkv"),
    ("attn.to_add_out", 1, 1, "attn.b_to_out"),
    ("ff_context.net.0.proj", 1, MLP_RATIO, "ff_b.0"),
    ("ff_context.net.2", MLP_RATIO, 1, "ff_b.2"),
    ("norm1_context.linear", 1, 6, "norm1_b.linear"),
)
SINGLE = (
    ("attn.to_q", 1, 1, "to_qkv_mlp"),
    ("attn.to_k", 1, 1, "to_qkv_mlp"),
    ("attn.to_v", 1, 1, "to_qkv_mlp"),
    ("proj_mlp", 1, MLP_RATIO, "to_qkv_mlp"),
    ("proj_out", 1 + MLP_RATIO, 1, "proj_out"),
    ("norm.linear", 1, 3, "norm.linear"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One canonical linear: weight (d_out, d_in)."""

    name: str
    """module path in the transformer, e.g. transformer_blocks.0.attn.to_q"""
    d_in: int
    d_out: int
    fused: str
    """name of the fused slot it is a part of, e.g. blocks.0.attn.a_to_qkv"""
    row: int
    """its first row in the fused slot's weight"""

    @property
    def type(self) -> str:
        """Which of the 20 kinds of linear this is, e.g. `double.attn.to_q`, over all depths."""
        stack, _, rest = self.name.partition(".")
        kind = "single" if stack.startswith("single") else "double"
        return f"{kind}.{rest.partition('.')[2]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FusedSlot:
    """One linear of the fused view: its parts' rows, stacked; they share the input."""

    name: str
    d_in: int
    d_out: int
    parts: tuple[Slot, ...]

    @property
    def type(self) -> str:
        """Which of the 13 kinds of fused linear this is, e.g. `attn.a_to_qkv`."""
        return self.name.split(".", 2)[2]


def hidden_size(config: Mapping[str, Any]) -> int:
    """Return the transformer's width: heads × head width."""
    return int(config["num_attention_heads"]) * int(config["attention_head_dim"])


def slots(config: Mapping[str, Any]) -> tuple[Slot, ...]:
    """Return the canonical slots of a FluxTransformer2DModel config, double blocks first, in table order."""
    width = hidden_size(config)
    stacks = (
        ("transformer_blocks", "blocks", int(config["num_layers"]), DOUBLE),
        ("single_transformer_blocks", "single_blocks", int(config["num_single_layers"]), SINGLE),
    )
    found: list[Slot] = []
    for stack, fused_stack, depth, table in stacks:
        for block in range(depth):
            rows: dict[str, int] = {}
            for suffix, d_in, d_out, fused in table:
                row = rows.setdefault(fused, 0)
                rows[fused] += d_out * width
                found.append(
                    Slot(
                        name=f"{stack}.{block}.{suffix}",
                        d_in=d_in * width,
                        d_out=d_out * width,
                        fused=f"{fused_stack}.{block}.{fused}",
                        row=row,
                    )
                )
    return tuple(found)


def fused_slots(config: Mapping[str, Any]) -> tuple[FusedSlot, ...]:
    """Return the fused view in the authors' order (10 a double block, then 3 a single block)."""
    parts: dict[str, list[Slot]] = {}
    for slot in slots(config):
        parts.setdefault(slot.fused, []).append(slot)
    return tuple(
        FusedSlot(name=name, d_in=group[0].d_in, d_out=sum(part.d_out for part in group), parts=tuple(group))
        for name, group in parts.items()
    )
