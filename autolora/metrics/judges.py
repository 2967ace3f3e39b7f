"""The judges of generated pictures: a CLIP, a vision-language model, a classifier where there is one.

None of them makes pictures, or captions that anything has learned from, unless params.yaml says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autolora import models, vlm
from autolora.metrics.classifier import Classifier, classify, load_classifier
from autolora.metrics.clip import Clip, load_clip
from autolora.params import JudgesParams, ModelsParams, VllmParams

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judges:
    """The judges, loaded."""

    clip: Clip
    vlm: vlm.Witness
    classifier: Classifier | None
    question: str
    """of VQAScore, about `{text}`"""
    facts: dict[str, str | None]
    """what the judges are: digests, and the question"""


def load_judges(params: JudgesParams, place: ModelsParams, vllm: VllmParams) -> Judges:
    """Load the judges that params.yaml names, to where and how precisely models run there.

    Raises MissingArtifact when one is not there, CaptionError when no server serves the VLM.
    """
    clip = load_clip(models.resolve(params.clip, params.clip_revision), place.device)
    classifier = load_classifier(Path(params.classifier), place.device) if params.classifier else None
    facts = {
        "clip": clip.digest,
        "vlm": vlm.digest(params),
        "classifier": classifier.digest if classifier else None,
        "question": params.question,
    }
    return Judges(
        clip=clip,
        vlm=vlm.judge(params, place, vllm),
        classifier=classifier,
        question=params.question,
        facts=facts,
    )


def vqa_score(judges: Judges, images: Sequence[Image.Image], text: str) -> Floats:
    """Return how likely each picture shows a text, by the judge VLM: (N,), 0 to 1."""
    return np.array(vlm.yes(judges.vlm, images, [text] * len(images), judges.question))


def shows(
    classifier: Classifier, images: Sequence[Image.Image], values: Sequence[str | None]
) -> list[Floats]:
    """Return for each value, e.g. `cat`, in which pictures the classifier sees it (N,): 1 or 0.

    nan throughout for a value that no field knows, None among them.
    """
    named = classify(classifier, images)
    found = []
    for value in values:
        field = None if value is None else classifier.field_of(value)
        seen = [
            np.nan if field is None else float(name == value) for name in named[field or next(iter(named))]
        ]
        found.append(np.array(seen))
    return found
