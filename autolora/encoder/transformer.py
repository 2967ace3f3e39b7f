"""The transformer of Eq. 1-2: one token per slot of an adapter, a small transformer, one vector per adapter.

Equation 1 makes the token q·ΔWᵀ·W + c of a slot's update ΔW = up·down, with a probe vector q and a projection W.
It is computed from the factors of ΔW (probe `full`) or from its sketch M = S·ΔW·Q (m, p): with a ∈ R^p and
C ∈ R^(m×d), aᵀMᵀC is the same token for q = (Q·a)ᵀ and W = SᵀC. Both are linear in ΔW, so an encoder on sketches is
the encoder on weights restricted to probes in the span of Q and projections in the span of Sᵀ.

A scale-invariant encoder divides ΔW by its norm and appends the norm relative to the other slots to the token, so a
LoRA at any strength has the same vector.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from autolora.encoder.calibration import unfitted_relevance
from autolora.encoder.config import EncoderConfig
from autolora.encoder.inputs import Stacks, norms
from autolora.encoder.text_map import TextMap

MIN_NORM = 1e-30
"""smaller norms of an update are divided by this instead"""


class TransformerEncoder(nn.Module):
    """e = E_theta(V + P) of Eq. 2, with the tokens V of Eq. 1 and learned positions P."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        variant, width = config.variant, config.width
        self.probes = _initial_probes(config)
        self.projections = nn.ModuleList(
            _projection(fan_in, width, zero=variant.projection_init == "zero")
            for fan_in in _projection_inputs(config)
        )
        self.positions = nn.Parameter(torch.zeros(config.num_tokens, width))
        self.blocks = nn.ModuleList(
            Block(width, variant.heads, config.hidden, config.dropout) for _ in range(variant.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.text_map = TextMap(width)
        self.register_buffer("relevance", unfitted_relevance())
        self.relevance: Tensor
        """(2, 3), the coefficients of autolora.matching.relevance"""
        self._groups = [torch.tensor(indices, device="cpu") for indices in config.groups]
        self._order = torch.cat(self._groups).argsort()

    def forward(self, values: Tensor | Stacks, present: Tensor) -> Tensor:
        """Return the vectors (B, d) of adapters, not normalized: the mean of the last block's tokens (Eq. 2).

        values, present: of an `AdapterBatch`; each adapter must have at least one present slot.
        """
        x = self.tokens(values, present) + self.positions
        visible = self._visible_slots(present).repeat_interleave(x.shape[1] // present.shape[1], dim=1)
        mask = visible[:, None, None, :]
        if self.config.variant.causal:
            mask = mask & torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
            # a token that attends to nothing is nan, and its weight of 0 below would not remove that
            mask = mask | torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        for block in self.blocks:
            x = block(x, mask)
        weights = visible.unsqueeze(-1).to(x.dtype)
        mean: Tensor = (self.norm(x) * weights).sum(1) / weights.sum(1)
        return mean

    def tokens(self, values: Tensor | Stacks, present: Tensor) -> Tensor:
        """Return the tokens V of Eq. 1: (B, S, d), or (B, S·L, d) with one token per probe."""
        variant = self.config.variant
        probed, update_norms = self._probe(values)
        if variant.tokens == "slot":
            probed = [part.flatten(2).unsqueeze(2) for part in probed]
        if variant.scale_invariant:
            strengths = _relative_strengths(update_norms, present)
            probed = [
                torch.cat((part, strengths[:, indices, None].expand(-1, -1, part.shape[2], -1)), dim=-1)
                for part, indices in zip(probed, self._groups, strict=True)
            ]
        parts = [project(part) for project, part in zip(self.projections, probed, strict=True)]
        return torch.cat(parts, dim=1)[:, self._order].flatten(1, 2)

    def embed(self, values: Tensor | Stacks, present: Tensor) -> Tensor:
        """Return the unit vectors (B, d) that the index stores."""
        return functional.normalize(self(values, present), dim=-1)

    def _visible_slots(self, present: Tensor) -> Tensor:
        """Return the slots (B, S) whose tokens are attended to and averaged."""
        hides = self.config.variant.missing_slots == "mask"
        return present if hides else torch.ones_like(present)

    def _probe(self, values: Tensor | Stacks) -> tuple[list[Tensor], Tensor]:
        """Return q·ΔWᵀ, (B, n, L, m or d_out) per group of n slots, and the norms ‖ΔW‖ (B, S).

        A scale-invariant encoder probes ΔW/‖ΔW‖. Its probes have norm 1 at the start, for faster learning, and the
        product is multiplied by the square root of their length, to the scale that unit-variance probes give.
        """
        if isinstance(values, Tensor):
            return self._probe_sketches(values)
        return self._probe_factors(values)

    def _probe_sketches(self, values: Tensor) -> tuple[list[Tensor], Tensor]:
        update_norms = values.flatten(2).norm(dim=-1)
        if self.config.variant.scale_invariant:
            values = values / update_norms.clamp_min(MIN_NORM)[..., None, None]
        probed = torch.einsum("bsmp,slp->bslm", values, self.probes)
        if self.config.variant.scale_invariant:
            probed = probed * values.shape[-1] ** 0.5
        return [probed[:, indices] for indices in self._groups], update_norms

    def _probe_factors(self, values: Stacks) -> tuple[list[Tensor], Tensor]:
        update_norms = torch.cat([norms(down, up) for down, up in values], dim=1)[:, self._order]
        parts = []
        for probes, (down, up), indices in zip(self.probes, values, self._groups, strict=True):
            part = (probes @ down.transpose(-1, -2)) @ up.transpose(-1, -2)
            if self.config.variant.scale_invariant:
                scale = update_norms[:, indices, None, None].clamp_min(MIN_NORM)
                part = part / scale * down.shape[-1] ** 0.5
            parts.append(part)
        return parts, update_norms


class Block(nn.Module):
    """A pre-LN transformer block with quick-GELU, as in CLIP."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return tokens (B, T, d); mask (B, 1, 1 or T, T) is true for tokens that may be attended to."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        hidden: Tensor = self.up(self.norm2(x))
        x = x + self.dropout(self.down(hidden * torch.sigmoid(1.702 * hidden)))
        return x


def _initial_probes(config: EncoderConfig) -> nn.Parameter | nn.ParameterList:
    """Return random probes: (S, L, p) for sketches, else (n, L, d_in) per group of n slots.

    Their entries have variance 1, or 1 / length in a scale-invariant encoder.
    """
    count = config.variant.probes

    def random_probes(slots: int, length: int) -> nn.Parameter:
        scale = length**0.5 if config.variant.scale_invariant else 1.0
        return nn.Parameter(torch.randn(slots, count, length) / scale)

    if config.sketch_size is not None:
        return random_probes(len(config.slots), config.sketch_size)
    return nn.ParameterList(
        random_probes(len(indices), config.slots[indices[0]].d_in) for indices in config.groups
    )


def _projection_inputs(config: EncoderConfig) -> list[int]:
    """Return the input width of each group's projection."""
    variant = config.variant
    probes = 1 if variant.tokens == "probe" else variant.probes
    widths = [config.sketch_size or config.slots[indices[0]].d_out for indices in config.groups]
    return [probes * width + variant.scale_invariant for width in widths]


def _projection(fan_in: int, fan_out: int, zero: bool) -> nn.Linear:
    """Return a linear layer; with zero weights, directions that training never shows leave tokens unchanged."""
    linear = nn.Linear(fan_in, fan_out)
    if zero:
        nn.init.zeros_(linear.weight)
    return linear


def _relative_strengths(update_norms: Tensor, present: Tensor) -> Tensor:
    """Return log ‖ΔW‖ (B, S, 1) minus its mean over the adapter's present slots; 0 for missing slots."""
    logs = torch.where(present, update_norms.clamp_min(MIN_NORM).log(), 0.0)
    mean = logs.sum(1, keepdim=True) / present.sum(1, keepdim=True)
    return torch.where(present, logs - mean, 0.0).unsqueeze(-1)
