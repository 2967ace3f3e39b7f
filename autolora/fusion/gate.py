"""The gate: how much of each adapter's update passes, decided per token, dimension and adapter (Eq. 6-8).

Beyond the paper, Eq. 7 may have one more term, w_rel · s_i, with s_i the relevance of adapter i to the prompt
(0 to 1): the retriever knows how well an adapter fits the prompt, and the gate need not guess it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autolora.presets import Form

EPS = 1e-5
CANONICAL = ("transformer_blocks", "single_transformer_blocks")
"""how the names of canonical slots begin"""

TERMS: Mapping[Form, tuple[str, ...]] = {
    "full": ("base", "lora", "cross"),
    "no_base": ("lora", "cross"),
    "no_cross": ("lora",),
    "no_lora": ("base", "cross"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class GateSpec:
    """What a gate is made of and where it starts."""

    form: Form
    """which terms of Eq. 7 it has; `no_cross` has no base term either, as in the released code"""
    relevance: bool
    """whether it has the term w_rel · s_i"""
    spread: float
    """standard deviation of w_base, w_lora, w_cross and around `bias` at the start; the paper's is 1"""
    bias: float
    """mean of b at the start"""
    scale: float
    """w_out at the start"""
    relevance_weight: float
    """w_rel at the start"""
    global_rank: int
    """rank of the global LoRA that joins two or more adapters (Eq. 9); 0 leaves it out"""


class Gate(nn.Module):
    """The gate of one linear of `width` outputs; any number of adapters."""

    def __init__(self, width: int, spec: GateSpec) -> None:
        super().__init__()
        self.norm_base = nn.LayerNorm(width, eps=EPS)
        self.norm_lora = nn.LayerNorm(width, eps=EPS)
        for term in TERMS[spec.form]:
            self.register_parameter(f"weight_{term}", nn.Parameter(torch.randn(width) * spec.spread))
        self.bias = nn.Parameter(spec.bias + torch.randn(width) * spec.spread)
        self.weight_out = nn.Parameter(torch.full((width,), spec.scale))
        if spec.relevance:
            self.weight_relevance = nn.Parameter(torch.tensor([spec.relevance_weight]))

    def forward(self, base: Tensor, updates: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Return O = H + w_out ⊙ Σ G_i ⊙ L_i, in H's precision (Eq. 8).

        base: H, (..., d). updates: one (L_i, s_i) an adapter, L_i as H, taken one at a time so that no
        (k, ..., d) tensor is made; s_i () or (B,), read only where the gate has the relevance term.
        """
        total = torch.zeros_like(base, dtype=self.bias.dtype)
        shared, slope = self._shared(base)
        for update, score in updates:
            total = torch.addcmul(total, self._gate(update, score, shared, slope), update.to(total.dtype))
        return base + (self.weight_out * total).to(base.dtype)

    def openings(self, base: Tensor, updates: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        """Yield G_i as H, 0 to 1, an adapter at a time (Eq. 7); same arguments as `forward`."""
        shared, slope = self._shared(base)
        for update, score in updates:
            yield self._gate(update, score, shared, slope)

    def _shared(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Return what all adapters share: w_base ⊙ H~ + b, and w_lora + w_cross ⊙ H~, the slope of L~."""
        shared: Tensor = self.bias
        slope: Tensor = torch.zeros_like(self.bias)
        terms = dict(self.named_parameters(recurse=False))
        if "weight_lora" in terms:
            slope = terms["weight_lora"]
        if "weight_base" in terms or "weight_cross" in terms:
            normed = self.norm_base(base.to(self.bias.dtype))
            if "weight_base" in terms:
                shared = torch.addcmul(shared, terms["weight_base"], normed)
            if "weight_cross" in terms:
                slope = torch.addcmul(slope, terms["weight_cross"], normed)
        return shared, slope

    def _gate(self, update: Tensor, score: Tensor, shared: Tensor, slope: Tensor) -> Tensor:
        logits = torch.addcmul(shared, slope, self.norm_lora(update.to(self.bias.dtype)))
        if hasattr(self, "weight_relevance"):
            logits = logits + self.weight_relevance * score.reshape(-1, *[1] * (update.dim() - 1))
        return torch.sigmoid(logits)


class Gates(nn.Module):
    """One gate a slot, canonical or fused; parameter names are those of the published checkpoints."""

    def __init__(self, widths: Mapping[str, int], spec: GateSpec) -> None:
        """Build gates for `widths`: slot name -> d_out. Draws from torch's global generator."""
        super().__init__()
        self.spec = spec
        self.model_dict = nn.ModuleDict({escape(name): Gate(width, spec) for name, width in widths.items()})

    @property
    def fused(self) -> bool:
        """Whether the gates are of fused slots."""
        return not any(name.startswith(CANONICAL) for name in self.model_dict)

    def of(self, slot: str) -> Gate:
        """Return the gate of a slot; KeyError when it has none."""
        gate = self.model_dict[escape(slot)]
        assert isinstance(gate, Gate)
        return gate

    def __contains__(self, slot: str) -> bool:
        return escape(slot) in self.model_dict


def escape(slot: str) -> str:
    """Return a slot's name as a module name, which may hold no dots."""
    return slot.replace(".", "___")


def unescape(name: str) -> str:
    """Return the slot of a module name."""
    return name.replace("___", ".")


def calibrate(scores: Sequence[float], floor: float, ceiling: float) -> tuple[float, ...]:
    """Return the relevances of scores (cosines): 0 up to `floor`, 1 from `ceiling`, linear between."""
    return tuple(min(1.0, max(0.0, (score - floor) / (ceiling - floor))) for score in scores)
