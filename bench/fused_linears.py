"""Several adapters on one linear: PEFT's sum, the published gate, and ours; time and memory of what each adds."""

import gc
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn
from torch.nn import functional as F

from autolora.fusion.gate import Gate
from autolora.fusion.slot_fusion import SlotFusion
from autolora.lora.factors import Factors
from bench.timing import cpu_timed
from studies.released.presets import FUSION

FULL = replace(FUSION, gate="full", global_rank=0)
"""the gate that is published"""
STRENGTH = 0.5
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")

Run = Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Case:
    """A linear of FLUX.1-dev, and how it is used."""

    d_in: int
    d_out: int
    tokens: int
    adapters: int
    dtype: torch.dtype
    rank: int = 16


@dataclass(frozen=True, slots=True)
class Ratios:
    """Times relative to PEFT's sum, each including the linear itself."""

    case: Case
    direct: float
    gated: float
    published: float | None
    linear_s: float
    """of the linear itself"""
    peft_s: float
    """of the linear with PEFT's adapters"""


class GivenOutput(nn.Linear):
    """A linear whose output is given, so that what adapters add is timed without it."""

    output: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return the given output."""
        return self.output


def published_gate(gate: Gate, base: Tensor, updates: Tensor) -> Tensor:
    """Return the output of `LoraMerger` of the package diffsynth 2.1, updates stacked as (k, ..., d)."""
    normed, normed_updates = gate.norm_base(base), gate.norm_lora(updates)
    logits = normed * gate.weight_base + normed_updates * gate.weight_lora
    logits = logits + normed * normed_updates * gate.weight_cross + gate.bias
    return base + (gate.weight_out * torch.sigmoid(logits) * updates).sum(dim=0)


def make_runs(case: Case) -> tuple[Run, dict[str, Run]]:
    """Return the linear of a case, and per method what it adds to the output of that linear."""
    torch.manual_seed(0)
    factors = [random_factors(case) for _ in range(case.adapters)]
    gate = Gate(case.d_out, FULL).to(case.dtype).requires_grad_(False)
    linear = GivenOutput(case.d_in, case.d_out).to(case.dtype).requires_grad_(False)
    x = torch.randn(1, case.tokens, case.d_in).to(case.dtype)
    linear.output = F.linear(x, linear.weight, linear.bias)
    peft = peft_linear(linear, factors)
    scored = [(update, torch.ones(())) for update in factors]
    direct, gated = SlotFusion(scored, None), SlotFusion(scored, gate)

    def published() -> Tensor:
        updates = [F.linear(F.linear(x, f.down * f.scale), f.up) for f in factors]
        return published_gate(gate, linear.output, torch.stack(updates))

    def sum_of_peft() -> Tensor:
        total: Tensor = peft(x)
        return total

    runs: dict[str, Run] = {
        "peft": sum_of_peft,
        "direct": lambda: direct(linear.output, x),
        "gated": lambda: gated(linear.output, x),
        "published": published,
    }
    return lambda: F.linear(x, linear.weight, linear.bias), runs


def random_factors(case: Case) -> Factors:
    """Return a random update of the size that trained ones have."""
    down = torch.randn(case.rank, case.d_in) / case.d_in**0.5
    up = 0.1 * torch.randn(case.d_out, case.rank)
    return Factors(down=down.to(case.dtype), up=up.to(case.dtype), scale=STRENGTH)


def peft_linear(linear: nn.Linear, factors: Sequence[Factors]) -> Any:
    """Return PEFT's module around a linear, with all adapters active."""
    config = LoraConfig(r=factors[0].rank, lora_alpha=factors[0].rank)
    module: Any = PeftLinear(linear, "0", config=config, r=config.r, lora_alpha=config.lora_alpha)
    for index, update in enumerate(factors):
        name = str(index)
        if index:
            module.update_layer(name, config.r, lora_alpha=config.lora_alpha, config=config)
        module.lora_A[name].weight.data.copy_(update.down)
        module.lora_B[name].weight.data.copy_(update.up)
        module.scaling[name] = update.scale
    module.set_adapter([str(index) for index in range(len(factors))])
    return module.to(linear.weight.dtype).eval().requires_grad_(False)


def time_linear(run: Run, rounds: int) -> float:
    """Return the CPU seconds of a linear: the median after a first run."""
    run()
    return statistics.median(cpu_timed(run)[0] for _ in range(rounds))


def compare(case: Case, linear_s: float, rounds: int, *, with_published: bool) -> Ratios:
    """Return the ratios of a case; methods take turns, and the ratios are medians over the rounds.

    Raises RuntimeError if `direct` differs from PEFT in a bit.
    """
    _, runs = make_runs(case)
    if not with_published:
        del runs["published"]
    if not torch.equal(runs["direct"](), runs["peft"]()):
        raise RuntimeError(f"`direct` differs from PEFT in {case}")
    for run in runs.values():
        run()
    seconds = [{name: cpu_timed(run)[0] for name, run in runs.items()} for _ in range(rounds)]

    def ratio(name: str) -> float:
        return statistics.median((linear_s + row[name]) / (linear_s + row["peft"]) for row in seconds)

    return Ratios(
        case=case,
        direct=ratio("direct"),
        gated=ratio("gated"),
        published=ratio("published") if with_published else None,
        linear_s=linear_s,
        peft_s=linear_s + statistics.median(row["peft"] for row in seconds),
    )


def extra_megabytes(case: Case) -> dict[str, float]:
    """Return method -> largest memory of the process during a call less that before it, 10^6 bytes."""
    _, runs = make_runs(case)
    return {name: peak_megabytes(run) for name, run in runs.items()}


def peak_megabytes(run: Run) -> float:
    """Return the memory that a second call needs beyond that of the process before it, as Linux counts its peak."""
    run()
    gc.collect()
    CLEAR_REFS.write_text("5")  # sets the peak to what is used now
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1e6


def _status(field: str) -> int:
    """Return a size of this process in bytes."""
    match = re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text())
    assert match, f"{STATUS} has no {field}"
    return int(match[1]) * 1024
