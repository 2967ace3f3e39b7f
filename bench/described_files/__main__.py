"""Index a folder without an encoder as a user does, and count right first hits and right selections.

    python -m bench.described_files [--files 2000] [--fit]

The folder has the 130 described files; the other ones are named after everyday phrases. BM25 of the same texts stands
beside, and the described files alone. `--fit` prints the coefficients of relevance of autolora/encoder/language.py,
which the files with odd numbers give; the shares of selections are of even ones. It leaves out the other files, as
these may fit what stands around.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from autolora.encoder.everyday import EVERYDAY_PHRASES
from autolora.encoder.language import PartObservation, fit_observations
from autolora.errors import exit_on_error
from autolora.evaluation.prompts import places
from autolora.index.descriptions import texts_of
from autolora.local.project import PARAMS_FILE, set_values
from autolora.local.settings import new_project
from autolora.matching.evidence import Lane, PartSearch
from autolora.matching.parts import split_runs
from autolora.matching.shared_words import word_forms
from autolora.matching.words import split_words
from autolora.metrics.bootstrap import estimate
from autolora.metrics.numbers import rounded, to_json
from autolora.params import load
from autolora.search.retriever import Retriever, open_retriever
from autolora.storage.arrays import BoolArray, Float64Array
from autolora.storage.files import read_rows, write_atomic
from bench.bm25 import Bm25
from bench.processes import run_measured
from bench.timing import today

DATA, ROOT = Path(__file__).parent, Path(__file__).parents[2]
AUTOLORA = (sys.executable, "-m", "autolora")
RESULTS = ROOT / "metrics" / "described_files.json"
WIDTH, RANK, RESAMPLES = 3072, 2, 2000
FORMS, SOURCES = ("short", "prompt"), ("name", "header", "sidecar", "nothing")
TELLING = "all that say something"
STEPS, OBSERVED = 2, 2
"""of a selection, and best files before each that are observed"""
Scores = Callable[[str], Float64Array]


def main() -> None:
    """Measure, print and write metrics/described_files.json; or fit."""
    parser = argparse.ArgumentParser(prog="python -m bench.described_files", description=__doc__)
    parser.add_argument("--files", type=int, default=2000, help="files of the folder")
    parser.add_argument("--fit", action="store_true", help="print coefficients instead")
    options = parser.parse_args()
    if options.fit:
        with indexed_folder(0) as (retriever, _):
            print(fit(retriever))
        return
    results: dict[str, Any] = {"date": today().isoformat()}
    for count in (0, options.files):
        with indexed_folder(count) as (retriever, seconds):
            print(f"{len(retriever.index.rows)} files")
            results[f"{len(retriever.index.rows)} files"] = {"seconds": seconds} | measure(retriever)
    write_atomic(RESULTS, to_json(rounded(results)))


@contextmanager
def indexed_folder(count: int) -> Iterator[tuple[Retriever, dict[str, Any]]]:
    """Write and index a folder; yield a retriever, and seconds and memory. count: of files, at least the described."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_folder(folder / "loras", count)
        (folder / "project").mkdir()
        measured = index(folder / "project", folder / "loras")
        yield open_retriever(folder / "project"), measured


def write_folder(folder: Path, count: int) -> None:
    """Write the described files, and others up to this number, with tensors in three layouts of FLUX.1-dev."""
    described = list(read_rows(DATA / "files.jsonl"))
    for number, row in enumerate(described):
        path = folder / f"{number:03d}" / row["file"]
        path.parent.mkdir(parents=True)
        save_file(draw(number), path, row["header"] or None)
        if sidecar := row["sidecar"]:
            path.with_suffix(sidecar["suffix"]).write_text(json.dumps(sidecar["content"]))
    (folder / "other").mkdir()
    for number, phrase in enumerate(EVERYDAY_PHRASES[: max(0, count - len(described))], start=len(described)):
        name = "_".join(split_words(phrase))
        save_file(draw(number), folder / "other" / f"{name}_{number}.safetensors", {"format": "pt"})


def draw(number: int) -> dict[str, torch.Tensor]:
    """Return random updates of two linears; the layouts of diffusers, kohya and OneTrainer take turns."""
    generator = torch.Generator().manual_seed(number)
    layout = number % 3
    modules = ("attn.to_q", "attn.to_k") if layout != 1 else ("img_attn_proj", "txt_attn_proj")
    tensors: dict[str, torch.Tensor] = {}
    for module in modules:
        down, up = (
            torch.randn(RANK, WIDTH, generator=generator),
            torch.randn(WIDTH, RANK, generator=generator),
        )
        flat = module.replace(".", "_")
        prefix, names = (
            (f"transformer.transformer_blocks.0.{module}", ("lora_A", "lora_B")),
            (f"lora_unet_double_blocks_0_{flat}", ("lora_down", "lora_up")),
            (f"lora_transformer_transformer_blocks_0_{flat}", ("lora_down", "lora_up")),
        )[layout]
        tensors |= {
            f"{prefix}.{name}.weight": (value / 50).bfloat16()
            for name, value in zip(names, (down, up), strict=True)
        }
        if layout:
            tensors[f"{prefix}.alpha"] = torch.tensor(float(RANK))
    return tensors


def index(project: Path, loras: Path) -> dict[str, Any]:
    """Index the folder twice with this repository's sentence encoder; return seconds and memory."""
    path, params = new_project(project, loras, None), load(ROOT / PARAMS_FILE)
    values = {
        "encoder.language": params.encoder.language,
        "encoder.language_revision": params.encoder.language_revision,
    }
    path.write_text(set_values(path.read_text(), values))
    first, second = (run_measured(project, *AUTOLORA, "index") for _ in range(2))
    cold = run_measured(project, *AUTOLORA, "search", "a cat in the style of a woodcut")
    print(f"first run {first}, next run {second}, cold search {cold}")
    return {"first": first, "next": second, "search": cold}


def measure(retriever: Retriever) -> dict[str, Any]:
    """Return and print the shares of right hits and selections, with 95 % intervals over files."""
    found: dict[str, Any] = {}

    def report(name: str, values: Sequence[bool]) -> None:
        share = estimate(np.array(values, np.float64), range(len(values)), RESAMPLES, seed=0)
        found[name] = [share.value, share.low, share.high]
        print(f"{name}: {share.value:.2f} [{share.low:.2f}, {share.high:.2f}]")

    positions, asked = locate(retriever), read_prompts()
    for form in FORMS:
        for name, scores in methods(retriever).items():
            ranks = {
                row["number"]: rank(scores(row[form]), positions[row["number"]])
                for row in asked
                if row["known_by"]
            }
            for source in (*SOURCES, TELLING):
                own = [row["number"] for row in asked if row["known_by"] and is_of(row, source)]
                report(f"{form}, {name}, {source}, first", [ranks[number] == 1 for number in own])
                report(f"{form}, {name}, {source}, first five", [ranks[number] <= 5 for number in own])
        even = [row for row in asked if is_of(row, TELLING) and row["number"] % 2 == 0]
        pairs = [({positions[row["number"]]}, select(retriever, row[form])) for row in even]
        nothing = [row for row in asked if not row["known_by"]][::2]
        report(f"{form}, selected", [bool(right & chosen) for right, chosen in pairs])
        report(f"{form}, selected something else", [bool(chosen - right) for right, chosen in pairs])
        report(f"{form}, nothing fits, selected", [bool(select(retriever, row[form])) for row in nothing])
    return found


def methods(retriever: Retriever) -> Mapping[str, Scores]:
    """Return the search and its baseline."""
    bm25 = Bm25.of([Counter(split_words(" ".join(texts_of(row)))) for row in retriever.index.rows])
    return {
        "search": lambda text: places(retriever, text),
        "BM25": lambda text: bm25.score(set(split_words(text))),
    }


def read_prompts() -> list[dict[str, Any]]:
    """Return the prompts, each with what tells best what its file does; "" if no file fits."""
    files = list(read_rows(DATA / "files.jsonl"))
    return [
        row | {"known_by": files[row["number"]]["known_by"] if row["number"] >= 0 else ""}
        for row in read_rows(DATA / "prompts.jsonl")
    ]


def is_of(row: Mapping[str, Any], source: str) -> bool:
    """Return whether a prompt is about a file that this source tells about."""
    return row["known_by"] in (SOURCES[:-1] if source == TELLING else (source,))


def locate(retriever: Retriever) -> dict[int, int]:
    """Return number of a described file -> its position in the index."""
    ids = retriever.index.rows.columns.column("id").to_pylist()
    folders = {
        int(id.partition("/")[0]): position for position, id in enumerate(ids) if not id.startswith("other/")
    }
    return folders


def rank(scores: Float64Array, position: int) -> int:
    """Return the rank of a file, the last one among equal scores."""
    return int((scores >= scores[position]).sum())


def select(retriever: Retriever, prompt: str) -> set[int]:
    """Return the positions of the files that a selection takes."""
    return set(retriever.index.find([hit.sha256 for hit in retriever.select(prompt)]).tolist())


def fit(retriever: Retriever) -> list[float]:
    """Return the coefficients that the prompts with odd numbers give, and half of those that nothing fits."""
    positions, asked = locate(retriever), read_prompts()
    odd = [row for row in asked if is_of(row, TELLING) and row["number"] % 2]
    nothing = [row for row in asked if not row["known_by"]][1::2]
    cases = [(form, row[form], positions.get(row["number"])) for form in FORMS for row in (*odd, *nothing)]
    coefficients: list[float] = fit_observations(lambda now: observe(retriever, cases, now)).tolist()
    return coefficients


def observe(
    retriever: Retriever, cases: Sequence[tuple[str, str, int | None]], coefficients: Float64Array
) -> Iterator[PartObservation]:
    """Yield the best files of each prompt before two steps of a selection, and without the right file.

    Other files that have all words of a run of the prompt are left out: they may fit as well.
    """
    for form, text, right in cases:
        lane = replace(retriever.parts(text).lanes[0], coefficients=coefficients)
        others = ~says(retriever, text)
        allowed = others.copy()
        if right is not None:
            others[right], allowed[right] = False, True
        search, kind = PartSearch([lane], allowed), form if right is not None else f"{form}, nothing"
        for _ in range(STEPS):
            best = yield from _best(kind, search, lane, right)
            search.use(best)
        if right is not None:
            yield from _best(f"{kind}, absent", PartSearch([lane], others), lane, None)


def says(retriever: Retriever, text: str) -> BoolArray:
    """Return which files (N,) have all words of a run of a text."""
    runs = [wanted for run in split_runs(text) if (wanted := set(word_forms(run)))]
    words = map(set, retriever.index.words.to_pylist())
    return np.array([any(wanted <= own for wanted in runs) for own in words], np.bool_)


def _best(
    kind: str, search: PartSearch, lane: Lane, right: int | None
) -> Generator[PartObservation, None, int]:
    """Yield the best files, and return the first of them."""
    odds = search.log_odds()
    best: list[int] = np.argsort(-odds.max(axis=1))[:OBSERVED].tolist()
    for row in best:
        part = int(odds[row].argmax())
        yield PartObservation(kind, search.product(row, part), float(lane.sizes[part]), row == right)
    return best[0]


if __name__ == "__main__":
    with exit_on_error():
        main()
