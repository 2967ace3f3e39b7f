"""Cost of adapters that act together, beside diffusers with PEFT and the published gate: `python -m bench.fusion`.

Times are CPU seconds of one thread (OMP_NUM_THREADS=1), which other work on the machine affects little; methods take
turns, and a ratio is the median over the rounds. Linears have the sizes of FLUX.1-dev and adapters of rank 16; what a
method adds is timed with the linear's output given, and the linear itself once per size. The published gate is the
arithmetic of the package diffsynth. The whole image is one of the playground, with random adapters in all slots.

A whole run (no options) writes metrics/fusion_bench.json and the rows of metrics/details.json.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from autolora.errors import exit_on_error
from autolora.fusion import store
from autolora.fusion.global_lora import GlobalLoras
from autolora.fusion.install import global_loras
from autolora.lora.factors import Factors, Lora
from autolora.lora.slots import slots
from autolora.metrics.summary import Headline, update
from autolora.presets.fusion import FUSION
from autolora.storage.files import write_atomic
from bench.compiling import time_compilation
from bench.fused_linears import Case, Ratios, compare, extra_megabytes, make_runs, time_linear
from bench.timing import cpu_timed, name_processor, today
from bench.whole_image import compare_images

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.fusion"
RESULTS = ROOT / "metrics" / "fusion_bench.json"
FLUX = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128}
SIZES = ((3072, 3072), (3072, 12288), (12288, 3072))
TOKENS, COUNTS, ROUNDS = (512, 1536, 4096), (1, 2, 3, 5), 5
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SETTLED = 3
"""adapters for which there are goals, and the published gate is measured"""
GOALS = {"float32": 1.15, "bfloat16": 1.35}
"""largest ratio of the gated pass to PEFT's sum"""
GLOBAL_GOAL_S, DIRECT_GOAL, GATED_GOAL = 1.0, 1.0, 1.2


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables in Markdown, and write the results of a whole run."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument("--adapters", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with torch.no_grad():
        results = measure(options.tokens, options.adapters, options.rounds)
    print(to_markdown(results))
    if (tuple(options.tokens), tuple(options.adapters), options.rounds) == (TOKENS, COUNTS, ROUNDS):
        write_atomic(RESULTS, json.dumps(results, indent=2) + "\n")
        update(ROOT, COMMAND, today(), list(headlines(results)))


def measure(tokens: Sequence[int], counts: Sequence[int], rounds: int) -> dict[str, Any]:
    """Return all numbers, as JSON values."""
    sizes = [(dtype, size, number) for dtype in DTYPES.values() for size in SIZES for number in tokens]
    largest = Case(3072, 12288, max(tokens), SETTLED, torch.float32)
    parts: dict[str, Callable[[], Any]] = {
        "image": lambda: compare_images(ROOT, SETTLED, rounds),
        "global_lora_s": lambda: {str(count): time_global_lora(count) for count in counts if count > 1},
        "linears": lambda: [
            row
            for dtype, size, number in sizes
            for row in measure_size(Case(*size, number, 1, dtype), counts, rounds)
        ],
        "megabytes": lambda: {
            name: {"tokens": largest.tokens} | extra_megabytes(replace(largest, dtype=dtype))
            for name, dtype in DTYPES.items()
        },
        "compilation": lambda: time_compilation(counts),
    }
    results: dict[str, Any] = {
        "processor": name_processor(),
        "torch": torch.__version__,
        "date": today().isoformat(),
        "threads": 1,
        "rounds": rounds,
    }
    for name, part in parts.items():
        results[name] = part()
        print(f"{name}: {json.dumps(results[name])}", file=sys.stderr, flush=True)
    return results


def measure_size(case: Case, counts: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Return the rows of a linear with each number of adapters."""
    linear, _ = make_runs(case)
    seconds = time_linear(linear, rounds)
    rows = [
        row_of(compare(replace(case, adapters=count), seconds, rounds, with_published=count == SETTLED))
        for count in counts
    ]
    for row in rows:
        print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def row_of(ratios: Ratios) -> dict[str, Any]:
    """Return ratios as JSON values."""
    row = asdict(ratios.case) | {"dtype": str(ratios.case.dtype).removeprefix("torch.")}
    numbers = asdict(ratios)
    return row | {name: numbers[name] for name in ("direct", "gated", "published", "linear_s", "peft_s")}


def time_global_lora(count: int, rank: int = 16) -> dict[str, float]:
    """Return the CPU seconds of the global LoRA of a set of adapters in all slots of FLUX.1-dev, new and kept."""
    gates = store.build({**FLUX, "num_layers": 0, "num_single_layers": 0}, FUSION["best"])
    shapes = {(slot.d_in, slot.d_out) for slot in slots(FLUX)}
    torch.manual_seed(0)
    updates = {
        shape: [Factors(torch.randn(rank, shape[0]), torch.randn(shape[1], rank), 1.0) for _ in range(count)]
        for shape in shapes
    }
    loras: list[Lora] = [
        {slot.name: updates[slot.d_in, slot.d_out][index] for slot in slots(FLUX)} for index in range(count)
    ]
    kept = GlobalLoras(1)

    def run() -> None:
        joint_of = global_loras(loras, gates, [str(index) for index in range(count)], kept)
        for slot in slots(FLUX):
            joint_of(slot.name, updates[slot.d_in, slot.d_out], torch.device("cpu"))

    return {"new": cpu_timed(run)[0], "kept": cpu_timed(run)[0]}


def worst(results: dict[str, Any], dtype: str, field: str) -> float:
    """Return the largest ratio over all linears with SETTLED adapters."""
    rows = [row for row in results["linears"] if (row["dtype"], row["adapters"]) == (dtype, SETTLED)]
    return max(float(row[field]) for row in rows)


def headlines(results: dict[str, Any]) -> Iterator[Headline]:
    """Yield the rows of metrics/details.json."""
    for dtype, goal in GOALS.items():
        yield _headline(f"gated_ratio_{dtype}", worst(results, dtype, "gated"), results["rounds"], goal)
        used = results["megabytes"][dtype]
        yield _headline(f"gated_memory_ratio_{dtype}", used["gated"] / used["peft"], 1, 1.0)
    yield _headline("global_lora_seconds", results["global_lora_s"][str(SETTLED)]["new"], 1, GLOBAL_GOAL_S)
    for method, goal in (("direct", DIRECT_GOAL), ("gated", GATED_GOAL)):
        yield _headline(f"{method}_image_ratio", results["image"][method], results["rounds"], goal)


def _headline(name: str, value: float, number: int, goal: float) -> Headline:
    return Headline(name=f"fusion.{name}", value=value, n=number, better="lower", goal=goal)


def to_markdown(results: dict[str, Any]) -> str:
    """Return the tables."""
    lines = [
        f"one thread of {results['processor']}, torch {results['torch']}, {results['rounds']} rounds, "
        f"{results['date']}; times relative to PEFT's sum",
        "",
        "| linear | tokens | precision | k | direct | gated | published gate | linear alone, s | with PEFT, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["linears"]:
        published = "" if row["published"] is None else f"{row['published']:.2f}"
        lines.append(
            f"| {row['d_in']} → {row['d_out']} | {row['tokens']} | {row['dtype']} | {row['adapters']} | "
            f"{row['direct']:.2f} | {row['gated']:.2f} | {published} | {row['linear_s']:.3f} | {row['peft_s']:.3f} |"
        )
    lines += ["", "| extra memory, MB | PEFT | direct | gated | published gate |", "|---|---|---|---|---|"]
    for dtype, used in results["megabytes"].items():
        numbers = " | ".join(f"{used[name]:.0f}" for name in ("peft", "direct", "gated", "published"))
        lines.append(f"| {used['tokens']} × 12288, k = {SETTLED}, {dtype} | {numbers} |")
    lines += ["", "| k, one after the other | functions compiled | seconds |", "|---|---|---|"]
    lines += [
        f"| {row['adapters']} | {row['compiled']} | {row['seconds']:.1f} |" for row in results["compilation"]
    ]
    lines += ["", "| k | global LoRA of 494 slots, s | kept, s |", "|---|---|---|"]
    lines += [
        f"| {k} | {row['new']:.2f} | {row['kept']:.3f} |" for k, row in results["global_lora_s"].items()
    ]
    image = results["image"]
    lines += [
        "",
        f"whole image, k = {SETTLED}: with PEFT {image['peft_s']:.3f} s; relative to it the base model "
        f"{image['base']:.2f}, direct {image['direct']:.2f}, gated {image['gated']:.2f}; "
        f"pixels of direct that differ from PEFT's: {image['differing_pixels']}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    with exit_on_error():
        main()
