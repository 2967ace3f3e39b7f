"""The scores that `bench.image_search` compares, of adapters for images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from autolora import models
from autolora.encoder import store as encoder_store
from autolora.encoder.ridge import RidgeEncoder, slot_units
from autolora.errors import MismatchError
from autolora.image_search import GRADIENT_WEIGHT, combine
from autolora.matching.hybrid import directions
from autolora.metrics.clip import image_features, load_clip
from autolora.params import Params
from autolora.search.retriever import open_retriever
from autolora.storage.arrays import BoolArray, Float64Array
from bench.image_queries import Prompt, Searches, compute_gradients

AS_IT_IS, BY_WEIGHTS = "index as it is", "adapters without images"
"""columns: what is known of the adapters"""
CAPTIONS: Mapping[Prompt, str] = {"model": "caption by the VLM", "given": "caption by a person"}
GRADIENTS: Mapping[Prompt, str] = {
    "empty": "gradient without a prompt",
    "model": "gradient with the VLM's caption",
    "given": "gradient with a person's caption",
}
MIN_SPREAD = 1e-12
"""smallest divisor of a standard deviation"""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of all adapters for all images, alone or combined with those of gradients."""

    cosines: Float64Array
    """(Q, N)"""
    alignments: Float64Array | None = None
    """(Q, N)"""
    weight: float = GRADIENT_WEIGHT

    def within(self, row: int, searched: BoolArray) -> Float64Array:
        """Return the scores (N,) of one image in an index of some of the adapters; -inf for the others."""
        values = self.cosines[row, searched]
        if self.alignments is not None:
            values = combine(values, self.alignments[row, searched], self.weight)
        scores = np.full(len(searched), -np.inf)
        scores[searched] = values
        return scores


def compute_scores(root: Path, params: Params, searches: Searches) -> dict[str, dict[str, Scores]]:
    """Return column -> row -> scores."""
    retriever = open_retriever(root)
    found = retriever.index.find([member.sha256 for member in searches.members])
    adapters = {
        AS_IT_IS: retriever.index.vectors[found].astype(np.float64),
        BY_WEIGHTS: directions(retriever.index.weights_vectors[found].astype(np.float64)),
    }
    captions = {
        kind: retriever.embed_all([query.prompt(kind) for query in searches.queries]).astype(np.float64)
        for kind in CAPTIONS
    }
    gradients = compute_gradients(searches.queries, params, tuple(GRADIENTS))
    known = torch.from_numpy(searches.references())
    aligned = {kind: align(values, searches) for kind, values in gradients.items()}
    plain = {GRADIENTS[kind]: Scores(values) for kind, values in aligned.items()}
    plain |= {
        f"{GRADIENTS[kind]}, relative to references": Scores(relative(values, known, searches))
        for kind, values in gradients.items()
    }
    columns: dict[str, dict[str, Scores]] = {}
    for column, vectors in adapters.items():
        rows = {"judge CLIP on renderings": score_clip(params, searches)} if column == AS_IT_IS else {}
        for kind, texts in captions.items():
            rows[CAPTIONS[kind]] = Scores(texts @ vectors.T)
            rows[f"{CAPTIONS[kind]} and gradient"] = Scores(texts @ vectors.T, aligned[kind])
        rows |= plain
        for kind, values in gradients.items():
            mapped = through_encoder(root, values - values[known].mean(0))
            rows[f"{GRADIENTS[kind]}, through the encoder"] = Scores(mapped @ vectors.T)
        columns[column] = rows
    return columns


def score_clip(params: Params, searches: Searches) -> Scores:
    """Return the cosines of the judge's features of each image with the mean of each adapter's renderings."""
    clip = load_clip(models.resolve(params.judges.clip, params.judges.clip_revision), params.models.device)
    images = image_features(clip, [Image.open(query.path) for query in searches.queries])
    means = [
        image_features(clip, [Image.open(image.path) for image in member.renderings]).mean(0)
        for member in searches.members
    ]
    return Scores(images.astype(np.float64) @ directions(np.stack(means).astype(np.float64)).T)


def align(gradients: Tensor, searches: Searches) -> Float64Array:
    """Return the mean cosines over slots (Q, N) of gradients (Q, S, m, p) with the adapters' updates."""
    updates = slot_units(torch.stack([member.sketch.values for member in searches.members]))
    cosines: Float64Array = (slot_units(gradients) @ updates.T).double().numpy()
    return cosines


def relative(gradients: Tensor, known: Tensor, searches: Searches) -> Float64Array:
    """Return the same for gradients less the mean of the reference images', by adapter in standard deviations over
    these images. known (Q,): the reference images.
    """
    cosines = align(gradients - gradients[known].mean(0), searches)
    references = cosines[known.numpy()]
    values: Float64Array = (cosines - references.mean(0)) / np.maximum(references.std(0), MIN_SPREAD)
    return values


def through_encoder(root: Path, gradients: Tensor) -> Float64Array:
    """Return the unit vectors (Q, d) to which the encoder maps gradients, as it does the rows of concepts.

    Raises MismatchError if the encoder is not the ridge regression.
    """
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    if not isinstance(encoder, RidgeEncoder) or encoder.config.variant.slots != "canonical":
        raise MismatchError("the encoder reads no gradients: train one with encoder.preset best")
    vectors: Float64Array = (
        functional.normalize(slot_units(gradients) @ encoder.weights, dim=-1).double().numpy()
    )
    return vectors
