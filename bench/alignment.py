"""Do LoRAs point where the base's gradients on images of their concept point? `python -m bench.alignment`

    python -m bench.alignment --loras LORAS --images IMAGES [--params profiles/flux.1-dev.yaml] [--json FILE]

LORAS holds NAME.safetensors, IMAGES a folder NAME with images for each, best such that no LoRA generated. The caption
of an image is in a text file beside it; unless all images have one, only the empty prompt is measured. Nothing is
trained. A concept is the mean gradient sketch of the negative flow-matching loss on its images, less the mean over all
concepts. Measured is the mean cosine over the slots of each LoRA with its own concept and with the others, their AUC
(the share of other concepts with a lower cosine), and how often the own concept has the highest: by the prompt, by kind
of slot, by noise level, and by the numbers of images and of draws of noise. Intervals resample LoRAs.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from autolora import models
from autolora.concepts.denoising import DenoisingGradients
from autolora.errors import MissingArtifact, exit_on_error
from autolora.lora.read import read_and_sketch
from autolora.lora.sketch import Sketch, SketchSpec
from autolora.lora.slots import Slot, slots
from autolora.metrics.bootstrap import estimates
from autolora.metrics.numbers import rounded, to_json
from autolora.params import Params, load
from autolora.storage.files import write_atomic
from bench.captioned_images import CaptionedImages, by_prompt, read_images
from bench.concept_tables import quote

COMMAND = "python -m bench.alignment"
IMAGE_COUNTS, DRAW_COUNTS = (1, 2, 4, 8, 16, 32), (1, 2, 4, 8)
RESAMPLES = 2000
Table = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class LabeledLora:
    """A LoRA and the name of its concept."""

    concept: str
    sketch: Sketch


def main() -> None:
    """Measure, print a table, and write it as JSON if asked for."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=str(__doc__).partition("\n")[0])
    parser.add_argument("--loras", type=Path, required=True, help="folder of NAME.safetensors")
    parser.add_argument(
        "--images", type=Path, required=True, help="folder with a folder NAME of images per LoRA"
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="file of parameters")
    parser.add_argument("--draws", type=int, default=4, help="draws of noise per image and noise level")
    parser.add_argument("--json", type=Path, help="file for the table")
    options = parser.parse_args()
    params = load(options.params)
    models.set_threads(params.models)
    loras = read_loras(options.loras, params)
    images = {lora.concept: read_images(options.images / lora.concept) for lora in loras}
    pipeline = models.load_pipeline(params.models)
    table = {
        prompt: measure(loras, concepts, pipeline, params, options.draws)
        for prompt, concepts in by_prompt(images).items()
    }
    print(to_markdown(table))
    if options.json:
        write_atomic(options.json, to_json(rounded(table)))


def read_loras(folder: Path, params: Params) -> list[LabeledLora]:
    """Return the LoRAs of a folder, each the only one of its concept.

    Raises MissingArtifact if there are fewer than two, RefusedFile if one cannot be used.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if len(paths) < 2:
        raise MissingArtifact(
            f"{folder} holds {len(paths)} files NAME.safetensors, but a LoRA is compared with the concepts of others: "
            "put at least two there"
        )
    known, spec = base_slots(params), SketchSpec(params.pool.sketch_size)
    return [LabeledLora(path.stem, read_and_sketch(path, known, params.pool, spec)[1]) for path in paths]


def base_slots(params: Params) -> tuple[Slot, ...]:
    """Return the slots of the base model."""
    return slots(models.transformer_config(params.models))


def measure(
    loras: Sequence[LabeledLora],
    images: Mapping[str, CaptionedImages],
    pipeline: Any,
    params: Params,
    draws: int,
) -> Table:
    """Return the tables of alignment, by what is varied: `all`, `kind of slot`, `noise level`, `images`, `draws`."""
    gradients = compute_gradients(images, pipeline, params, draws)
    kinds = [slot.type for slot in base_slots(params)]
    return make_tables(loras, gradients, kinds, params.concepts.noise_levels)


def compute_gradients(
    images: Mapping[str, CaptionedImages], pipeline: Any, params: Params, draws: int
) -> dict[str, Tensor]:
    """Return concept -> gradient sketches (D, L, N, S, m, p) of N images, by draw of noise and by noise level."""
    levels = params.concepts.noise_levels
    spec, tokens = SketchSpec(params.pool.sketch_size), params.generation.max_sequence_length
    parts: dict[str, list[Tensor]] = {name: [] for name in images}
    for draw in range(draws):
        for level in levels:
            single = replace(
                params.concepts, noise_levels=(level,), draws=1, seed=params.concepts.seed + draw
            )
            gradients = DenoisingGradients(pipeline, single, spec, tokens)
            for name, rows in images.items():
                parts[name].append(_compute_batches(gradients, name, rows, params.concepts.batch))
    return {
        name: torch.stack(tensors).view(draws, len(levels), *tensors[0].shape)
        for name, tensors in parts.items()
    }


def _compute_batches(gradients: DenoisingGradients, name: str, rows: CaptionedImages, batch: int) -> Tensor:
    """Return the gradients (N, S, m, p) of a concept's images; the noise follows from its name and the position."""
    parts = []
    for start in range(0, len(rows.images), batch):
        images, prompts = rows.images[start : start + batch], rows.prompts[start : start + batch]
        names = [f"{name}/{start + position}" for position in range(len(images))]
        parts.append(gradients.compute(images, names, prompts))
    return torch.cat(parts)


def make_tables(
    loras: Sequence[LabeledLora],
    gradients: Mapping[str, Tensor],
    kinds: Sequence[str],
    levels: Sequence[float],
) -> Table:
    """Return the tables of `measure`. gradients: of `compute_gradients`. kinds: of the slots (S,)."""
    everything = range(len(kinds))

    def row(part: tuple[slice, ...] = (), slots: Sequence[int] = everything) -> Table:
        means = {name: values[part].mean((0, 1, 2)) for name, values in gradients.items()}
        return align(loras, means, slots)

    draws, _, images = next(iter(gradients.values())).shape[:3]
    of_kind = {kind: [slot for slot in everything if kinds[slot] == kind] for kind in dict.fromkeys(kinds)}
    return {
        "all": {f"{images} images, {draws} draws": row()},
        "kind of slot": {kind: row(slots=slots) for kind, slots in of_kind.items()},
        "noise level": {str(level): row((slice(None), slice(at, at + 1))) for at, level in enumerate(levels)},
        "images": {
            str(count): row((slice(None), slice(None), slice(count)))
            for count in (*(few for few in IMAGE_COUNTS if few < images), images)
        },
        "draws": {
            str(count): row((slice(count),))
            for count in (*(few for few in DRAW_COUNTS if few < draws), draws)
        },
    }


def align(loras: Sequence[LabeledLora], concepts: Mapping[str, Tensor], slots: Sequence[int]) -> Table:
    """Return `own` and `others`, mean cosines with the own and the other concepts, `auc` and `first`, as estimates.

    concepts: name -> mean gradient (S, m, p). A cosine is the mean over those of `slots` that a LoRA updates.
    LoRAs without any of these slots are left out.
    """
    names = list(concepts)
    means = torch.stack([concepts[name][slots] for name in names]).flatten(2)
    centered = functional.normalize(means - means.mean(0), dim=-1)
    columns: dict[str, list[float]] = {"own": [], "others": [], "auc": [], "first": []}
    for lora in loras:
        present = lora.sketch.present[slots]
        if present.any():
            units = functional.normalize(lora.sketch.values[slots].flatten(1), dim=-1)
            cosines = torch.einsum("csd,sd->cs", centered, units)[:, present].mean(1)
            own, others = split(cosines, names.index(lora.concept))
            columns["own"].append(float(own))
            columns["others"].append(float(others.mean()))
            columns["auc"].append(float(((others < own) + (others == own) / 2).mean()))
            columns["first"].append(float(own > others.max()))
    arrays = {name: np.array(values) for name, values in columns.items()}
    result = estimates(arrays, range(len(columns["own"])), RESAMPLES, 0)
    return {name: asdict(estimate) for name, estimate in result.items()}


def split(values: Tensor, row: int) -> tuple[Tensor, Tensor]:
    """Return one value of (N,) and the others (N - 1,)."""
    return values[row], torch.cat([values[:row], values[row + 1 :]])


def to_markdown(tables: Mapping[str, Table]) -> str:
    """Return the tables of each prompt as one table, a line per value of what is varied."""
    lines = ["| prompt | varied | value | own concept | others | AUC | own is first |", "|---" * 7 + "|"]
    for prompt, table in tables.items():
        for varied, rows in table.items():
            for value, row in rows.items():
                auc, first = (quote(row[name]) for name in ("auc", "first"))
                own, others = (f"{row[name]['value']:.3f}" for name in ("own", "others"))
                lines.append(f"| {prompt} | {varied} | {value} | {own} | {others} | {auc} | {first} |")
    return "\n".join(lines)


if __name__ == "__main__":
    with exit_on_error():
        main()
