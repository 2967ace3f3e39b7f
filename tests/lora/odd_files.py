"""Odd and hostile LoRA files, drawn from a seed, each with the truth: accept, or refuse with one of these codes.

The truth follows from how a file is made, not from what the reader says; a file that is to be accepted holds a
known update. `python -m tests.lora.odd_files --first 5000000 --count 1000` counts what the reader gets wrong; with
--json FILE it writes down, for every kind, the verdicts and the misses.
"""

import argparse
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from autolora.errors import RefusedFile
from autolora.lora.factors import Lora
from autolora.lora.read import read
from autolora.lora.sketch import SketchSpec, cosine, sketch
from autolora.storage.files import write_atomic
from tests.lora.copies import COPIES, DRESSINGS, LAYOUTS
from tests.lora.odd_headers import HEADERS, PLACES
from tests.lora.odd_tensors import LORAS, TENSORS
from tests.lora.writing import BOUNDS, SLOTS, draw_lora, peft
from tests.support.soak import hardware, today

ALIKE = 0.98
"""cosine of sketches from which on two adapters are near duplicates: dataset.family_cosine as shipped"""
FEWEST_SLOTS = 8
KINDS = (*HEADERS, *PLACES, *TENSORS, *LORAS, *COPIES, *DRESSINGS)
ACCEPTED = "accepted"
MISSES = ("accepted wrongly", "refused wrongly", "refused for another reason", "read as another update")
COUNTED = ("files", "accepted rightly", "refused rightly", *MISSES)


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


@dataclass(frozen=True, slots=True)
class Judgment:
    """What the reader says of a file, and what is wrong with that."""

    verdict: str
    """ACCEPTED, or the code of the refusal"""
    miss: str | None = None
    """one of MISSES"""
    words: str = ""
    """about a miss"""


def judge(odd: Odd) -> Judgment:
    """Compare what the reader says of a file with the truth."""
    try:
        reading = read(odd.path, SLOTS, BOUNDS)
    except RefusedFile as error:
        if error.code in odd.codes:
            return Judgment(error.code)
        return Judgment(error.code, MISSES[2] if odd.codes else MISSES[1], str(error))
    if odd.codes:
        return Judgment(ACCEPTED, MISSES[0], f"it is {' or '.join(odd.codes)}")
    spec = SketchSpec(BOUNDS.sketch_size)
    alike = cosine(sketch(reading.lora, SLOTS, spec), sketch(odd.lora, SLOTS, spec))
    if set(reading.lora) != set(odd.lora) or alike < ALIKE:
        words = f"{len(reading.lora)} of {len(odd.lora)} slots, cosine {alike:.4f}"
        return Judgment(ACCEPTED, MISSES[3], words)
    return Judgment(ACCEPTED)


@dataclass(slots=True)
class Tally:
    """What came of the files of one kind."""

    codes: tuple[str, ...]
    """they must be refused with one of these; none where they must be accepted"""
    verdicts: Counter[str] = field(default_factory=Counter)
    misses: Counter[str] = field(default_factory=Counter)

    def row(self) -> dict[str, Any]:
        """Return the kind's line of the results: its files by truth and verdict, and every kind of miss."""
        files, right = self.verdicts.total(), self.verdicts.total() - self.misses.total()
        return {
            "files": files,
            "must be": list(self.codes) or [ACCEPTED],
            "accepted rightly": 0 if self.codes else right,
            "refused rightly": right if self.codes else 0,
            "verdicts": dict(sorted(self.verdicts.items())),
        } | {miss: self.misses[miss] for miss in MISSES}


def try_seeds(seeds: Iterable[int]) -> dict[str, Tally]:
    """Judge the files of these seeds, print each miss, and return the kinds' tallies in the order of KINDS."""
    found: dict[str, Tally] = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            odd = draw(Path(folder), seed)
            said = judge(odd)
        tally = found.setdefault(odd.kind, Tally(odd.codes))
        tally.verdicts[said.verdict] += 1
        if said.miss:
            tally.misses[said.miss] += 1
            print(f"seed {seed}, {odd.kind}: {said.miss}: {said.verdict}: {said.words}")
    return {kind: found[kind] for kind in KINDS if kind in found}


def _save(tensors: Mapping[str, Tensor]) -> bytes:
    """Return a safetensors file; tensors may share memory here, but not there."""
    return save({key: tensor.clone().contiguous() for key, tensor in tensors.items()})


def table(kinds: Mapping[str, Mapping[str, Any]]) -> str:
    """Return, in Markdown, how many files got which verdict, and of which kinds they were."""
    files: Counter[str] = Counter()
    shown: dict[str, list[str]] = {}
    for kind, row in kinds.items():
        for verdict, count in row["verdicts"].items():
            files[verdict] += count
            shown.setdefault(verdict, []).append(kind)
    lines = [f"| `{verdict}` | {files[verdict]} | {'; '.join(of)} |\n" for verdict, of in shown.items()]
    return "".join(("| verdict | files | kinds |\n|---|---|---|\n", *lines))


def main(arguments: list[str] | None = None) -> None:
    """Count what the reader gets wrong over many seeds, and name each miss."""
    parser = argparse.ArgumentParser(prog="python -m tests.lora.odd_files", description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=len(KINDS))
    parser.add_argument("--json", type=Path, help="where to write the counts of every kind")
    chosen = parser.parse_args(arguments)
    tallies = try_seeds(range(chosen.first, chosen.first + chosen.count))
    kinds = {kind: tally.row() for kind, tally in tallies.items()}
    totals = {name: sum(row[name] for row in kinds.values()) for name in COUNTED}
    print(f"{chosen.count} files of {len(kinds)} kinds, seeds from {chosen.first}")
    for name, total in totals.items():
        print(f"{total:6d} {name}")
    print(table(kinds))
    if chosen.json:
        about = {"date": today(), "hardware": hardware(), "first": chosen.first, "count": chosen.count}
        write_atomic(chosen.json, json.dumps(about | {"totals": totals, "kinds": kinds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
