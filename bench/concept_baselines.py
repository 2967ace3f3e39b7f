"""The trivial baselines of `bench.concepts`: the same regression on features of images in place of weights.

A LoRA is the mean of its renderings' features, a concept the mean of its images' features less that of all images. The
features know nothing (the mean colors of squares), or are those of the judge CLIP. Unlike weights, they need the
renderings of the LoRA that is searched for; the rendering that a query describes is left out.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from autolora.concepts.store import Concepts
from autolora.encoder.concept_rows import make_concept_rows
from autolora.encoder.examples import CaptionFeatures
from autolora.encoder.model import Encoder, TextEncoder, embed_texts
from autolora.encoder.regression import JointRegression
from autolora.metrics.clip import Clip, image_features
from autolora.storage.arrays import Float32Array, Float64Array
from bench.concept_pools import RetrievalTask

SQUARES = 4
"""per side of an image"""
RIDGES = (0.03, 0.3, 3.0)
"""lambdas among which cross-validation chooses, so that the baseline is not weak for want of one"""
Features = Mapping[str, Float32Array]
"""sha256 of an image -> features (F,)"""


def square_colors(paths: Mapping[str, Path]) -> dict[str, Float32Array]:
    """Return the mean colors of SQUARES x SQUARES squares, 0 to 1, of images by their sha256."""
    features: dict[str, Float32Array] = {}
    for sha256, path in paths.items():
        with Image.open(path) as image:
            small = image.convert("RGB").resize((SQUARES, SQUARES), Image.Resampling.BOX)
        features[sha256] = np.asarray(small, dtype=np.float32).ravel() / np.float32(255)
    return features


def clip_features(paths: Mapping[str, Path], clip: Clip) -> dict[str, Float32Array]:
    """Return the judge's unit features of images by their sha256."""
    images = [Image.open(path) for path in paths.values()]
    return dict(zip(paths, image_features(clip, images), strict=True))


def predict_images(
    task: RetrievalTask,
    encoder: Encoder,
    text_encoder: TextEncoder,
    features: Features,
    concepts: Concepts,
    members: Sequence[Sequence[str]],
) -> dict[str, Float64Array]:
    """Return the vector (d,) of each rendering of the pool, by its sha256; their mean is a LoRA's.

    members: sha256 of each concept's images.
    """
    examples = task.train_examples
    rows = torch.stack([gallery(task, example.sha256, features) for example in examples])
    center = rows.mean(0)
    scale = (rows - center).square().sum(1).mean().sqrt()
    everything = mean_of([sha256 for images in members for sha256 in images], features)
    of_concepts = torch.stack([mean_of(images, features) - everything for images in members])
    captions = CaptionFeatures.of(examples, text_encoder).by_adapter()
    targets = torch.stack([encoder.text_map(texts).mean(0) for texts in captions])
    concept_rows = make_concept_rows(concepts, partial(embed_texts, encoder, text_encoder))
    solution = choose(
        (rows - center) / scale,
        functional.normalize(targets, dim=-1),
        [example.family for example in examples],
        functional.normalize(of_concepts, dim=-1),
        concept_rows.targets,
        concept_rows.families,
    )
    images = {image.sha256 for member in task.members for image in member.renderings}
    return {
        sha256: ((torch.from_numpy(features[sha256]) - center) / scale).double().numpy() @ solution.numpy()
        for sha256 in images
    }


def choose(
    rows: Tensor,
    targets: Tensor,
    families: Sequence[str],
    concept_rows: Tensor,
    concept_targets: Tensor,
    concept_families: Sequence[frozenset[str]],
) -> Tensor:
    """Return the regression (F, d) with the lambda and the weight of concepts that predict best out of fold."""

    def make(ridge: float) -> JointRegression:
        return JointRegression(
            rows.double(),
            targets.double(),
            families,
            (concept_rows - concept_rows.mean(0)).double(),
            concept_targets.double(),
            concept_families,
            ridge,
        )

    candidates = [(regression, regression.choose_weight()) for regression in map(make, RIDGES)]
    regression, weight = max(candidates, key=lambda pair: pair[0].mean_cosine(pair[1]))
    return regression.solve(weight)


def gallery(task: RetrievalTask, adapter: str, features: Features) -> Tensor:
    """Return the mean features of a LoRA's renderings."""
    return mean_of([image.sha256 for image in task.by_sha256[adapter].renderings], features)


def mean_of(images: Sequence[str], features: Features) -> Tensor:
    """Return the mean features of images."""
    return torch.from_numpy(np.mean([features[sha256] for sha256 in images], axis=0))
