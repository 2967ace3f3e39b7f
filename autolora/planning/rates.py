"""The rates of rates.yaml, and the machine that they describe."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from autolora.params import ModelsParams
from autolora.planning.tally import Tally

PATH = Path(__file__).with_name("rates.yaml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """A number that a plan did not compute."""

    value: float
    unit: str
    basis: Literal["measured", "published", "assumed"]
    source: str
    """a command that measures it, who published it, or why it was assumed"""
    date: datetime.date


def load_rates(card: float | None = None) -> dict[str, Rate]:
    """Return name -> rate. card: bytes of memory of the card that is here, in place of the stated one."""
    content: dict[str, dict[str, object]] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    if card is not None:
        here = {"value": card, "basis": "measured", "source": "nvidia-smi", "date": datetime.date.today()}
        content["gpu_memory_bytes"] |= here
    return {name: Rate(**row) for name, row in content.items()}  # type: ignore[arg-type]  # a test checks types


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The device of params.yaml with its rates."""

    is_gpu: bool
    flops_per_s: float
    bytes_per_s: float
    call_s: float

    def seconds(self, tally: Tally) -> float:
        """Return how long a computation takes. A GPU works while the processor prepares the next calls."""
        work = tally.flops / self.flops_per_s + tally.traffic / self.bytes_per_s
        calls = tally.calls * self.call_s
        return max(work, calls) if self.is_gpu else work + calls


def machine(params: ModelsParams, rates: Mapping[str, Rate], threads: int) -> Machine:
    """Return the machine of params.yaml. threads: of torch, on a CPU."""
    is_gpu = params.device.startswith("cuda")
    if is_gpu:
        wide = "gpu_float32_flops_per_s" if params.dtype == "float32" else "gpu_flops_per_s"
        flops, speed = rates[wide].value, rates["gpu_bytes_per_s"].value
    else:
        wide = "cpu_bfloat16_flops_per_s" if params.dtype == "bfloat16" else "cpu_flops_per_s"
        flops, speed = rates[wide].value * threads, rates["cpu_bytes_per_s"].value
    return Machine(is_gpu=is_gpu, flops_per_s=flops, bytes_per_s=speed, call_s=rates["call_s"].value)
