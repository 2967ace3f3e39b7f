"""One's own folder in an empty directory: from the first command to a right first hit, and thousands of files.

    python -m bench.own_folder [--encoder playground/encoder] [--files 2000]

Each case runs `autolora index FOLDER --encoder …` and `autolora search PROMPT` as new processes in an empty directory:

1. LoRAs of the playground that the encoder was not trained on, without names, images or sidecars
2. the same files with images, captions by the playground's VLM, and sidecars in three programs' shapes
3. synthetic files of two layouts with the shapes of the playground's base model, then the same again
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from autolora.dataset.store import training_lock
from autolora.errors import exit_on_error
from autolora.local.project import PARAMS_FILE, set_values
from autolora.local.settings import new_project
from autolora.lora.slots import Slot, slots
from autolora.metrics.bootstrap import estimate
from autolora.metrics.judgments import Judgment, read_judgments
from autolora.metrics.summary import Headline, update
from autolora.params import load
from autolora.storage.hashes import hash_file
from bench.processes import run_measured
from bench.timing import timed, today

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.own_folder"
NUM_FILES, NUM_SYNTHETIC = 8, 2000
LAYOUTS = (("transformer.", ".", "lora_A", "lora_B"), ("lora_transformer_", "_", "lora_down", "lora_up"))
"""prefix, separator and names of the factors, as diffusers and OneTrainer write them"""
RANKS = (4, 8, 16, 32)
GOAL_S = 60
RESAMPLES = 2000
KINDS = {"object": "a picture of a {}", "style": "a picture in the style of {}"}
"""kind of a theme -> a prompt that asks for it"""
AUTOLORA = (sys.executable, "-m", "autolora")


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A LoRA of the playground, with its images."""

    path: Path
    judgment: Judgment

    @property
    def prompt(self) -> str:
        """A prompt that asks for what it does."""
        return KINDS[self.judgment.kind or ""].format(self.judgment.theme)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the cases and write metrics/details.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path, default=ROOT / "playground" / "encoder")
    parser.add_argument("--files", type=int, default=NUM_SYNTHETIC, help="number of synthetic files")
    options = parser.parse_args(argv)
    files = held_out_files()
    rows: list[Headline] = []
    for name, is_described in (("own_folder", False), ("described_folder", True)):
        with tempfile.TemporaryDirectory() as folder:
            rows += measure_first_hit(name, files, options.encoder, Path(folder), is_described=is_described)
    with tempfile.TemporaryDirectory() as folder:
        rows += measure_many(options.files, options.encoder, Path(folder))
    update(ROOT, COMMAND, today(), rows)


def held_out_files() -> list[OwnFile]:
    """Return NUM_FILES LoRAs of different themes, of the split that the encoder was not trained on."""
    judgments = read_judgments(ROOT / "playground" / "themes.json")
    paths = {hash_file(path): path for path in (ROOT / "playground" / "pool").rglob("*.safetensors")}
    by_theme: dict[str, OwnFile] = {}
    for row in sorted(training_lock(ROOT).in_split("test"), key=lambda row: row.sha256):
        judgment = judgments.get(row.sha256)
        if judgment and judgment.kind in KINDS:
            by_theme.setdefault(judgment.theme, OwnFile(paths[row.sha256], judgment))
    return list(by_theme.values())[:NUM_FILES]


def measure_first_hit(
    name: str, files: Sequence[OwnFile], encoder: Path, folder: Path, *, is_described: bool
) -> Iterator[Headline]:
    """Yield the seconds from the first command to the first hit, and the share of prompts whose first hit is right."""
    own, project = folder / "loras", folder / "project"
    project.mkdir()
    for number, file in enumerate(files):
        write_file(own, number, file, is_described=is_described)
    if is_described:
        prepare_captions(project, own, encoder)
    seconds, _ = timed(lambda: run(project, "index", str(own), "--encoder", str(encoder)))
    times, right = [], []
    for number, file in enumerate(files):
        spent, output = timed(partial(run, project, "search", file.prompt, "-k", "1", "--json"))
        times.append(spent)
        right.append(json.loads(output)[0]["id"] == f"file{number}")
    share = estimate(np.array(right, dtype=np.float64), range(len(right)), RESAMPLES, seed=0)
    print(
        f"{name}: {len(files)} files, index {seconds:.1f} s, first search {times[0]:.1f} s (goal {GOAL_S} s "
        f"together), {sum(right)} of {len(files)} first hits are right"
    )
    yield Headline(name=f"reach.{name}_seconds", value=seconds + times[0], n=1, goal=GOAL_S, better="lower")
    yield Headline(
        name=f"reach.{name}_r_at_1",
        value=share.value,
        low=share.low,
        high=share.high,
        n=share.n,
        preset="best",
    )


def write_file(own: Path, number: int, file: OwnFile, *, is_described: bool) -> None:
    """Copy a file under a name that says nothing; if wanted, with images and a sidecar."""
    own.mkdir(exist_ok=True)
    shutil.copyfile(file.path, own / f"file{number}.safetensors")
    if not is_described:
        return
    shutil.copytree(file.path.parent / "images", own / f"file{number}")
    sidecars = {
        ".json": {"activation text": "", "sd version": "Unknown", "preferred weight": 1.0, "notes": ""},
        ".metadata.json": {
            "base_model": "Flux.1 D",
            "civitai": {"trainedWords": ["tok"]},
            "preview_nsfw_level": 1,
        },
        ".civitai.info": {"baseModel": "Flux.1 D", "nsfwLevel": 1, "model": {"allowCommercialUse": ["Sell"]}},
    }
    suffix = list(sidecars)[number % len(sidecars)]
    (own / f"file{number}{suffix}").write_text(json.dumps(sidecars[suffix]))


def prepare_captions(project: Path, own: Path, encoder: Path) -> None:
    """Write a project that captions images with the playground's VLM, as its own params do."""
    path, params = new_project(project, own, str(encoder)), load(ROOT / PARAMS_FILE)
    values = {
        "models.vlm": str(ROOT / params.models.vlm),
        "models.vlm_revision": None,
        "captions.engine": "transformers",
    }
    values |= {
        f"captions.instructions.{name}": getattr(params.captions.instructions, name)
        for name in ("short", "medium", "long")
    }
    path.write_text(set_values(path.read_text(), values))


def measure_many(count: int, encoder: Path, folder: Path) -> Iterator[Headline]:
    """Yield seconds and memory of indexing many synthetic files, and the seconds of the next run."""
    own, project = folder / "loras", folder / "project"
    own.mkdir()
    project.mkdir()
    write_synthetic(own, count)
    command = (*AUTOLORA, "index", str(own), "--encoder", str(encoder))
    first, second = run_measured(project, *command), run_measured(project, *command)
    print(
        f"{count} files: {first['seconds']} s, largest process {first['megabytes']} MB; next run {second['seconds']} s"
    )
    yield Headline(name="reach.many_files_seconds", value=first["seconds"], n=count, better="lower")
    yield Headline(name="reach.many_files_megabytes", value=first["megabytes"], n=count, better="lower")
    yield Headline(
        name="reach.many_files_second_run_seconds", value=second["seconds"], n=count, better="lower"
    )


def write_synthetic(own: Path, count: int) -> None:
    """Write synthetic LoRAs for the playground's base model, in layouts and subfolders as people have them."""
    known = slots(json.loads((ROOT / "playground/models/flux/transformer/config.json").read_text()))
    for number in range(count):
        path = own / f"theme{number % 10}" / f"lora{number}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_file(draw_synthetic(known, number), path)


def draw_synthetic(known: Sequence[Slot], number: int) -> dict[str, Tensor]:
    """Return random updates of all linears; rank and layout take turns."""
    generator, rank = torch.Generator().manual_seed(number), RANKS[number % len(RANKS)]
    prefix, separator, *names = LAYOUTS[number // len(RANKS) % len(LAYOUTS)]
    return {
        f"{prefix}{slot.name.replace('.', separator)}.{name}.weight": torch.randn(shape, generator=generator)
        .div(100)
        .bfloat16()
        for slot in known
        for name, shape in zip(names, ((rank, slot.d_in), (slot.d_out, rank)), strict=True)
    }


def run(project: Path, *arguments: str) -> str:
    """Run autolora in a project and return its output. Raises RuntimeError if it fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [*AUTOLORA, *arguments], cwd=project, env=environment, capture_output=True, text=True
    )
    if process.returncode:
        raise RuntimeError(f"autolora {' '.join(arguments)} failed:\n{process.stdout}\n{process.stderr}")
    return process.stdout


if __name__ == "__main__":
    with exit_on_error():
        main()
