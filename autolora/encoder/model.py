"""The encoder of Eq. 1-2: tokens of an adapter's updates, a small transformer, one vector an adapter.

Eq. 1's token of a slot is q·ΔWᵀ·Ŵ + c. It is read from the factors of ΔW (`full`), or from its sketch M = S·ΔW·Q
(m, p): with a probe a ∈ R^p and a projection C ∈ R^(m×d), aᵀMᵀC is that token for q = (Q·a)ᵀ and Ŵ = SᵀC.
Which form the tokens take is in `presets.EncoderForm`. With `strength: relative` only directions and relative
strengths enter, so a LoRA and the same LoRA at another scale have one vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from autolora.encoder.inputs import Stacks, Updates, norms, of_lora, of_sketch
from autolora.errors import MismatchError
from autolora.lora.factors import Factors, fuse_all, with_one_scale
from autolora.lora.sketch import Sketch
from autolora.presets import EncoderForm, Probe
from autolora.slots import FusedSlot, Slot, fused_slots, slots

SHAPE = ("num_layers", "num_single_layers", "num_attention_heads", "attention_head_dim")
FAINT = 1e-30


class TextEncoder(Protocol):
    """What training and retrieval ask of the frozen text tower."""

    width: int

    @property
    def digest(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Everything the encoder is built from; saved beside its weights."""

    transformer: dict[str, int]
    """the fields of the FLUX transformer's config that its slots follow from"""
    form: EncoderForm
    probe: Probe
    sketch: int | None
    """m = p; None where the probe is full"""
    width: int
    """d, the text encoder's"""
    layers: int
    heads: int
    hidden: int
    """width of a block's MLP"""
    dropout: float
    spec: str | None
    """key of the sketch spec it has learned from; None where the probe is full"""
    text_encoder: str
    """digest of the text encoder it has learned to meet"""

    @cached_property
    def canonical(self) -> tuple[Slot, ...]:
        """The linears of the base, in whose order sketches come."""
        return slots(self.transformer)

    @cached_property
    def fused(self) -> tuple[FusedSlot, ...]:
        """The fused view of the base."""
        return fused_slots(self.transformer)

    @cached_property
    def slots(self) -> tuple[Slot, ...] | tuple[FusedSlot, ...]:
        """The slots of the encoder's view, in the order of their tokens."""
        return self.fused if self.form.slots == "fused" else self.canonical

    @cached_property
    def types(self) -> tuple[str, ...]:
        """The kinds of slot, in order of appearance."""
        return tuple(dict.fromkeys(_types(self.slots)))

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The places of slots that share a projection: those of one type, or each alone."""
        if self.form.projections == "slot":
            return tuple((place,) for place in range(len(self.slots)))
        of_type: dict[str, list[int]] = {kind: [] for kind in self.types}
        for place, kind in enumerate(_types(self.slots)):
            of_type[kind].append(place)
        return tuple(map(tuple, of_type.values()))

    def read_sketch(self, sketch: Sketch) -> Updates:
        """Return an adapter's sketch, of the canonical slots, in the encoder's view."""
        if self.form.slots == "canonical":
            return of_sketch(sketch, None)
        place = {slot.name: i for i, slot in enumerate(self.fused)}
        return of_sketch(sketch, [place[slot.fused] for slot in self.canonical])

    def read_lora(self, lora: Mapping[str, Factors]) -> Updates:
        """Return an adapter's updates, of the canonical slots, in the encoder's view."""
        lora = with_one_scale(lora) if self.form.alpha == "file" else lora
        lora = fuse_all(lora, self.fused) if self.form.slots == "fused" else lora
        return of_lora(lora, self.slots, self.groups)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read the JSON form back; TypeError or KeyError when it is not one."""
        return cls(**{**content, "form": EncoderForm(**content["form"])})


class Encoder(nn.Module):
    """e = E_theta(V + P), Eq. 2, with the tokens V of Eq. 1."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        form, width = config.form, config.width
        self.probes = _draw_probes(config)
        self.projections = nn.ModuleList(
            _projection(fan_in, width, silent=form.start == "silent") for fan_in in _features(config)
        )
        count = len(config.slots) * (form.probes if form.tokens == "probe" else 1)
        self.positions = nn.Parameter(torch.zeros(count, width))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.hidden, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.register_buffer("text_center", torch.zeros(width))
        self.text_center: Tensor
        self._groups = [torch.tensor(places, device="cpu") for places in config.groups]
        self._order = torch.cat(self._groups).argsort()

    def forward(self, values: Tensor | Stacks, present: Tensor) -> Tensor:
        """Embed updates (`updates.Updates`) whose slots are `present` (B, S) as (B, d), not normalized.

        At least one slot of each adapter must be present.
        Raises MismatchError when one is not, and the form refuses that.
        """
        x = self.tokens(values, present) + self.positions
        seen = self._seen(present).repeat_interleave(x.shape[1] // present.shape[1], dim=1)
        mask = seen[:, None, None, :]
        if self.config.form.causal:
            mask = mask & torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
            # a token that may see nothing would be nan, and nan times its weight of 0 too
            mask = mask | torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        for block in self.blocks:
            x = block(x, mask)
        weights = seen.unsqueeze(-1).to(x.dtype)
        pooled: Tensor = (self.norm(x) * weights).sum(1) / weights.sum(1)
        return pooled

    def tokens(self, values: Tensor | Stacks, present: Tensor) -> Tensor:
        """Return Eq. 1's tokens: (B, S, d), or (B, S·L, d) where each probe has one."""
        form = self.config.form
        probed, strengths = self._probe(values)
        if form.tokens == "slot":
            probed = [part.flatten(2).unsqueeze(2) for part in probed]
        if form.strength == "relative":
            shares = _shares(strengths, present)
            probed = [
                torch.cat((part, shares[:, places, None].expand(-1, -1, part.shape[2], -1)), dim=-1)
                for part, places in zip(probed, self._groups, strict=True)
            ]
        parts = [project(part) for project, part in zip(self.projections, probed, strict=True)]
        return torch.cat(parts, dim=1)[:, self._order].flatten(1, 2)

    def embed(self, values: Tensor | Stacks, present: Tensor) -> Tensor:
        """Return the unit vectors (B, d) that the index holds."""
        return functional.normalize(self(values, present), dim=-1)

    def embed_text(self, features: Tensor) -> Tensor:
        """Return the unit vectors (N, d) of text features (N, d): centered, then normalized."""
        return functional.normalize(features - self.text_center, dim=-1)

    def _seen(self, present: Tensor) -> Tensor:
        """Return which slots' tokens count (B, S)."""
        absent = self.config.form.absent
        if absent == "refuse" and not bool(present.all()):
            missing = int((~present).sum(1).max())
            raise MismatchError(
                f"an adapter lacks {missing} of {present.shape[1]} slots: encoder.absent is 'refuse'; "
                "leave it out, or set encoder.absent to 'mask' or 'zero' in params.yaml"
            )
        return torch.ones_like(present) if absent == "zero" else present

    def _probe(self, values: Tensor | Stacks) -> tuple[list[Tensor], Tensor]:
        """Return q·ΔWᵀ, one (B, n, L, m or d_out) a group, and ‖ΔW‖ (B, S); of unit ΔW where strengths are relative.

        Relative probes are drawn small and multiplied by the root of their length, so that they learn faster.
        """
        if isinstance(values, Tensor):
            return self._probe_sketches(values)
        return self._probe_factors(values)

    def _probe_sketches(self, values: Tensor) -> tuple[list[Tensor], Tensor]:
        sizes = values.flatten(2).norm(dim=-1)
        if self.config.form.strength == "relative":
            values = values / sizes.clamp_min(FAINT)[..., None, None]
        probed = torch.einsum("bsmp,slp->bslm", values, self.probes)
        if self.config.form.strength == "relative":
            probed = probed * values.shape[-1] ** 0.5
        return [probed[:, places] for places in self._groups], sizes

    def _probe_factors(self, values: Stacks) -> tuple[list[Tensor], Tensor]:
        sizes = torch.cat([norms(down, up) for down, up in values], dim=1)[:, self._order]
        parts = []
        for probes, (down, up), places in zip(self.probes, values, self._groups, strict=True):
            part = (probes @ down.transpose(-1, -2)) @ up.transpose(-1, -2)
            if self.config.form.strength == "relative":
                part = part / sizes[:, places, None, None].clamp_min(FAINT) * down.shape[-1] ** 0.5
            parts.append(part)
        return parts, sizes


class Block(nn.Module):
    """A pre-LN transformer block with quick-GELU."""

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
        """Return tokens (B, S, d); mask (B, 1, 1 or S, S) tells which of them may be attended to."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        hidden: Tensor = self.up(self.norm2(x))
        x = x + self.dropout(self.down(hidden * torch.sigmoid(1.702 * hidden)))
        return x


def _types(slots: Sequence[Slot | FusedSlot]) -> list[str]:
    return [slot.type for slot in slots]


def _draw_probes(config: EncoderConfig) -> nn.Parameter | nn.ParameterList:
    """Return the probes at their start: (S, L, p) on sketches, else (n, L, d_in) for each group of slots.

    Of variance 1, or, where strengths are relative, 1 over their length.
    """
    count = config.form.probes

    def drawn(slots: int, length: int) -> nn.Parameter:
        scale = length**0.5 if config.form.strength == "relative" else 1.0
        return nn.Parameter(torch.randn(slots, count, length) / scale)

    if config.sketch is not None:
        return drawn(len(config.slots), config.sketch)
    return nn.ParameterList(drawn(len(places), config.slots[places[0]].d_in) for places in config.groups)


def _features(config: EncoderConfig) -> list[int]:
    """Return how many numbers each group's projection reads."""
    form = config.form
    probes = 1 if form.tokens == "probe" else form.probes
    widths = [config.sketch or config.slots[places[0]].d_out for places in config.groups]
    return [probes * width + (form.strength == "relative") for width in widths]


def _projection(fan_in: int, fan_out: int, silent: bool) -> nn.Linear:
    """Return a linear; silent, it starts at its bias: directions that training never meets then say nothing."""
    linear = nn.Linear(fan_in, fan_out)
    if silent:
        nn.init.zeros_(linear.weight)
    return linear


def _shares(sizes: Tensor, present: Tensor) -> Tensor:
    """Return log(size) (B, S, 1) less its mean over present slots: which layers are strong, at any scale."""
    logs = torch.where(present, sizes.clamp_min(FAINT).log(), 0.0)
    mean = logs.sum(1, keepdim=True) / present.sum(1, keepdim=True)
    return torch.where(present, logs - mean, 0.0).unsqueeze(-1)


def embed_texts(encoder: Encoder, text_encoder: TextEncoder, texts: Sequence[str]) -> NDArray[np.float64]:
    """Return the unit vectors (N, d) that the retriever compares with adapters, each distinct text once.

    Raises MismatchError when the encoder has learned to meet another text encoder.
    """
    if encoder.config.text_encoder != text_encoder.digest:
        raise MismatchError("the encoder has learned to meet another text encoder: run `dvc repro encoder`")
    distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    vectors: NDArray[np.float64] = encoder.embed_text(text_encoder.encode(list(distinct))).double().numpy()
    return vectors[np.array([distinct[text] for text in texts], dtype=np.int64)]
