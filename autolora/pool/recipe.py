"""The recipe: what a LoRA file is read with, and the digest of all that a row of the pool depends on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autolora.lora.fingerprint import DEFINITION
from autolora.lora.read import READER_VERSION
from autolora.lora.sketch import SketchSpec
from autolora.params import PoolParams
from autolora.slots import Slot, slots
from autolora.storage.files import hash_value


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """On what terms a file is read: the base model's slots, the bounds, and the sketch's spec."""

    slots: tuple[Slot, ...]
    bounds: PoolParams

    @property
    def spec(self) -> SketchSpec:
        """What is kept of the weights."""
        return SketchSpec(self.bounds.sketch_size)

    @property
    def recipe(self) -> str:
        """The digest of everything but the file that a row depends on: another one reads the file again."""
        bounds = [self.bounds.max_header_mb, self.bounds.max_rank, self.bounds.min_known_keys]
        base = [[slot.name, slot.d_in, slot.d_out] for slot in self.slots]
        return hash_value([READER_VERSION, self.spec.key, DEFINITION, bounds, base])[:16]


def terms(config: Mapping[str, Any], bounds: PoolParams) -> Terms:
    """Return the terms for a base model's transformer config."""
    return Terms(slots=slots(config), bounds=bounds)
