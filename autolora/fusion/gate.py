"""The gate: how much of each adapter's update passes, decided per token, dimension and adapter (Eq. 6-8).

Beyond the paper, Eq. 7 may have one more term, w_rel · s_i, with the relevance s_i of adapter i to the prompt (0 to
1): the retriever knows how well an adapter fits the prompt, so the gate does not have to infer it.
"""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from autolora.lora.slots import escape
from autolora.presets.fusion import FusionVariant, GateForm

EPS = 1e-5
"""of the LayerNorms of Eq. 6"""

COEFFICIENTS = 5
"""vectors of `Gate.coefficients`"""

TERMS: Mapping[GateForm, tuple[str, ...]] = {
    "full": ("base", "lora", "cross"),
    "no_base": ("lora", "cross"),
    "no_cross": ("lora",),
    "no_lora": ("base", "cross"),
    "scalar": (),
}
"""form of a gate -> the weights of Eq. 7 that it has"""


class Gate(nn.Module):
    """The gate of one linear with `width` outputs, for any number of adapters.

    Parameters have shape (width,), except weight_relevance, (1,), and those of the form `scalar`, (1,). Terms that the
    variant omits are None.
    """

    weight_base: nn.Parameter | None
    weight_lora: nn.Parameter | None
    weight_cross: nn.Parameter | None
    weight_relevance: nn.Parameter | None

    def __init__(self, width: int, variant: FusionVariant) -> None:
        super().__init__()
        self.width = width
        size = 1 if variant.gate == "scalar" else width
        self.norm_base = nn.LayerNorm(width, eps=EPS)
        self.norm_lora = nn.LayerNorm(width, eps=EPS)
        for term in ("base", "lora", "cross"):
            has_term = term in TERMS[variant.gate]
            weight = nn.Parameter(torch.randn(width) * variant.init_std) if has_term else None
            self.register_parameter(f"weight_{term}", weight)
        self.bias = nn.Parameter(variant.init_bias + torch.randn(size) * variant.init_std)
        self.weight_out = nn.Parameter(torch.full((size,), variant.init_output_scale))
        weight = nn.Parameter(torch.tensor([variant.relevance_weight])) if variant.relevance else None
        self.register_parameter("weight_relevance", weight)

    def forward(self, base: Tensor, updates: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Return O = H + w_out ⊙ Σ_i G_i ⊙ L_i in the precision of H (Eq. 8).

        base: H, (..., d). updates: per adapter L_i, with the shape of H, and s_i, () or (B,), which only the
        relevance term reads. Updates are consumed one at a time, so no tensor (k, ..., d) is made.
        """
        total = torch.zeros_like(base, dtype=self.bias.dtype)
        base_terms, lora_slope = self._terms(base)
        for update, relevance in updates:
            gate = self._gate(base_terms, lora_slope, update, relevance)
            total = torch.addcmul(total, gate, update.to(total.dtype))
        return base + (self.weight_out * total).to(base.dtype)

    def gate_values(self, base: Tensor, updates: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        """Yield G_i, with the shape of H and values 0 to 1, one adapter at a time; arguments as `forward`."""
        base_terms, lora_slope = self._terms(base)
        for update, relevance in updates:
            yield self._gate(base_terms, lora_slope, update, relevance)

    def coefficients(self) -> Tensor:
        """Return (COEFFICIENTS, d): a0, a1, a2, a3 and w_out, in float32 or the gate's own precision if that is higher.

        With the normalized H^ and L^_i of Eq. 6 before their LayerNorms' weights, the logits of Eq. 7 without the
        relevance are a0 + a1 ⊙ H^ + (a2 + a3 ⊙ H^) ⊙ L^_i.
        """
        precision = torch.promote_types(self.bias.dtype, torch.float32)
        own = {name: value.detach().to(precision) for name, value in self.named_parameters()}
        zero = torch.zeros_like(own["bias"])
        base, lora, cross = (own.get(f"weight_{term}", zero) for term in ("base", "lora", "cross"))
        constant, constant_slope = own["bias"] + base * own["norm_base.bias"], base * own["norm_base.weight"]
        slope, slope_slope = lora + cross * own["norm_base.bias"], cross * own["norm_base.weight"]
        weight, bias = own["norm_lora.weight"], own["norm_lora.bias"]
        return torch.stack(
            [
                constant + slope * bias,
                constant_slope + slope_slope * bias,
                slope * weight,
                slope_slope * weight,
                own["weight_out"].expand(self.width),
            ]
        )

    def _terms(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parts of Eq. 7 that all adapters share: b + w_base ⊙ H~, and w_lora + w_cross ⊙ H~."""
        normed_base = self.norm_base(base.to(self.bias.dtype))  # H~ of Eq. 6
        base_terms = _add_product(self.bias, self.weight_base, normed_base)
        weight_lora = torch.zeros_like(self.bias) if self.weight_lora is None else self.weight_lora
        return base_terms, _add_product(weight_lora, self.weight_cross, normed_base)

    def _gate(self, base_terms: Tensor, lora_slope: Tensor, update: Tensor, relevance: Tensor) -> Tensor:
        """Return G_i = σ(b + w_base ⊙ H~ + (w_lora + w_cross ⊙ H~) ⊙ L~_i + w_rel · s_i) (Eq. 7)."""
        normed_update = self.norm_lora(update.to(self.bias.dtype))  # L~_i of Eq. 6
        logits = torch.addcmul(base_terms, lora_slope, normed_update)
        if self.weight_relevance is not None:
            logits = logits + self.weight_relevance * relevance.reshape(-1, *[1] * (update.dim() - 1))
        return torch.sigmoid(logits)


class Gates(nn.Module):
    """One gate per slot, canonical or fused; the names of its parameters are those of the published checkpoints."""

    def __init__(self, widths: Mapping[str, int], variant: FusionVariant) -> None:
        """Make gates for slots given as name -> d_out, with random weights from torch's global generator."""
        super().__init__()
        self.variant = variant
        self.model_dict = nn.ModuleDict(
            {escape(name): Gate(width, variant) for name, width in widths.items()}
        )

    @property
    def fused(self) -> bool:
        """Whether the gates are on fused slots."""
        return self.variant.slots == "fused"

    def of(self, slot: str) -> Gate:
        """Return the gate of a slot; raises KeyError if there is none."""
        gate = self.model_dict[escape(slot)]
        assert isinstance(gate, Gate)
        return gate

    def __contains__(self, slot: str) -> bool:
        return escape(slot) in self.model_dict


def _add_product(total: Tensor, weight: Tensor | None, factor: Tensor) -> Tensor:
    """Return total + weight ⊙ factor; the product is omitted if weight is None."""
    return total if weight is None else torch.addcmul(total, weight, factor)
