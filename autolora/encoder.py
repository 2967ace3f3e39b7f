"""The encoder of Eq. 1–2 on sketches: one token a slot, a small transformer, one vector an adapter.

A sketch M = S·ΔW·Q (m, p) of a slot with update ΔW holds the paper's token restricted: with a probe a ∈ R^p
and a projection C ∈ R^(m×d), aᵀMᵀC = q·ΔWᵀ·Ŵ for q = (Q·a)ᵀ and Ŵ = Sᵀ·C. Several probes make up for it.
Only directions and relative strengths enter, so a LoRA and the same LoRA at another scale have one vector.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from autolora.slots import Slot, slots

SHAPE = ("num_layers", "num_single_layers", "num_attention_heads", "attention_head_dim")
FAINT = 1e-30


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Everything the encoder is built from; saved beside its weights."""

    transformer: dict[str, int]
    """the fields of the FLUX transformer's config that its slots follow from"""
    sketch: int
    """m = p"""
    width: int
    """d, the text encoder's"""
    probes: int
    layers: int
    heads: int
    mlp_ratio: int
    dropout: float
    spec: str
    """key of the sketch spec it has learned from"""
    text_encoder: str
    """digest of the text encoder it has learned to meet"""

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The canonical slots, one token each."""
        return slots(self.transformer)

    @cached_property
    def types(self) -> tuple[str, ...]:
        """The kinds of slot, one projection each, in order of appearance."""
        return tuple(dict.fromkeys(slot.type for slot in self.slots))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read the JSON form back; TypeError when it is not one."""
        return cls(**content)


class Encoder(nn.Module):
    """e = E_theta(V + P), Eq. 2, with the tokens V of Eq. 1; absent slots are masked out."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        count, width = len(config.slots), config.width
        self.probes = nn.Parameter(torch.randn(count, config.probes, config.sketch) / config.sketch**0.5)
        self.projections = nn.ModuleList(
            _silent(config.probes * config.sketch + 1, width) for _ in config.types
        )
        self.positions = nn.Parameter(torch.zeros(count, width))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.mlp_ratio, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.register_buffer("text_centre", torch.zeros(width))
        self.text_centre: Tensor
        of_type = [[i for i, slot in enumerate(config.slots) if slot.type == kind] for kind in config.types]
        self._of_type = [torch.tensor(places) for places in of_type]
        self._order = torch.cat(self._of_type).argsort()

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """Embed sketches (B, S, m, p) whose slots are `present` (B, S) as (B, d), not normalised.

        At least one slot of each adapter must be present.
        """
        x = self.tokens(values, present) + self.positions
        mask = present[:, None, None, :]
        for block in self.blocks:
            x = block(x, mask)
        weights = present.unsqueeze(-1).to(x.dtype)
        pooled: Tensor = (self.norm(x) * weights).sum(1) / weights.sum(1)
        return pooled

    def tokens(self, values: Tensor, present: Tensor) -> Tensor:
        """Return Eq. 1's tokens (B, S, d) of the slots' directions and relative strengths."""
        norms = values.flatten(2).norm(dim=-1)
        directions = values / norms.clamp_min(FAINT)[..., None, None]
        probed = torch.einsum("bsmp,slp->bslm", directions, self.probes).flatten(2)
        features = torch.cat((probed * values.shape[-1] ** 0.5, _strengths(norms, present)), dim=-1)
        parts = [
            project(features[:, places])
            for project, places in zip(self.projections, self._of_type, strict=True)
        ]
        return torch.cat(parts, dim=1)[:, self._order]

    def embed(self, values: Tensor, present: Tensor) -> Tensor:
        """Return the unit vectors (B, d) that the index holds."""
        return functional.normalize(self(values, present), dim=-1)

    def embed_text(self, features: Tensor) -> Tensor:
        """Return the unit vectors (N, d) of text features (N, d): centred, then normalised."""
        return functional.normalize(features - self.text_centre, dim=-1)


class Block(nn.Module):
    """A pre-LN transformer block with quick-GELU and no causal mask."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, mlp_ratio * width)
        self.down = nn.Linear(mlp_ratio * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return tokens (B, S, d); mask (B, 1, 1, S) tells which of them may be attended to."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        hidden: Tensor = self.up(self.norm2(x))
        x = x + self.dropout(self.down(hidden * torch.sigmoid(1.702 * hidden)))
        return x


def _silent(fan_in: int, fan_out: int) -> nn.Linear:
    """Return a linear that starts at its bias: directions that training never meets then say nothing."""
    linear = nn.Linear(fan_in, fan_out)
    nn.init.zeros_(linear.weight)
    return linear


def _strengths(norms: Tensor, present: Tensor) -> Tensor:
    """Return log(norm) (B, S, 1) less its mean over present slots: which layers are strong, at any scale."""
    logs = torch.where(present, norms.clamp_min(FAINT).log(), 0.0)
    mean = logs.sum(1, keepdim=True) / present.sum(1, keepdim=True)
    return torch.where(present, logs - mean, 0.0).unsqueeze(-1)
