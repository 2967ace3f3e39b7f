"""What the judges say of a trial's pictures: one number a picture, by method and metric.

text         CLIP: cosine to the prompt
Sim, Sim 1   CLIP: mean cosine to the renderings of the (first) adapter
like base    CLIP: cosine to the base's picture from the same seed
VQA          VQAScore: the VLM's probability that the picture shows what the prompt says
shows, …     the classifier sees the theme of the adapter (shows 1, shows 2: of each; shows both)
shows neither  the classifier sees neither theme of the loaded adapters, which the prompt does not name
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autolora.experiments.cases import Trial
from autolora.metrics.clip import Features, image_features, similarity, text_features
from autolora.metrics.judges import Judges, shows, vqa_score

Floats = NDArray[np.float64]
Pictures = dict[str, list[Image.Image]]
"""method -> the pictures of all seeds"""
Values = dict[str, Floats]
"""metric -> its value for each seed, nan where it does not apply"""


def measure(
    judges: Judges, trial: Trial, pictures: Pictures, renderings: Callable[[str], Sequence[Image.Image]]
) -> dict[str, Values]:
    """Measure a trial's pictures: method -> metric -> (seeds,).

    renderings: those of an adapter, by its sha256. A picture that several methods share is judged once.
    """
    distinct = {id(made): made for made in pictures.values()}
    features = {key: image_features(judges.clip, made) for key, made in distinct.items()}
    base = features[id(pictures["base"])]
    text = text_features(judges.clip, [trial.prompt])
    own = [image_features(judges.clip, renderings(sha256)) for sha256 in trial.adapters]
    values: dict[int, Values] = {}
    for key, made in distinct.items():
        row = {"text": similarity(features[key], text)}
        row |= _likeness(trial, features[key], base, own)
        row |= {"VQA": vqa_score(judges, made, trial.content)}
        values[key] = row | _themes(judges, trial, made)
    return {method: values[id(made)] for method, made in pictures.items()}


def _likeness(trial: Trial, found: Features, base: Features, own: Sequence[Features]) -> Values:
    """Return the cosines (seeds,) to the base's pictures or to the adapters' own."""
    if trial.outcome == "base kept":
        return {"like base": (found.astype(np.float64) * base).sum(axis=1)}
    return {name: similarity(found, one) for name, one in zip(_numbered("Sim", trial), own, strict=True)}


def _themes(judges: Judges, trial: Trial, made: Sequence[Image.Image]) -> Values:
    """Return in which pictures (seeds,) the classifier sees the adapters' themes; empty without one."""
    if judges.classifier is None:
        return {}
    seen = shows(judges.classifier, made, trial.themes)
    if trial.outcome == "base kept":
        return {"shows neither": np.prod([1 - one for one in seen], axis=0)}
    row = dict(zip(_numbered("shows", trial), seen, strict=True))
    return row | ({"shows both": np.prod(seen, axis=0)} if len(seen) > 1 else {})


def _numbered(name: str, trial: Trial) -> list[str]:
    if len(trial.adapters) == 1:
        return [name]
    return [f"{name} {number}" for number in range(1, len(trial.adapters) + 1)]
