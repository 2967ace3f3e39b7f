"""The recipe: everything besides the file itself that a row of the pool depends on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from autolora.lora.fingerprint import DEFINITION
from autolora.lora.read import READER_VERSION
from autolora.lora.sketch import SketchSpec
from autolora.lora.slots import Slot, slots
from autolora.params import PoolParams
from autolora.storage.hashes import hash_value


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRecipe:
    """How LoRA files are read: slots of the base model, bounds, and sketch specification."""

    slots: tuple[Slot, ...]
    bounds: PoolParams

    @classmethod
    def for_base_model(cls, config: Mapping[str, Any], bounds: PoolParams) -> Self:
        """Return the recipe for a base model, given the config of its transformer."""
        return cls(slots=slots(config), bounds=bounds)

    @property
    def spec(self) -> SketchSpec:
        """The specification of the sketches."""
        return SketchSpec(self.bounds.sketch_size)

    @property
    def digest(self) -> str:
        """16 hex digits that identify the recipe; a file is read again if they differ from those of its row."""
        bounds = [self.bounds.max_header_mb, self.bounds.max_rank, self.bounds.min_known_keys]
        base = [[slot.name, slot.d_in, slot.d_out] for slot in self.slots]
        return hash_value([READER_VERSION, self.spec.key, DEFINITION, bounds, base])[:16]
