"""Search by an image: the adapters that draw such things.

An image is compared in two ways. Its caption is compared with the vectors of the index, as a prompt is. And the base
model's gradient on the image with that caption, in the direction of descent, points where the updates of LoRAs of such
images point, so its cosines with the adapters' sketches are a second score. `bench.image_search` measures both.
"""

import hashlib
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from PIL import Image
from torch import Tensor

from autolora import models
from autolora.concepts.denoising import DenoisingGradients
from autolora.encoder.ridge import slot_units
from autolora.errors import CaptionError, MismatchError, ParamsError
from autolora.image_query import open_image
from autolora.lora.sketch import SketchSpec
from autolora.params import ModelsParams, Params
from autolora.pool import store as pool
from autolora.pool.recipe import ReadRecipe
from autolora.records import Hit
from autolora.search.retriever import Conditions, Retriever
from autolora.storage.arrays import Float64Array

GRADIENT_WEIGHT = 0.3
"""of the gradient relative to the caption: the best of .1 to 1 on the playground's training and validation adapters, in
a trial that `bench.image_search` repeats"""
MAX_COMPARED = 1000
"""adapters nearest to the caption that are compared with the gradient: 1 GB of sketches at the size of FLUX.1-dev; with
a filter as many of those that pass it, and as many of all, which determine the scale of the scores"""
SKETCHES_AT_ONCE = 64


class ImageSearch:
    """Searches the index of a project by images; it loads the models when it first needs them, and keeps them.

    Threads may share it: they wait for each other.
    """

    def __init__(self, root: Path, params: Params, retriever: Retriever) -> None:
        """Load nothing. root: of the project.

        Raises MismatchError if the adapters of the index were read for another base model or with other sketches than
        those of params.
        """
        self._root, self._retriever = root, retriever
        self._params = replace(params, models=relative_to(root, params.models))
        check_recipe(self._params, retriever)
        self._lock = threading.Lock()

    def open(self, image: Path | str | Image.Image) -> Image.Image:
        """Return an image, upright, in RGB, of a file or as it was loaded. Raises as `open_image`."""
        return open_image(image, self._params.pool)

    def describe(self, image: Image.Image) -> str:
        """Return the caption of an image by the vision-language model that captions the pool's images.

        Raises ParamsError if params name no engine for captions, CaptionError if it does not caption the image.
        """
        section = self._params.captions
        if section.engine is None:
            raise ParamsError(
                "captions.engine is null, so no model captions the image: give its caption (--caption TEXT, in Python "
                "caption=TEXT), or set captions.engine to transformers or vllm"
            )
        from autolora import (
            vlm,
        )  # here, because with a given caption the extra `captions` need not be installed

        with self._lock, tempfile.TemporaryDirectory(prefix="autolora-image-") as folder:
            path = Path(folder, "image.png")
            image.save(path)
            request = vlm.CaptionRequest(image=path, instructions=(section.instructions.medium,))
            engine = vlm.captioner(self._params.models, replace(section, batch=1), self._params.vllm)
            (answer,) = engine.describe([request], section.max_tokens, section.max_image_side)
        if not isinstance(answer, vlm.Answer):
            raise CaptionError(
                f"the model does not caption the image ({answer.reason}): give its caption (--caption TEXT, in Python "
                "caption=TEXT)"
            )
        return answer.text

    def search(self, image: Image.Image, caption: str, k: int, where: Conditions = None) -> list[Hit]:
        """Return the k adapters that draw such things as an image shows, best first.

        The score of a hit is that of `combine`, and its relevance is that of such a cosine with a prompt. Neither
        depends on the filter.
        where: as in `Retriever.search`.
        Raises MissingArtifact if a sketch or the base model is missing, MismatchError if they do not fit.
        """
        positions, cosines = self._retriever.nearest(caption, max(k, MAX_COMPARED), where)
        if not len(positions):
            return []
        everything, all_cosines = self._retriever.nearest(caption, MAX_COMPARED)
        compared = np.union1d(positions, everything)
        adapters = pc.take(self._retriever.index.rows.columns.column("sha256"), compared).to_pylist()
        alignments = self._align(self._gradient(image, caption), adapters)
        reference = all_cosines.astype(np.float64), alignments[np.searchsorted(compared, everything)]
        found = alignments[np.searchsorted(compared, positions)]
        scores = combine(cosines.astype(np.float64), found, reference=reference)
        order = np.argsort(-scores, kind="stable")[:k]
        return self._retriever.hits(positions[order], scores[order])

    def _gradient(self, image: Image.Image, caption: str) -> Tensor:
        """Return the base model's gradient on an image (S, m, p); the same image has the same noise each time."""
        name = hashlib.sha256(image.tobytes()).hexdigest()
        with self._lock:
            return self._gradients.compute([image], [name], [caption])[0]

    @cached_property
    def _gradients(self) -> DenoisingGradients:
        params = self._params
        models.set_threads(params.models)
        return DenoisingGradients(
            models.load_pipeline(params.models),
            params.concepts,
            SketchSpec(params.pool.sketch_size),
            params.generation.max_sequence_length,
        )

    def _align(self, gradient: Tensor, adapters: Sequence[str]) -> Float64Array:
        """Return the mean cosines over slots (N,) of a gradient (S, m, p) with the updates of adapters."""
        unit, parts = slot_units(gradient[None])[0], []
        for start in range(0, len(adapters), SKETCHES_AT_ONCE):
            names = adapters[start : start + SKETCHES_AT_ONCE]
            sketches = torch.stack([pool.load_sketch(self._root, name).values for name in names])
            parts.append(slot_units(sketches.float()) @ unit)
        alignments: Float64Array = torch.cat(parts).double().numpy()
        return alignments


def combine(
    cosines: Float64Array,
    alignments: Float64Array,
    weight: float = GRADIENT_WEIGHT,
    reference: tuple[Float64Array, Float64Array] | None = None,
) -> Float64Array:
    """Return the scores (N,): weighted means of the cosines of a caption with adapters and of a gradient's.

    alignments (N,): cosines of the gradient with the adapters' updates. They are small, and a part of them is common to
    all adapters, so they are first shifted and scaled as those of `reference` are to the mean and the standard
    deviation of its cosines. reference: cosines and alignments (M,) of all adapters; None: those that are combined.
    """
    all_cosines, all_alignments = reference or (cosines, alignments)
    spread = float(all_alignments.std())
    if spread == 0:  # one adapter, or equal ones
        return cosines
    scaled = all_cosines.mean() + all_cosines.std() * (alignments - all_alignments.mean()) / spread
    scores: Float64Array = (cosines + weight * scaled) / (1 + weight)
    return scores


def relative_to(root: Path, params: ModelsParams) -> ModelsParams:
    """Return models whose relative folders are those of a repository, whatever the working directory is."""
    pipeline, vlm = (
        str(root / name) if name and (root / name).is_dir() else name
        for name in (params.pipeline, params.vlm)
    )
    return replace(params, pipeline=pipeline, vlm=vlm)


def check_recipe(params: Params, retriever: Retriever) -> None:
    """Raise MismatchError if an adapter of the index was read for another base model, or with other sketches."""
    recipe = ReadRecipe.for_base_model(models.transformer_config(params.models), params.pool).digest
    others = set(pc.unique(retriever.index.rows.columns.column("recipe")).to_pylist()) - {recipe}
    if others:
        raise MismatchError(
            f"the adapters of the index were read with recipe {min(others)}, but models.pipeline and the section "
            f"pool of params.yaml have {recipe}: gradients of that base model cannot be compared with their sketches; "
            "set both as they were, or run `dvc repro` (`autolora index` for your own files)"
        )
