"""Unusual and hostile LoRA files, drawn from a seed, each with the expected verdict: accepted, or its reason codes.

The expected verdict follows from how a file is created, not from the reader; a file that must be accepted contains
a known update. `python -m tests.lora.odd_files --first 5000000 --count 1000` counts the reader's errors; with
--json FILE it writes the verdicts and errors of every kind of file.
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
from tests.lora.copies import COPIES, LAYOUTS, STORAGE_VARIANTS
from tests.lora.odd_headers import HEADERS, SPECIAL_FILES
from tests.lora.odd_tensors import LORAS, TENSORS
from tests.lora.writing import BOUNDS, SLOTS, draw_lora, peft
from tests.support.soak import hardware, today

MIN_COSINE = 0.98
"""required cosine between the sketches of the expected and the read update"""
MIN_SLOTS = 8
KINDS = (*HEADERS, *SPECIAL_FILES, *TENSORS, *LORAS, *COPIES, *STORAGE_VARIANTS)
ACCEPTED = "accepted"
ERRORS = ("wrongly accepted", "wrongly refused", "refused with a wrong code", "read incorrectly")
COUNTED = ("files", "correctly accepted", "correctly refused", *ERRORS)


@dataclass(frozen=True, slots=True)
class OddFile:
    """One file and its expected verdict."""

    kind: str
    path: Path
    codes: tuple[str, ...]
    """expected reason codes; empty if the file must be accepted"""
    lora: Lora
    """the original LoRA: an accepted file contains this update, or a multiple of it"""


def draw(folder: Path, seed: int) -> OddFile:
    """Write the file of a seed and return it; consecutive seeds have consecutive kinds."""
    rng, kind = random.Random(seed), KINDS[seed % len(KINDS)]
    path, lora = folder / "lora.safetensors", draw_valid(rng)
    tensors = LAYOUTS[rng.choice(sorted(LAYOUTS))](lora)
    if kind in SPECIAL_FILES:
        create, codes = SPECIAL_FILES[kind]
        create(rng, _save(tensors), path)
        return OddFile(kind, path, codes, lora)
    codes = ()
    if kind in HEADERS:
        corrupt, codes = HEADERS[kind]
        content = corrupt(rng, _save(tensors))
    elif kind in TENSORS:
        change_tensors, codes = TENSORS[kind]
        content = _save(change_tensors(rng, tensors))
    elif kind in LORAS:
        reencode_image, codes = LORAS[kind]
        content = _save(peft(reencode_image(rng, lora)))
    elif kind in STORAGE_VARIANTS:
        content = _save(STORAGE_VARIANTS[kind](rng, tensors))
    else:
        copied = {name: COPIES[kind](rng, factors) for name, factors in lora.items()}
        content = _save(LAYOUTS[rng.choice(sorted(LAYOUTS))](copied))
    path.write_bytes(content)
    return OddFile(kind, path, codes, lora)


def draw_valid(rng: random.Random) -> Lora:
    """Draw a LoRA with at least MIN_SLOTS slots and ranks 1 to 4."""
    lora = draw_lora(rng.randrange(1 << 30), tuple(rng.choices(range(1, 5), k=3)))
    names = rng.sample(sorted(lora), rng.randint(MIN_SLOTS, len(lora)))
    return {name: lora[name] for name in lora if name in names}


@dataclass(frozen=True, slots=True)
class Judgment:
    """The reader's verdict on a file, and its error if the verdict is wrong."""

    verdict: str
    """ACCEPTED, or the code of the refusal"""
    error: str | None = None
    """one of ERRORS"""
    explanation: str = ""
    """of the error"""


def judge(file: OddFile) -> Judgment:
    """Return the reader's verdict on a file, compared with the expected one."""
    try:
        reading = read(file.path, SLOTS, BOUNDS)
    except RefusedFile as error:
        if error.code in file.codes:
            return Judgment(error.code)
        return Judgment(error.code, ERRORS[2] if file.codes else ERRORS[1], str(error))
    if file.codes:
        return Judgment(ACCEPTED, ERRORS[0], f"expected {' or '.join(file.codes)}")
    spec = SketchSpec(BOUNDS.sketch_size)
    similarity = cosine(sketch(reading.lora, SLOTS, spec), sketch(file.lora, SLOTS, spec))
    if set(reading.lora) != set(file.lora) or similarity < MIN_COSINE:
        explanation = f"{len(reading.lora)} of {len(file.lora)} slots, cosine {similarity:.4f}"
        return Judgment(ACCEPTED, ERRORS[3], explanation)
    return Judgment(ACCEPTED)


@dataclass(slots=True)
class Tally:
    """The judgments of all files of one kind."""

    codes: tuple[str, ...]
    """expected reason codes; empty if the files must be accepted"""
    verdicts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def row(self) -> dict[str, Any]:
        """Return the kind's row of the results: its expected codes, and its files by verdict and by error."""
        files, correct = self.verdicts.total(), self.verdicts.total() - self.errors.total()
        return {
            "files": files,
            "expected": list(self.codes) or [ACCEPTED],
            "correctly accepted": 0 if self.codes else correct,
            "correctly refused": correct if self.codes else 0,
            "verdicts": dict(sorted(self.verdicts.items())),
        } | {error: self.errors[error] for error in ERRORS}


def try_seeds(seeds: Iterable[int]) -> dict[str, Tally]:
    """Judge the files of these seeds, print each error, and return the tallies by kind, in the order of KINDS."""
    tallies: dict[str, Tally] = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            file = draw(Path(folder), seed)
            judgment = judge(file)
        tally = tallies.setdefault(file.kind, Tally(file.codes))
        tally.verdicts[judgment.verdict] += 1
        if judgment.error:
            tally.errors[judgment.error] += 1
            print(f"seed {seed}, {file.kind}: {judgment.error}: {judgment.verdict}: {judgment.explanation}")
    return {kind: tallies[kind] for kind in KINDS if kind in tallies}


def _save(tensors: Mapping[str, Tensor]) -> bytes:
    """Return a safetensors file; its tensors must not share memory, so they are copied."""
    return save({key: tensor.clone().contiguous() for key, tensor in tensors.items()})


def table(kinds: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a Markdown table of verdicts, with the number and the kinds of their files."""
    files: Counter[str] = Counter()
    kinds_by_verdict: dict[str, list[str]] = {}
    for kind, row in kinds.items():
        for verdict, count in row["verdicts"].items():
            files[verdict] += count
            kinds_by_verdict.setdefault(verdict, []).append(kind)
    lines = [
        f"| `{verdict}` | {files[verdict]} | {'; '.join(names)} |\n"
        for verdict, names in kinds_by_verdict.items()
    ]
    return "".join(("| verdict | files | kinds |\n|---|---|---|\n", *lines))


def main(arguments: list[str] | None = None) -> None:
    """Count the reader's errors over many seeds, and print each error."""
    parser = argparse.ArgumentParser(prog="python -m tests.lora.odd_files", description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=len(KINDS))
    parser.add_argument("--json", type=Path, help="file for the results of every kind")
    options = parser.parse_args(arguments)
    tallies = try_seeds(range(options.first, options.first + options.count))
    kinds = {kind: tally.row() for kind, tally in tallies.items()}
    totals = {name: sum(row[name] for row in kinds.values()) for name in COUNTED}
    print(f"{options.count} files of {len(kinds)} kinds, seeds from {options.first}")
    for name, total in totals.items():
        print(f"{total:6d} {name}")
    print(table(kinds))
    if options.json:
        about = {"date": today(), "hardware": hardware(), "first": options.first, "count": options.count}
        write_atomic(options.json, json.dumps(about | {"totals": totals, "kinds": kinds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
