"""The sketch at real sizes: synthetic LoRAs are read, sketched and embedded, and compared by exact inner products.

`python -m bench.sketching` writes metrics/sketch.json, docs/images/sketch.png and the measured part of
docs/sketch.md. An interrupted run resumes from cache/sketching/, which is deleted at the end. `--preset small` uses a
few blocks and adapters, prints the same tables and writes no files.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autolora.errors import exit_on_error
from autolora.inspection.base_model import FLUX_DEV
from autolora.lora.factors import Lora
from autolora.lora.fingerprint import WIDTH, fingerprint
from autolora.lora.read import read
from autolora.lora.sketch import Sketch, SketchSpec, sketch
from autolora.lora.slots import slots
from autolora.metrics.numbers import rounded
from autolora.params import Params, load
from autolora.storage.files import append_rows, read_rows, write_atomic
from autolora.storage.hashes import hash_file, hash_value
from bench import sketch_figure, sketch_tables
from bench.costs import (
    PROFILE,
    build_encoder,
    check_fused,
    embed,
    measure_largest,
    name_processor,
    temporary_lora_file,
    time_sizes,
)
from bench.findings import Findings, Row, shape_name, summarize
from bench.pairs import compare_all, compute_exact
from bench.similarity import (
    Shape,
    SketchFile,
    compare_sketches,
    inner_product,
    normalize,
    open_array,
    sketch_shapes,
    to_half,
)
from bench.synthetic import AdapterSpec, PoolSpec, draw_lora, lay_out, list_adapters
from bench.timing import cpu_timed, today
from bench.variants import Copy, copies, lay_out_copy

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.sketching"
METRICS = ROOT / "metrics" / "sketch.json"
THRESHOLDS = (0.9, 0.95, 0.98)
"""on cosines, in addition to the profile's threshold"""
BATCH = 8
"""adapters that are sketched in all shapes at once"""
SOURCE_FILES = ("synthetic.py", "variants.py", "similarity.py", "pairs.py", "sketching.py")
"""a change of these files invalidates the cache of an interrupted run"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Parameters of the measurement."""

    pool_spec: PoolSpec
    shapes: tuple[Shape, ...]
    copied: int
    """number of adapters that are copied, as each kind of copy that must be found"""
    reported: int
    """number of these adapters that are also copied as the other kinds"""
    largest: int
    """rank of the adapter for which peak memory is measured"""


FULL = Plan(
    pool_spec=PoolSpec(
        transformer=FLUX_DEV,
        shares=(0.02, 0.05, 0.1, 0.2, 0.4, 0.8),
        themes=12,
        authors=9,
        adapters=216,
        ranks=(4,) * 16 + (8,) * 14 + (16,) * 7 + (32,) * 2 + (64,),
    ),
    shapes=((8, 8), (16, 16), (24, 24), (32, 32), (48, 48), (64, 64), (16, 64), (64, 16)),
    copied=75,
    reported=25,
    largest=64,
)
SMALL = Plan(
    pool_spec=PoolSpec(
        transformer=FLUX_DEV | {"num_layers": 2, "num_single_layers": 2},
        shares=(0.05, 0.2, 0.8),
        themes=3,
        authors=4,
        adapters=18,
        ranks=(4, 4, 8, 16),
    ),
    shapes=((8, 8), (32, 32), (16, 64)),
    copied=3,
    reported=2,
    largest=16,
)
PRESETS = {"full": FULL, "small": SMALL}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the tables; the full preset also writes metrics, figure and document."""
    parser = argparse.ArgumentParser(prog="python -m bench.sketching", description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="full")
    preset = parser.parse_args(arguments).preset
    torch.set_num_threads(1)
    findings = measure(PRESETS[preset], ROOT / "cache" / "sketching")
    print("\n".join(sketch_tables.measured_lines(findings)))
    if preset == "full":
        write_atomic(METRICS, json.dumps(findings, indent=1) + "\n")  # in the order of the tables
        write_atomic(ROOT / "docs" / "images" / "sketch.png", sketch_figure.draw(findings))
        sketch_tables.update(ROOT / "docs" / "sketch.md", findings)


def measure(plan: Plan, cache: Path) -> Findings:
    """Return the results of a plan; results of an interrupted run in `cache` are reused."""
    started = time.monotonic()
    params, pool_spec = load(PROFILE), plan.pool_spec
    size = params.pool.sketch_size
    sources = [hash_file(Path(__file__).parent / name) for name in SOURCE_FILES]
    folder = cache / hash_value([asdict(plan), sources, SketchSpec(size).key])[:12]
    sketch_files = SketchFiles(plan, folder, size)
    rows = measure_adapters(plan, params, folder, sketch_files)
    copied = measure_copies(plan, params, folder, sketch_files)
    exact = compute_exact(pool_spec, folder / "exact")
    sketched = {shape: compare_all(sketch_file) for shape, sketch_file in sketch_files.by_shape.items()}
    cosines = {shape_name(shape): normalize(inner) for shape, (inner, _) in sketched.items()}
    cosines |= {"slots": sketched[size, size][1], "fingerprint": sketch_files.compare_fingerprints()}
    inner = {shape: products for shape, (products, _) in sketched.items()}
    thresholds = {*THRESHOLDS, params.dataset.family_cosine}
    statistics = summarize(pool_spec, rows, copied, cosines, inner, exact, thresholds)
    facts = {
        "date": today().isoformat(),
        "command": COMMAND,
        "hardware": f"one core of {name_processor()}, torch {torch.__version__}",
        "profile shape": shape_name((size, size)),
        "family_cosine": params.dataset.family_cosine,
        "fused": check_fused(pool_spec, size),
        "sizes": time_sizes(pool_spec, params, [m for m, p in plan.shapes if m == p]),
        "largest": measure_largest(pool_spec, plan.largest, folder, size),
    }
    shutil.rmtree(folder)
    findings: Findings = rounded(statistics | facts | {"seconds": time.monotonic() - started})
    return findings


class SketchFiles:
    """Sketches of all adapters on disk in every shape, and their fingerprints."""

    def __init__(self, plan: Plan, folder: Path, size: int) -> None:
        adapters, count = plan.pool_spec.adapters, len(slots(plan.pool_spec.transformer))
        self.by_shape = {shape: SketchFile(folder, shape, adapters, count) for shape in plan.shapes}
        self.fingerprints = open_array(folder / "fingerprints.npy", (adapters, WIDTH), np.float32)
        self.profile_shape = (size, size)

    def put(self, adapter: int, sketches: Mapping[Shape, Tensor]) -> None:
        """Write an adapter's sketches and fingerprint."""
        for shape, values in sketches.items():
            self.by_shape[shape].put(adapter, values)
        self.fingerprints[adapter] = fingerprint(to_stored_precision(sketches[self.profile_shape]).numpy())

    def compare_fingerprints(self) -> np.ndarray:
        """Return the cosines (N, N) of all fingerprints."""
        fingerprints = np.asarray(self.fingerprints, dtype=np.float64)
        return fingerprints @ fingerprints.T


def measure_adapters(plan: Plan, params: Params, folder: Path, sketch_files: SketchFiles) -> list[Row]:
    """Return a row per adapter with file size (MB) and CPU seconds of hashing, parsing, sketching and encoding."""
    log, known = folder / "adapters.jsonl", slots(plan.pool_spec.transformer)
    done = {row["number"] for row in read_rows(log)}
    remaining = [adapter for adapter in list_adapters(plan.pool_spec) if adapter.number not in done]
    encoder = build_encoder(plan.pool_spec, params, params.pool.sketch_size)
    for start in range(0, len(remaining), BATCH):
        adapters = remaining[start : start + BATCH]
        measured = [
            measure_adapter(adapter, plan.pool_spec, params, folder, partial(embed, encoder))
            for adapter in adapters
        ]
        sketches = sketch_shapes([lora for _, lora in measured], known, plan.shapes)
        for index, adapter in enumerate(adapters):
            sketch_files.put(adapter.number, {shape: values[index] for shape, values in sketches.items()})
        append_rows(log, [row for row, _ in measured])
        print(f"adapters: {len(done) + start + len(adapters)} of {plan.pool_spec.adapters}", flush=True)
    return sorted(read_rows(log), key=lambda row: row["number"])


def measure_adapter(
    adapter: AdapterSpec,
    pool_spec: PoolSpec,
    params: Params,
    folder: Path,
    encode: Callable[[Sketch], Tensor],
) -> tuple[Row, Lora]:
    """Write, hash, parse, sketch and encode one adapter; return its row and its factors as read."""
    known, spec = slots(pool_spec.transformer), SketchSpec(params.pool.sketch_size)
    with temporary_lora_file(lay_out(draw_lora(adapter, pool_spec), adapter, pool_spec), folder) as path:
        megabytes = path.stat().st_size / 1e6
        hashing, _ = cpu_timed(partial(hash_file, path))
        parsing, reading = cpu_timed(partial(read, path, known, params.pool))
        sketching, sketched = cpu_timed(partial(sketch, reading.lora, known, spec))
        encoding, _ = cpu_timed(partial(encode, sketched))
    seconds = {"hash": hashing, "parse": parsing, "sketch": sketching, "encode": encoding}
    return asdict(adapter) | {"megabytes": megabytes, "seconds": seconds}, reading.lora


def measure_copies(plan: Plan, params: Params, folder: Path, sketch_files: SketchFiles) -> list[Row]:
    """Return a row per copied adapter with its copies' cosines with the original and the theme's other adapters."""
    log = folder / "copies.jsonl"
    done = {row["number"] for row in read_rows(log)}
    adapters = list_adapters(plan.pool_spec)
    for adapter in adapters[: plan.copied]:
        if adapter.number not in done:
            kinds = [copy for copy in copies() if copy.required or adapter.number < plan.reported]
            exact, sketches = make_copies(adapter, kinds, plan, params, folder)
            theme = [
                adapter.number,
                *(r.number for r in adapters if r.theme == adapter.theme and r != adapter),
            ]
            cosines = compare_copies(sketches, sketch_files, theme)
            row = {
                "number": adapter.number,
                "kinds": [copy.name for copy in kinds],
                "exact": exact,
                "cosines": cosines,
            }
            append_rows(log, [rounded(row)])
            print(f"copied adapters: {adapter.number + 1} of {plan.copied}", flush=True)
    return sorted(read_rows(log), key=lambda row: row["number"])


def make_copies(
    adapter: AdapterSpec, kinds: Sequence[Copy], plan: Plan, params: Params, folder: Path
) -> tuple[list[float], dict[Shape, Tensor]]:
    """Return the exact cosines of the copies with the original, and their sketches (copies, S, m, p) as stored."""
    known, lora = slots(plan.pool_spec.transformer), draw_lora(adapter, plan.pool_spec)
    norm_squared, copied = inner_product(lora, lora), []
    for copy in kinds:
        tensors = lay_out_copy(copy, lora, f"{plan.pool_spec.seed}|{copy.name}|{adapter.number}")
        with temporary_lora_file(tensors, folder) as path:
            copied.append(read(path, known, params.pool).lora)
    exact = [inner_product(lora, c) / (norm_squared * inner_product(c, c)) ** 0.5 for c in copied]
    sketches = sketch_shapes(copied, known, plan.shapes)
    return exact, {shape: to_stored_precision(values) for shape, values in sketches.items()}


def compare_copies(
    sketches: Mapping[Shape, Tensor], sketch_files: SketchFiles, theme: list[int]
) -> dict[str, list[list[float]]]:
    """Return cosines (copies, adapters of `theme`) by statistic."""
    cosines: dict[str, list[list[float]]] = {}
    for shape, values in sketches.items():
        copied, stored = values.flatten(2).numpy(), sketch_files.by_shape[shape].get(theme)
        inner, slot_cosines = compare_sketches(copied, stored)
        norms = [np.sqrt(np.square(x, dtype=np.float64).sum((1, 2))) for x in (copied, stored)]
        cosines[shape_name(shape)] = (inner / np.outer(*norms)).tolist()
        if shape == sketch_files.profile_shape:
            cosines["slots"] = slot_cosines.tolist()
            fingerprints = np.stack([fingerprint(sketched.numpy()) for sketched in values])
            cosines["fingerprint"] = (fingerprints @ sketch_files.fingerprints[theme].T).tolist()
    return cosines


def to_stored_precision(values: Tensor) -> Tensor:
    """Return sketches (…, S, m, p) rounded as in the pool, which stores them in half precision."""
    halves, scale = to_half(values)
    return halves.float() * scale[..., None, None]


if __name__ == "__main__":
    with exit_on_error():
        main()
