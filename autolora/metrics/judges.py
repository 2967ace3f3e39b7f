"""The judges of generated images: a CLIP model, a vision-language model and, if params.yaml names one, a classifier.

params.yaml should name models that neither generate images nor write captions that other models are trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from autolora import models, vlm
from autolora.metrics.classifier import Classifier, classify, load_classifier
from autolora.metrics.clip import Clip, load_clip
from autolora.params import JudgesParams, ModelsParams
from autolora.storage.arrays import Float64Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judges:
    """The loaded judges."""

    clip: Clip
    vlm: vlm.YesNoScorer
    classifier: Classifier | None
    question: str
    """of VQAScore; `{text}` stands for the text that the image should show"""
    facts: dict[str, str | None]
    """digests of the models, and the question"""


def load_judges(params: JudgesParams, base: ModelsParams) -> Judges:
    """Load the judges that params.yaml names, on the device and in the precision of `base`.

    Raises MissingArtifact when a model does not exist.
    """
    clip = load_clip(models.resolve(params.clip, params.clip_revision, key="judges.clip"), base.device)
    classifier = load_classifier(Path(params.classifier), base.device) if params.classifier else None
    facts = {
        "clip": clip.digest,
        "vlm": vlm.digest(params),
        "classifier": classifier.digest if classifier else None,
        "question": params.question,
    }
    return Judges(
        clip=clip,
        vlm=vlm.yes_no_scorer(params, base),
        classifier=classifier,
        question=params.question,
        facts=facts,
    )


def vqa_score(judges: Judges, images: Sequence[Image.Image], text: str) -> Float64Array:
    """Return the judge VLM's probability that each of N images shows a text: (N,), 0 to 1."""
    return np.array(vlm.vqa_scores(judges.vlm, images, [text] * len(images), judges.question))


def detect(
    classifier: Classifier, images: Sequence[Image.Image], values: Sequence[str | None]
) -> list[Float64Array]:
    """Return for each value, e.g. `cat`, whether the classifier detects it in each of N images: (N,), 1 or 0.

    A value that no field has, or None, gives nan for every image.
    """
    predictions = classify(classifier, images)
    detected = []
    for value in values:
        field = None if value is None else classifier.field_of(value)
        if field is None:
            detected.append(np.full(len(images), np.nan))
        else:
            detected.append(np.array([float(name == value) for name in predictions[field]]))
    return detected
