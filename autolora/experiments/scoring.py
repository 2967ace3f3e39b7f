"""Scores that the judges give the images of a prompt case: one number per image, by method and metric.

prompt similarity   CLIP: cosine of image and prompt
adapter similarity  CLIP: mean cosine of the image and the adapter's renderings (of two: adapter 1, adapter 2)
base similarity     CLIP: cosine of the image and the base's image from the same seed
VQAScore            judge VLM: probability that the image shows the content of the prompt
theme shown         classifier: 1 if it detects the adapter's theme (of two: theme 1 shown, theme 2 shown)
both shown          classifier: 1 if it detects the themes of both adapters
neither shown       classifier: 1 if it detects the theme of neither loaded adapter; the prompt asks for neither
"""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from autolora.experiments.cases import PromptCase
from autolora.metrics.clip import image_features, similarity, text_features
from autolora.metrics.judges import Judges, detect, vqa_score
from autolora.storage.arrays import Float32Array, Float64Array

MethodImages = dict[str, list[Image.Image]]
"""method -> one image per seed"""
Scores = dict[str, Float64Array]
"""metric -> its value for each seed (seeds,), nan if it does not apply"""


def score_images(
    judges: Judges,
    case: PromptCase,
    images: MethodImages,
    renderings: Callable[[str], Sequence[Image.Image]],
) -> dict[str, Scores]:
    """Return method -> metric -> scores (seeds,) of a case's images.

    renderings: returns those of an adapter by its sha256. Methods that share one list of images are scored once.
    """
    distinct = {id(batch): batch for batch in images.values()}
    features = {key: image_features(judges.clip, batch) for key, batch in distinct.items()}
    base = features[id(images["base"])]
    prompt = text_features(judges.clip, [case.prompt])
    gallery = [image_features(judges.clip, renderings(sha256)) for sha256 in case.adapters]
    scores: dict[int, Scores] = {}
    for key, batch in distinct.items():
        row = {"prompt similarity": similarity(features[key], prompt)}
        row |= _image_similarity(case, features[key], base, gallery)
        row |= {"VQAScore": vqa_score(judges, batch, case.content)}
        scores[key] = row | _themes_shown(judges, case, batch)
    return {method: scores[id(batch)] for method, batch in images.items()}


def _image_similarity(
    case: PromptCase, features: Float32Array, base: Float32Array, gallery: Sequence[Float32Array]
) -> Scores:
    """Return the cosines (seeds,) to the base's images, or to the renderings of each adapter."""
    if case.scenario == "unrelated":
        return {"base similarity": (features.astype(np.float64) * base).sum(axis=1)}
    names = _numbered("adapter", "similarity", case)
    return {name: similarity(features, own) for name, own in zip(names, gallery, strict=True)}


def _themes_shown(judges: Judges, case: PromptCase, images: Sequence[Image.Image]) -> Scores:
    """Return whether the classifier detects the adapters' themes in each image (seeds,); empty without one."""
    if judges.classifier is None:
        return {}
    detected = detect(judges.classifier, images, case.themes)
    if case.scenario == "unrelated":
        return {"neither shown": np.prod([1 - shown for shown in detected], axis=0)}
    row = dict(zip(_numbered("theme", "shown", case), detected, strict=True))
    return row | ({"both shown": np.prod(detected, axis=0)} if len(detected) > 1 else {})


def _numbered(noun: str, metric: str, case: PromptCase) -> list[str]:
    if len(case.adapters) == 1:
        return [f"{noun} {metric}"]
    return [f"{noun} {number} {metric}" for number in range(1, len(case.adapters) + 1)]
