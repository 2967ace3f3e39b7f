"""The transformer of Eq. 1-2: one token per slot of an adapter, a small transformer, one vector per adapter.

Equation 1 makes the token q·ΔWᵀ·W + c of a slot's update ΔW = up·down, with a probe vector q and a projection W.
It is computed from the factors of ΔW (probe `full`) or from its sketch M = S·ΔW·Q (m, p): with a ∈ R^p and
C ∈ R^(m×d), aᵀMᵀC is the same token for q = (Q·a)ᵀ and W = SᵀC. Both are linear in ΔW, so an encoder on sketches is
the encoder on weights restricted to probes in the span of Q and projections in the span of Sᵀ.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from autolora.encoder.config import EncoderConfig
from autolora.encoder.inputs import Stacks
from autolora.encoder.text_map import TextMap


class TransformerEncoder(nn.Module):
    """e = E_theta(V + P) of Eq. 2, with the tokens V of Eq. 1 and learned positions P."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        variant, width = config.variant, config.width
        self.probes = _initial_probes(config)
        fans_in = [config.sketch_size or config.slots[indices[0]].d_out for indices in config.groups]
        self.projections = nn.ModuleList(nn.Linear(fan_in, width) for fan_in in fans_in)
        self.positions = nn.Parameter(torch.zeros(config.num_tokens, width))
        self.blocks = nn.ModuleList(Block(width, variant.heads, config.hidden) for _ in range(variant.layers))
        self.norm = nn.LayerNorm(width)
        self.text_map = TextMap(width)
        self._groups = [torch.tensor(indices, device="cpu") for indices in config.groups]
        self._order = torch.cat(self._groups).argsort()

    def forward(self, values: Tensor | Stacks, present: Tensor) -> Tensor:
        """Return the vectors (B, d) of adapters, not normalized: the mean of the last block's tokens (Eq. 2).

        values, present: of an `AdapterBatch`; each adapter must have at least one present slot.
        """
        x = self.tokens(values) + self.positions
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

    def tokens(self, values: Tensor | Stacks) -> Tensor:
        """Return the tokens V of Eq. 1, (B, S·L, d): one per probe."""
        parts = [project(part) for project, part in zip(self.projections, self._probe(values), strict=True)]
        return torch.cat(parts, dim=1)[:, self._order].flatten(1, 2)

    def embed(self, values: Tensor | Stacks, present: Tensor) -> Tensor:
        """Return the unit vectors (B, d) that the index stores."""
        return functional.normalize(self(values, present), dim=-1)

    def _visible_slots(self, present: Tensor) -> Tensor:
        """Return the slots (B, S) whose tokens are attended to and averaged."""
        hides = self.config.variant.missing_slots == "mask"
        return present if hides else torch.ones_like(present)

    def _probe(self, values: Tensor | Stacks) -> list[Tensor]:
        """Return q·ΔWᵀ, (B, n, L, m or d_out) per group of n slots."""
        if isinstance(values, Tensor):
            probed = torch.einsum("bsmp,slp->bslm", values, self.probes)
            return [probed[:, indices] for indices in self._groups]
        return [
            (probes @ down.transpose(-1, -2)) @ up.transpose(-1, -2)
            for probes, (down, up) in zip(self.probes, values, strict=True)
        ]


class Block(nn.Module):
    """A pre-LN transformer block with quick-GELU, as in CLIP."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return tokens (B, T, d); mask (B, 1, 1 or T, T) is true for tokens that may be attended to."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        hidden: Tensor = self.up(self.norm2(x))
        output: Tensor = x + self.down(hidden * torch.sigmoid(1.702 * hidden))
        return output


def _initial_probes(config: EncoderConfig) -> nn.Parameter | nn.ParameterList:
    """Return random probes of unit variance: (S, L, p) for sketches, else (n, L, d_in) per group of n slots."""
    count = config.variant.probes
    if config.sketch_size is not None:
        return nn.Parameter(torch.randn(len(config.slots), count, config.sketch_size))
    return nn.ParameterList(
        nn.Parameter(torch.randn(len(indices), count, config.slots[indices[0]].d_in))
        for indices in config.groups
    )
