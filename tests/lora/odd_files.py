"""Odd and hostile LoRA files, drawn from a seed, each with the truth: accept, or refuse with one of these codes.

The truth follows from how a file is made, not from what the reader says; a file that is to be accepted holds a
known update. `python -m tests.lora.odd_files --first 5000000 --count 1000` counts what the reader gets wrong.
"""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from autolora.errors import RefusedFile
from autolora.lora.factors import Lora
from autolora.lora.read import read
from autolora.lora.sketch import SketchSpec, cosine, sketch
from tests.lora.copies import COPIES, DRESSINGS, LAYOUTS
from tests.lora.odd_headers import HEADERS, PLACES
from tests.lora.odd_tensors import LORAS, TENSORS
from tests.lora.writing import BOUNDS, SLOTS, draw_lora, peft

ALIKE = 0.98
"""cosine of sketches from which on two adapters are near duplicates: dataset.family_cosine as shipped"""
FEWEST_SLOTS = 8
KINDS = (*HEADERS, *PLACES, *TENSORS, *LORAS, *COPIES, *DRESSINGS)
MISSES = ("accepted wrongly", "refused wrongly", "refused for another reason", "read as another update")


@dataclass(frozen=True, slots=True)
class Odd:
    """One file and the truth about it."""

    kind: str
    path: Path
    codes: tuple[str, ...]
    """it must be refused with one of these; none where it must be accepted"""
    lora: Lora
    """what it was made from: an accepted file holds this update, or a multiple of it"""


def draw(folder: Path, seed: int) -> Odd:
    """Write the file of a seed; kinds take turns."""
    rng, kind = random.Random(seed), KINDS[seed % len(KINDS)]
    path, lora = folder / "lora.safetensors", draw_valid(rng)
    tensors = LAYOUTS[rng.choice(sorted(LAYOUTS))](lora)
    if kind in PLACES:
        place, codes = PLACES[kind]
        place(rng, _save(tensors), path)
        return Odd(kind, path, codes, lora)
    codes = ()
    if kind in HEADERS:
        make, codes = HEADERS[kind]
        content = make(rng, _save(tensors))
    elif kind in TENSORS:
        damage, codes = TENSORS[kind]
        content = _save(damage(rng, tensors))
    elif kind in LORAS:
        redraw, codes = LORAS[kind]
        content = _save(peft(redraw(rng, lora)))
    elif kind in DRESSINGS:
        content = _save(DRESSINGS[kind](rng, tensors))
    else:
        copied = {name: COPIES[kind](rng, factors) for name, factors in lora.items()}
        content = _save(LAYOUTS[rng.choice(sorted(LAYOUTS))](copied))
    path.write_bytes(content)
    return Odd(kind, path, codes, lora)


def draw_valid(rng: random.Random) -> Lora:
    """Draw a LoRA of at least FEWEST_SLOTS slots, ranks 1 to 4."""
    lora = draw_lora(rng.randrange(1 << 30), tuple(rng.choices(range(1, 5), k=3)))
    chosen = rng.sample(sorted(lora), rng.randint(FEWEST_SLOTS, len(lora)))
    return {name: lora[name] for name in lora if name in chosen}


def judge(odd: Odd) -> str | None:
    """Return what the reader gets wrong, one of MISSES, with what it says; None where it is right."""
    try:
        reading = read(odd.path, SLOTS, BOUNDS)
    except RefusedFile as error:
        if error.code in odd.codes:
            return None
        miss = MISSES[2] if odd.codes else MISSES[1]
        return f"{miss}: {error.code}: {error}"
    if odd.codes:
        return f"{MISSES[0]}: it is {' or '.join(odd.codes)}"
    spec = SketchSpec(BOUNDS.sketch_size)
    alike = cosine(sketch(reading.lora, SLOTS, spec), sketch(odd.lora, SLOTS, spec))
    if set(reading.lora) != set(odd.lora) or alike < ALIKE:
        return f"{MISSES[3]}: {len(reading.lora)} of {len(odd.lora)} slots, cosine {alike:.4f}"
    return None


def _save(tensors: Mapping[str, Tensor]) -> bytes:
    """Return a safetensors file; tensors may share memory here, but not there."""
    return save({key: tensor.clone().contiguous() for key, tensor in tensors.items()})


def main(arguments: list[str] | None = None) -> None:
    """Count what the reader gets wrong over many seeds, and name each miss."""
    parser = argparse.ArgumentParser(prog="python -m tests.lora.odd_files", description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=len(KINDS))
    chosen = parser.parse_args(arguments)
    found: Counter[str] = Counter()
    for seed in range(chosen.first, chosen.first + chosen.count):
        with tempfile.TemporaryDirectory() as folder:
            odd = draw(Path(folder), seed)
            found["files that must be refused" if odd.codes else "files that must be accepted"] += 1
            if miss := judge(odd):
                found[miss.partition(":")[0]] += 1
                print(f"seed {seed}, {odd.kind}: {miss}")
    print(f"{chosen.count} files of {len(KINDS)} kinds, seeds from {chosen.first}")
    for name in ("files that must be refused", "files that must be accepted", *MISSES):
        print(f"{found[name]:6d} {name}")


if __name__ == "__main__":
    main()
