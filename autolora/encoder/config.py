"""What an encoder is built from, and how it reads an adapter; saved beside the weights."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

from autolora.encoder.inputs import AdapterBatch, batch_of_lora, batch_of_sketch
from autolora.lora.factors import Factors, fuse_all, with_one_scale
from autolora.lora.sketch import Sketch
from autolora.lora.slots import FusedSlot, Slot, fused_slots, slots
from autolora.presets.encoder import EncoderVariant


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Everything an encoder is built from."""

    transformer: dict[str, int]
    """the TRANSFORMER_FIELDS of the base model"""
    variant: EncoderVariant
    width: int
    """d, the width of the text encoder"""
    sketch_size: int | None
    """m = p; None with the probe `full`"""
    sketch_key: str | None
    """key of the SketchSpec that it was trained with; None with the probe `full`"""
    text_encoder: str
    """digest of the text encoder that it was trained with"""

    @property
    def hidden(self) -> int:
        """The width of a block's MLP."""
        return self.variant.mlp_ratio * self.width

    @property
    def num_tokens(self) -> int:
        """The number of tokens of an adapter: S·L, one per probe."""
        return len(self.slots) * self.variant.probes

    @cached_property
    def canonical(self) -> tuple[Slot, ...]:
        """The linears of the base model, in the order of a sketch's rows."""
        return slots(self.transformer)

    @cached_property
    def fused(self) -> tuple[FusedSlot, ...]:
        """The fused view of the base model's linears."""
        return fused_slots(self.transformer)

    @cached_property
    def slots(self) -> tuple[Slot, ...] | tuple[FusedSlot, ...]:
        """The slots of the encoder's view, in the order of their tokens."""
        return self.fused if self.variant.slots == "fused" else self.canonical

    @cached_property
    def types(self) -> tuple[str, ...]:
        """The types of slot, in order of appearance."""
        return tuple(dict.fromkeys(_types(self.slots)))

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The indices of the slots that share a projection: those of one type, or each slot alone."""
        if self.variant.projections == "slot":
            return tuple((index,) for index in range(len(self.slots)))
        of_type: dict[str, list[int]] = {name: [] for name in self.types}
        for index, name in enumerate(_types(self.slots)):
            of_type[name].append(index)
        return tuple(map(tuple, of_type.values()))

    def sketch_to_batch(self, sketch: Sketch) -> AdapterBatch:
        """Return an adapter's sketch, of the canonical slots, as a batch of one in the encoder's view."""
        if self.variant.slots == "canonical":
            return batch_of_sketch(sketch, None)
        index = {slot.name: i for i, slot in enumerate(self.fused)}
        return batch_of_sketch(sketch, [index[slot.fused] for slot in self.canonical])

    def lora_to_batch(self, lora: Mapping[str, Factors]) -> AdapterBatch:
        """Return an adapter's factors, of the canonical slots, as a batch of one in the encoder's view."""
        lora = with_one_scale(lora) if self.variant.alpha == "file" else lora
        lora = fuse_all(lora, self.fused) if self.variant.slots == "fused" else lora
        return batch_of_lora(lora, self.slots, self.groups)

    def to_json(self) -> dict[str, Any]:
        """Return the config as a JSON value."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the config of a JSON value; raises TypeError or KeyError if it is not one."""
        return cls(**{**content, "variant": EncoderVariant(**content["variant"])})


def _types(slots: Sequence[Slot | FusedSlot]) -> list[str]:
    return [slot.type for slot in slots]
