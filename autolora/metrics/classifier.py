"""An image classifier that names what a picture shows, one value a field.

Any transformers image classifier whose labels are `field:value` serves; the logits of one field compete
among themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from autolora.errors import MismatchError, MissingArtifact
from autolora.storage.files import hash_folder

BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A classifier by fields; `digest` is the sha256 of its folder."""

    model: Any
    processor: Any
    labels: Mapping[str, Mapping[str, int]]
    """field -> value -> number of its logit"""
    digest: str

    def field_of(self, value: str) -> str | None:
        """Return the field that knows a value; None where none does."""
        return next((field for field, values in self.labels.items() if value in values), None)


def load_classifier(folder: Path, device: str) -> Classifier:
    """Load a classifier's folder with its image processor.

    Raises MissingArtifact when the folder is not one, MismatchError when a label is not `field:value`.
    """
    try:
        model = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32)
        processor = AutoImageProcessor.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise MissingArtifact(
            f"{folder} is no image classifier's folder ({error}): set judges.classifier in params.yaml to one, "
            "or to null"
        ) from error
    labels = read_labels(model.config.id2label)
    return Classifier(model.eval().to(device), processor, labels, hash_folder(folder))


def read_labels(names: Mapping[int, str]) -> dict[str, dict[str, int]]:
    """Return field -> value -> number of labels `field:value`, given by number.

    Raises MismatchError when a label is none.
    """
    labels: dict[str, dict[str, int]] = {}
    for number, name in names.items():
        field, colon, value = name.partition(":")
        if not (field and colon and value):
            raise MismatchError(
                f"the classifier's label {name!r} is not of the form field:value: set judges.classifier in "
                "params.yaml to one with such labels, or to null"
            )
        labels.setdefault(field, {})[value] = int(number)
    return labels


@torch.inference_mode()
def classify(classifier: Classifier, images: Sequence[Image.Image]) -> dict[str, list[str]]:
    """Name what each picture shows: field -> one value a picture."""
    named: dict[str, list[str]] = {field: [] for field in classifier.labels}
    for start in range(0, len(images), BATCH):
        batch = [image.convert("RGB") for image in images[start : start + BATCH]]
        pixels = classifier.processor(images=batch, return_tensors="pt")["pixel_values"]
        logits = classifier.model(pixel_values=pixels.to(classifier.model.device)).logits
        for field, values in classifier.labels.items():
            best = logits[:, list(values.values())].argmax(dim=1).tolist()
            named[field] += [list(values)[i] for i in best]
    return named
