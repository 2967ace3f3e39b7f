"""How long the compiled function of the gated pass takes to compile, and how often it is compiled again."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch._dynamo.utils import counters

from autolora.fusion import gated_pass
from autolora.fusion.gated_pass import CompiledFunction
from bench.fused_linears import Case, make_runs

TOKENS = (512, 640)


def time_compilation(counts: Sequence[int]) -> list[dict[str, Any]]:
    """Return per number of adapters, one after the other, the functions compiled and the seconds of the first calls.

    Calls have two widths and two numbers of tokens. Nothing is taken from the cache of earlier processes.
    """
    torch.compiler.reset()
    before, rows = gated_pass.compiled_combine, []
    gated_pass.compiled_combine = CompiledFunction(gated_pass.combine)
    try:
        with torch._inductor.config.patch(force_disable_caches=True):
            rows = [time_first_calls(count) for count in counts]
    finally:
        gated_pass.compiled_combine = before
    return rows


def time_first_calls(count: int) -> dict[str, Any]:
    """Return the functions that calls with a number of adapters compile, and how long the first call of each takes."""
    known, seconds = counters["stats"]["unique_graphs"], 0.0
    for width in (3072, 4096):
        for tokens in TOKENS:
            _, runs = make_runs(Case(256, width, tokens, count, torch.bfloat16))
            started = time.perf_counter()
            runs["gated"]()
            first = time.perf_counter() - started
            started = time.perf_counter()
            runs["gated"]()
            seconds += first - (time.perf_counter() - started)
    return {
        "adapters": count,
        "compiled": counters["stats"]["unique_graphs"] - known,
        "seconds": max(0.0, seconds),
    }
