"""The sketch at true sizes: synthetic LoRAs through parse → sketch → encode, against exact inner products.

`python -m bench.sketching` measures, and writes metrics/sketch.json, docs/pictures/sketch.png and the numbers of
docs/sketch.md. Killed, it goes on where it was (cache/sketching/, emptied at the end). `--preset small` takes a few
blocks and adapters, prints the same tables and writes nothing.
"""

import argparse
import datetime
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

from autolora.lora.factors import Lora
from autolora.lora.fingerprint import WIDTH, fingerprint
from autolora.lora.read import read
from autolora.lora.sketch import Sketch, SketchSpec, sketch
from autolora.metrics.numbers import rounded
from autolora.params import Params, load
from autolora.slots import slots
from autolora.storage.files import append_rows, hash_file, hash_value, read_rows, write_atomic
from bench import curve
from bench.costs import (
    PROFILE,
    build_encoder,
    check_fused,
    embed,
    name_processor,
    time_sizes,
    weigh_largest,
    written,
)
from bench.findings import Findings, Row, spell, summarize
from bench.likeness import Shape, Shelf, compare, halve, inner_product, normalize, open_array, sketch_shapes
from bench.pairs import compare_all, compute_exact
from bench.synthetic import FLUX_DEV, Recipe, World, draw_lora, lay_out, write_recipes
from bench.timing import spend
from bench.variants import Copy, copies, lay_out_copy

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.sketching"
METRICS = ROOT / "metrics" / "sketch.json"
THRESHOLDS = (0.9, 0.95, 0.98)
"""on cosines, beside the profile's own"""
TOGETHER = 8
"""adapters whose sketches in all shapes are made at once"""
CODE = ("synthetic.py", "variants.py", "likeness.py", "pairs.py", "sketching.py")
"""a change of these measures everything again"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    world: World
    shapes: tuple[Shape, ...]
    copied: int
    """adapters that come back, each as every kind of copy that must be found"""
    reported: int
    """how many of them come back as the other kinds too"""
    largest: int
    """rank of the adapter whose peak memory is taken"""


FULL = Plan(
    world=World(
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
    world=World(
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
    """Measure and print; the full preset also writes metrics, picture and document."""
    parser = argparse.ArgumentParser(prog="python -m bench.sketching", description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="full")
    preset = parser.parse_args(arguments).preset
    torch.set_num_threads(1)
    findings = measure(PRESETS[preset], ROOT / "cache" / "sketching")
    print("\n".join(curve.write_lines(findings)))
    if preset == "full":
        write_atomic(METRICS, json.dumps(findings, indent=1) + "\n")  # in the order of the tables
        write_atomic(ROOT / "docs" / "pictures" / "sketch.png", curve.draw(findings))
        curve.update(ROOT / "docs" / "sketch.md", findings)


def measure(plan: Plan, cache: Path) -> Findings:
    """Return all numbers of a plan; what a killed run has left in `cache` is not measured again."""
    started = time.monotonic()
    params, world = load(PROFILE), plan.world
    size = params.pool.sketch_size
    sources = [hash_file(Path(__file__).parent / name) for name in CODE]
    folder = cache / hash_value([asdict(plan), sources, SketchSpec(size).key])[:12]
    shelves = Shelves(plan, folder, size)
    rows = take_in(plan, params, folder, shelves)
    copied = take_copies(plan, params, folder, shelves)
    exact = compute_exact(world, folder / "exact")
    sketched = {shape: compare_all(shelf) for shape, shelf in shelves.by_shape.items()}
    cosines = {spell(shape): normalize(inner) for shape, (inner, _) in sketched.items()}
    cosines |= {"slots": sketched[size, size][1], "fingerprint": shelves.compare_fingerprints()}
    inner = {shape: products for shape, (products, _) in sketched.items()}
    thresholds = {*THRESHOLDS, params.dataset.family_cosine}
    found = summarize(world, rows, copied, cosines, inner, exact, thresholds)
    facts = {
        "date": datetime.date.today().isoformat(),
        "command": COMMAND,
        "hardware": f"one core of {name_processor()}, torch {torch.__version__}",
        "chosen": spell((size, size)),
        "family_cosine": params.dataset.family_cosine,
        "fused": check_fused(world, size),
        "sizes": time_sizes(world, params, [m for m, p in plan.shapes if m == p]),
        "largest": weigh_largest(world, plan.largest, folder, size),
    }
    shutil.rmtree(folder)
    findings: Findings = rounded(found | facts | {"seconds": time.monotonic() - started})
    return findings


class Shelves:
    """The sketches of all adapters on disk, in every shape, and their fingerprints."""

    def __init__(self, plan: Plan, folder: Path, size: int) -> None:
        adapters, count = plan.world.adapters, len(slots(plan.world.transformer))
        self.by_shape = {shape: Shelf(folder, shape, adapters, count) for shape in plan.shapes}
        self.prints = open_array(folder / "fingerprints.npy", (adapters, WIDTH), np.float32)
        self.chosen = (size, size)

    def put(self, adapter: int, sketches: Mapping[Shape, Tensor]) -> None:
        """Keep an adapter's sketches and fingerprint."""
        for shape, values in sketches.items():
            self.by_shape[shape].put(adapter, values)
        self.prints[adapter] = fingerprint(as_kept(sketches[self.chosen]).numpy())

    def compare_fingerprints(self) -> np.ndarray:
        """Return the cosines (N, N) of all fingerprints."""
        prints = np.asarray(self.prints, dtype=np.float64)
        return prints @ prints.T


def take_in(plan: Plan, params: Params, folder: Path, shelves: Shelves) -> list[Row]:
    """Take every adapter through parse → sketch → encode once; its row holds processor's seconds and megabytes."""
    log, known = folder / "adapters.jsonl", slots(plan.world.transformer)
    done = {row["number"] for row in read_rows(log)}
    left = [recipe for recipe in write_recipes(plan.world) if recipe.number not in done]
    encoder = build_encoder(plan.world, params, params.pool.sketch_size)
    for start in range(0, len(left), TOGETHER):
        recipes = left[start : start + TOGETHER]
        taken = [take_one(recipe, plan.world, params, folder, partial(embed, encoder)) for recipe in recipes]
        sketches = sketch_shapes([lora for _, lora in taken], known, plan.shapes)
        for at, recipe in enumerate(recipes):
            shelves.put(recipe.number, {shape: values[at] for shape, values in sketches.items()})
        append_rows(log, [row for row, _ in taken])
        print(f"adapters: {len(done) + start + len(recipes)} of {plan.world.adapters}", flush=True)
    return sorted(read_rows(log), key=lambda row: row["number"])


def take_one(
    recipe: Recipe, world: World, params: Params, folder: Path, encode: Callable[[Sketch], Tensor]
) -> tuple[Row, Lora]:
    """Write, hash, parse, sketch and encode one adapter: its row, and its factors as read."""
    known, spec = slots(world.transformer), SketchSpec(params.pool.sketch_size)
    with written(lay_out(draw_lora(recipe, world), recipe, world), folder) as path:
        megabytes = path.stat().st_size / 1e6
        hashing, _ = spend(partial(hash_file, path))
        parsing, reading = spend(partial(read, path, known, params.pool))
        sketching, made = spend(partial(sketch, reading.lora, known, spec))
        encoding, _ = spend(partial(encode, made))
    seconds = {"hash": hashing, "parse": parsing, "sketch": sketching, "encode": encoding}
    return asdict(recipe) | {"megabytes": megabytes, "seconds": seconds}, reading.lora


def take_copies(plan: Plan, params: Params, folder: Path, shelves: Shelves) -> list[Row]:
    """Compare the copies of the first adapters with their originals and with the themes' others."""
    log = folder / "copies.jsonl"
    done = {row["number"] for row in read_rows(log)}
    recipes = write_recipes(plan.world)
    for recipe in recipes[: plan.copied]:
        if recipe.number not in done:
            kinds = [copy for copy in copies() if copy.asked or recipe.number < plan.reported]
            exact, sketches = copy_one(recipe, kinds, plan, params, folder)
            theme = [recipe.number, *(r.number for r in recipes if r.theme == recipe.theme and r != recipe)]
            alike = compare_copies(sketches, shelves, theme)
            row = {
                "number": recipe.number,
                "kinds": [copy.name for copy in kinds],
                "exact": exact,
                "alike": alike,
            }
            append_rows(log, [rounded(row)])
            print(f"adapters that came back: {recipe.number + 1} of {plan.copied}", flush=True)
    return sorted(read_rows(log), key=lambda row: row["number"])


def copy_one(
    recipe: Recipe, kinds: Sequence[Copy], plan: Plan, params: Params, folder: Path
) -> tuple[list[float], dict[Shape, Tensor]]:
    """Return, for each copy, its exact cosine with the original, and its sketches (copies, S, m, p) as kept."""
    known, lora = slots(plan.world.transformer), draw_lora(recipe, plan.world)
    energy, again = inner_product(lora, lora), []
    for copy in kinds:
        tensors = lay_out_copy(copy, lora, f"{plan.world.seed}|{copy.name}|{recipe.number}")
        with written(tensors, folder) as path:
            again.append(read(path, known, params.pool).lora)
    exact = [inner_product(lora, one) / (energy * inner_product(one, one)) ** 0.5 for one in again]
    sketches = sketch_shapes(again, known, plan.shapes)
    return exact, {shape: as_kept(values) for shape, values in sketches.items()}


def compare_copies(
    sketches: Mapping[Shape, Tensor], shelves: Shelves, theme: list[int]
) -> dict[str, list[list[float]]]:
    """Return cosines (copies, adapters of `theme`) by statistic."""
    alike: dict[str, list[list[float]]] = {}
    for shape, values in sketches.items():
        copied, kept = values.flatten(2).numpy(), shelves.by_shape[shape].get(theme)
        inner, of_slots = compare(copied, kept)
        norms = [np.sqrt(np.square(x, dtype=np.float64).sum((1, 2))) for x in (copied, kept)]
        alike[spell(shape)] = (inner / np.outer(*norms)).tolist()
        if shape == shelves.chosen:
            alike["slots"] = of_slots.tolist()
            prints = np.stack([fingerprint(one.numpy()) for one in values])
            alike["fingerprint"] = (prints @ shelves.prints[theme].T).tolist()
    return alike


def as_kept(values: Tensor) -> Tensor:
    """Return sketches (…, S, m, p) as they come back from the pool, which keeps them in half precision."""
    halves, scale = halve(values)
    return halves.float() * scale[..., None, None]


if __name__ == "__main__":
    main()
