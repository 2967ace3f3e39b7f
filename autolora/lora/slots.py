"""Slots: the linear layers of a FluxTransformer2DModel that a LoRA can update, derived from its config.

Canonical slots are the unfused linears under diffusers' names (494 in FLUX.1-dev). Fused slots are the paper
authors' linears (304 in FLUX.1-dev), each made of one or more canonical slots. The tables below are the only place
that defines widths, as multiples of the hidden size. Sources: diffusers' FluxTransformer2DModel; for the order of
the fused slots, the authors' released code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TRANSFORMER_FIELDS = ("num_layers", "num_single_layers", "num_attention_heads", "attention_head_dim")
"""fields of a FluxTransformer2DModel config that determine its slots"""
MLP_RATIO = 4

# canonical suffix, d_in and d_out in hidden sizes, fused suffix; rows of a fused slot follow the order of the table
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
    """name of its fused slot, e.g. blocks.0.attn.a_to_qkv"""
    row: int
    """its first row in the fused slot's weight"""

    @property
    def type(self) -> str:
        """Return the kind of linear without its block, e.g. `double.attn.to_q`; there are 20 kinds."""
        stack, _, rest = self.name.partition(".")
        kind = "single" if stack.startswith("single") else "double"
        return f"{kind}.{rest.partition('.')[2]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FusedSlot:
    """One fused linear: its parts share the input, and their rows are stacked."""

    name: str
    d_in: int
    d_out: int
    parts: tuple[Slot, ...]

    @property
    def type(self) -> str:
        """Return the kind of fused linear without its block, e.g. `attn.a_to_qkv`; there are 13 kinds."""
        return self.name.split(".", 2)[2]


def hidden_size(config: Mapping[str, Any]) -> int:
    """Return the transformer's hidden size: heads × head dimension."""
    return int(config["num_attention_heads"]) * int(config["attention_head_dim"])


def slots(config: Mapping[str, Any]) -> tuple[Slot, ...]:
    """Return the canonical slots of a FluxTransformer2DModel config, double blocks first, in table order."""
    width = hidden_size(config)
    stacks = (
        ("transformer_blocks", "blocks", int(config["num_layers"]), DOUBLE),
        ("single_transformer_blocks", "single_blocks", int(config["num_single_layers"]), SINGLE),
    )
    canonical: list[Slot] = []
    for stack, fused_stack, depth, table in stacks:
        for block in range(depth):
            rows: dict[str, int] = {}
            for suffix, d_in, d_out, fused in table:
                row = rows.setdefault(fused, 0)
                rows[fused] += d_out * width
                canonical.append(
                    Slot(
                        name=f"{stack}.{block}.{suffix}",
                        d_in=d_in * width,
                        d_out=d_out * width,
                        fused=f"{fused_stack}.{block}.{fused}",
                        row=row,
                    )
                )
    return tuple(canonical)


def fused_slots(config: Mapping[str, Any]) -> tuple[FusedSlot, ...]:
    """Return the fused slots in the authors' order (10 per double block, then 3 per single block)."""
    parts: dict[str, list[Slot]] = {}
    for slot in slots(config):
        parts.setdefault(slot.fused, []).append(slot)
    return tuple(
        FusedSlot(name=name, d_in=group[0].d_in, d_out=sum(part.d_out for part in group), parts=tuple(group))
        for name, group in parts.items()
    )


def escape(name: str) -> str:
    """Return the name of a slot or type without dots, which the name of a torch module cannot contain."""
    return name.replace(".", "___")


def unescape(name: str) -> str:
    """Return the name of a slot or type from its escaped form."""
    return name.replace("___", ".")
