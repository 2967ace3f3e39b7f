"""The error of the norm: ‖ΔW‖ estimated from the sketch, compared with the exact norm from the factors.

`python -m bench.sketch_norm` prints the tables of docs/sketch.md, "The norm". Adapters are drawn as for
`bench.sketching`, with the widths of FLUX.1-dev and with those of the playground, which has fewer linears.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from autolora.errors import exit_on_error
from autolora.lora.factors import Factors, squared_norm
from autolora.lora.sketch import SketchSpec, sketch
from autolora.lora.slots import Slot, slots
from autolora.params import load
from bench.costs import PROFILE
from bench.sketching import FULL
from bench.synthetic import PoolSpec, draw_lora, list_adapters
from bench.variants import copies

PLAYGROUND = {"num_layers": 2, "num_single_layers": 4, "num_attention_heads": 4, "attention_head_dim": 32}
COPIED = 0.25
"""share of the adapters that are copied"""
Squares = NDArray[np.float64]
"""(2, S): estimated and exact ‖ΔW‖² of each slot, 0 for absent slots"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the errors of both widths."""
    parser = argparse.ArgumentParser(prog="python -m bench.sketch_norm", description=__doc__)
    parser.add_argument("--flux", type=int, default=48, help="adapters with the widths of FLUX.1-dev")
    parser.add_argument("--playground", type=int, default=1000, help="adapters with the playground's widths")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    size = load(PROFILE).pool.sketch_size
    for label, transformer, count in (
        ("FLUX.1-dev", FULL.pool_spec.transformer, options.flux),
        ("playground", PLAYGROUND, options.playground),
    ):
        if count == 0:
            continue
        pool_spec = replace(FULL.pool_spec, transformer=transformer, adapters=count)
        print("\n".join(measure(label, pool_spec, SketchSpec(size))), flush=True)


def measure(label: str, pool_spec: PoolSpec, spec: SketchSpec) -> list[str]:
    """Return the lines of a table: errors over whole adapters, their blocks, their slots, and near-duplicates."""
    known, wholes, ratios = slots(pool_spec.transformer), [], []
    for adapter in list_adapters(pool_spec):
        lora = draw_lora(adapter, pool_spec)
        wholes.append(squares := compare_norms(lora, known, spec))
        if adapter.number < COPIED * pool_spec.adapters:
            for copy in copies():
                if copy.required:
                    changed = copy.change(lora, f"norm|{copy.name}|{adapter.number}")
                    ratios.append(
                        _norm_ratio(compare_norms(changed, known, spec).sum(1)) / _norm_ratio(squares.sum(1))
                    )
    blocks = [block for whole in wholes for block in sum_blocks(whole, known)]
    return [
        f"| {label} | n | mean error | standard deviation | 95 % are below | largest |",
        "|---|---|---|---|---|---|",
        to_line(f"adapter, up to {len(known)} linears", relative_errors(whole.sum(1) for whole in wholes)),
        to_line("one block of it", relative_errors(blocks)),
        to_line("one linear of it", relative_errors(part for whole in wholes for part in whole.T)),
        to_line("ratio of a near-duplicate's norm to the original's", np.array(ratios) - 1),
    ]


def compare_norms(lora: Mapping[str, Factors], known: Sequence[Slot], spec: SketchSpec) -> Squares:
    """Return each slot's ‖ΔW‖² (2, S), estimated from the sketch and exact."""
    estimated = sketch(lora, known, spec).values.double().square().sum((1, 2))
    exact = [squared_norm(lora[slot.name]) if slot.name in lora else 0.0 for slot in known]
    return np.stack((estimated.numpy(), np.array(exact)))


def sum_blocks(squares: Squares, known: Sequence[Slot]) -> list[NDArray[np.float64]]:
    """Return the estimated and exact ‖ΔW‖² (2,) of each transformer block."""
    blocks = groupby(range(len(known)), lambda index: known[index].name.split(".")[:2])
    return [squares[:, list(indices)].sum(1) for _, indices in blocks]


def relative_errors(pairs: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the relative errors of norms, from estimated and exact ‖ΔW‖² (2,); pairs that are zero are left out."""
    return np.array([_norm_ratio(pair) - 1 for pair in pairs if pair[1] > 0])


def to_line(label: str, errors: NDArray[np.float64]) -> str:
    """Return a line of the table, in percent."""
    sizes = np.abs(errors)
    numbers = (errors.mean(), errors.std(), np.quantile(sizes, 0.95), sizes.max())
    return " | ".join([f"| {label}", f"{len(errors):,}", *(f"{100 * x:.3g} %" for x in numbers)]) + " |"


def _norm_ratio(squares: NDArray[np.float64]) -> float:
    return float(np.sqrt(squares[0] / squares[1]))


if __name__ == "__main__":
    with exit_on_error():
        main()
