"""What a stage needs, and what its estimate is made from."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autolora import models
from autolora.encoder.config import EncoderConfig
from autolora.encoder.training import check_heads
from autolora.lora.slots import TRANSFORMER_FIELDS, Slot, slots
from autolora.params import Params
from autolora.planning import meta_models
from autolora.planning.meta_models import MetaPipeline, weight_bytes
from autolora.planning.passes import EncoderTraining, encoder_training
from autolora.planning.rates import Machine, Rate
from autolora.planning.tally import Tally
from autolora.planning.workload import VALUE_BYTES, Workload

NUMBER_BYTES = 4
"""of a number in float32"""


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
    own_files: bool
    """whether the plan is of `autolora index`, which links to files instead of downloading them"""

    def rate(self, name: str) -> float:
        """Return the value of a rate."""
        return self.rates[name].value

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The canonical slots of the base model."""
        return slots(self.pipeline.configs["transformer"])

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

    @property
    def text_encoder_bytes(self) -> float:
        """The bytes of CLIP's text encoder, which stages load in float32."""
        return weight_bytes(self.pipeline.text_encoder) / self.pipeline.dtype.itemsize * NUMBER_BYTES

    @property
    def trains_encoder(self) -> bool:
        """Whether the stage `encoder` fits one: of own files if they have captions, by `autolora index --train`."""
        is_captioned = not self.own_files or self.params.captions.engine is not None
        return self.params.encoder.from_ is None and is_captioned

    @property
    def has_encoder(self) -> bool:
        """Whether an encoder reads the weights."""
        return self.params.encoder.from_ is not None or self.trains_encoder

    @cached_property
    def encoder_training(self) -> EncoderTraining | None:
        """The training of the encoder's transformer; None of a ridge regression, and of a published encoder.

        Its batch is the part of one process.
        Raises MismatchError if its heads do not divide the text encoder's width.
        """
        variant, batch = self.params.encoder.variant, self.params.encoder.variant.batch
        if not self.trains_encoder or variant.model == "ridge":
            return None
        check_heads(variant, self.text_width)
        if variant.batch_sampling == "adapters":
            batch = max(1, min(batch, self.work.training_adapters))
        config = EncoderConfig(
            transformer={
                name: int(self.pipeline.configs["transformer"][name]) for name in TRANSFORMER_FIELDS
            },
            variant=variant,
            width=self.text_width,
            sketch_size=self.params.pool.sketch_size if variant.probe == "sketch" else None,
            sketch_key=None,
            text_encoder="",
        )
        return encoder_training(config, self.work.rank, self.part(batch), self.machine.is_gpu)

    def part(self, batch: int) -> int:
        """Return how many items of a batch each of the processes of a training has, rounded down as it does."""
        return max(1, batch // self.params.operation.processes)

    @property
    def in_each_process(self) -> str:
        """How a plan says that a batch is that of one of several processes."""
        number = self.params.operation.processes
        return f" in each of {number} processes" if number > 1 else ""

    @property
    def crowding(self) -> float:
        """How much longer a step takes because the processes of a training share the machine's processors."""
        threads = 0 if self.machine.is_gpu else self.threads * self.params.operation.processes
        return max(1.0, threads / (os.cpu_count() or 1))

    @cached_property
    def encoder_bytes(self) -> float:
        """The bytes of the encoder's weights, 0 without one; a published one counts as a ridge regression."""
        if not self.has_encoder:
            return 0.0
        training = self.encoder_training
        return training.weights if training else self.sketch_numbers * self.text_width * NUMBER_BYTES

    @cached_property
    def read_adapter_s(self) -> float:
        """The seconds to read an adapter as the encoder does."""
        training = self.encoder_training
        is_full = training is not None and self.params.encoder.variant.probe == "full"
        size = self.work.file_bytes if is_full else self.sketch_bytes
        return size / self.rate("disk_bytes_per_s") + (self.host_s(training.read) if training else 0)

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
        """The seconds that every stage takes before it does anything; `autolora index` runs all in one process."""
        return 0.0 if self.own_files else self.rate("stage_start_s")

    def load_s(self, size: float) -> float:
        """Return the seconds to import the libraries of models and to load weights of a size."""
        return self.rate("model_import_s") + size / self.rate("disk_bytes_per_s")

    def host_s(self, tally: Tally) -> float:
        """Return the seconds of what the machine's memory limits, such as copies."""
        return tally.traffic / self.rate("memory_bytes_per_s") + tally.calls * self.machine.call_s

    def place(self, weights: float, transient: float, tables: float = 0.0) -> tuple[float, float]:
        """Return the memory of a stage, of the machine and of the card: weights reach a card through the machine's.

        tables: bytes that stay in the machine's memory.
        """
        process = self.rate("process_bytes") + tables
        if self.machine.is_gpu:
            return process + weights, weights + transient
        return process + weights + transient, 0.0

    def place_training(self, weights: float, transient: float, tables: float = 0.0) -> tuple[float, float]:
        """Return the memory of a training, that of the machine for all processes; `place` for one of them."""
        memory, gpu_memory = self.place(weights, transient, tables)
        return memory * self.params.operation.processes, gpu_memory
