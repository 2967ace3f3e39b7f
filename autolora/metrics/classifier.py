"""An image classifier that names what an image shows, one value per field.

Any transformers image classifier with labels of the form `field:value` can be used. The prediction of a field is
the value with the highest logit among the values of that field.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from autolora.errors import MismatchError, MissingArtifact
from autolora.storage.hashes import hash_folder

BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A classifier with one prediction per field; `digest` is the sha256 of its folder."""

    model: Any
    processor: Any
    labels: Mapping[str, Mapping[str, int]]
    """field -> value -> index of its logit"""
    digest: str

    def field_of(self, value: str) -> str | None:
        """Return the field that has a value; None if no field has it."""
        return next((field for field, values in self.labels.items() if value in values), None)


def load_classifier(folder: Path, device: str) -> Classifier:
    """Load a classifier and its image processor from a folder.

    Raises MissingArtifact when the folder is not an image classifier, MismatchError when a label is not `field:value`.
    """
    try:
        model = AutoModelForImageClassification.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
        processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise MissingArtifact(
            f"{folder} is not the folder of a transformers image classifier ({error}): correct judges.classifier in "
            "params.yaml, or set it to null"
        ) from error
    labels = read_labels(model.config.id2label)
    return Classifier(model.eval().to(device), processor, labels, hash_folder(folder))


def read_labels(names: Mapping[int, str]) -> dict[str, dict[str, int]]:
    """Return field -> value -> logit index from labels `field:value` by logit index.

    Raises MismatchError when a label has another form.
    """
    labels: dict[str, dict[str, int]] = {}
    for index, label in names.items():
        field, colon, value = label.partition(":")
        if not (field and colon and value):
            raise MismatchError(
                f"the classifier's label {label!r} is not of the form field:value: set judges.classifier in "
                "params.yaml to a classifier with such labels, or to null"
            )
        labels.setdefault(field, {})[value] = int(index)
    return labels


@torch.inference_mode()
def classify(classifier: Classifier, images: Sequence[Image.Image]) -> dict[str, list[str]]:
    """Return field -> the predicted value of each of N images."""
    predictions: dict[str, list[str]] = {field: [] for field in classifier.labels}
    for start in range(0, len(images), BATCH):
        batch = [image.convert("RGB") for image in images[start : start + BATCH]]
        pixels = classifier.processor(images=batch, return_tensors="pt")["pixel_values"]
        logits = classifier.model(pixel_values=pixels.to(classifier.model.device)).logits
        for field, values in classifier.labels.items():
            best = logits[:, list(values.values())].argmax(dim=1).tolist()
            predictions[field] += [list(values)[i] for i in best]
    return predictions
