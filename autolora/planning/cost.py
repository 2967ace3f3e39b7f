"""What a stage needs, and what its estimate is made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autolora import models
from autolora.lora.slots import Slot, slots
from autolora.params import Params
from autolora.planning import meta_models
from autolora.planning.meta_models import MetaPipeline
from autolora.planning.rates import Machine, Rate
from autolora.planning.workload import VALUE_BYTES, Workload


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCost:
    """What one stage needs; sizes in bytes."""

    stage: str
    does: str
    """the counts that the estimate is made from, in words"""
    seconds: float
    disk: float = 0.0
    """of its outputs"""
    memory: float = 0.0
    """of the machine, at the peak"""
    gpu_memory: float = 0.0
    """of the card, at the peak, without the vLLM server"""
    hub_requests: int = 0
    vlm_requests: int = 0
    """to the vLLM server"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all estimates read."""

    params: Params
    work: Workload
    rates: Mapping[str, Rate]
    machine: Machine
    pipeline: MetaPipeline
    threads: int

    def rate(self, name: str) -> float:
        """Return the value of a rate."""
        return self.rates[name].value

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The canonical slots of the base model."""
        return slots(self.pipeline.transformer.config)

    @cached_property
    def sketch_numbers(self) -> int:
        """The numbers of an adapter's sketch: slots · m · p."""
        return len(self.slots) * int(self.params.pool.sketch_size) ** 2

    @property
    def sketch_bytes(self) -> float:
        """The bytes of an adapter's sketch on disk."""
        return self.sketch_numbers * VALUE_BYTES

    @cached_property
    def text_width(self) -> int:
        """The width of the text encoder's features, which that of an adapter's vector is."""
        return int(self.pipeline.text_encoder.config.hidden_size)

    @cached_property
    def captioner(self) -> Any:
        """The captioning VLM on the meta device."""
        return meta_models.vlm(self.params.models, models.dtype(self.params.models))

    @cached_property
    def judge(self) -> Any:
        """The judge VLM on the meta device."""
        return meta_models.vlm(self.params.judges, models.dtype(self.params.models))

    @cached_property
    def judge_clip(self) -> Any:
        """The judge CLIP on the meta device."""
        return meta_models.judge_clip(self.params.judges)

    @property
    def start_s(self) -> float:
        """The seconds that every stage takes before it does anything."""
        return self.rate("stage_start_s")

    def load_s(self, size: float) -> float:
        """Return the seconds to import the libraries of models and to load weights of a size."""
        return self.rate("model_import_s") + size / self.rate("disk_bytes_per_s")

    def place(self, weights: float, transient: float, tables: float = 0.0) -> tuple[float, float]:
        """Return the memory of a stage, of the machine and of the card: weights reach a card through the machine's.

        tables: bytes that stay in the machine's memory.
        """
        process = self.rate("process_bytes") + tables
        if self.machine.is_gpu:
            return process + weights, weights + transient
        return process + weights + transient, 0.0
