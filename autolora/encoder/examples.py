"""The training examples: the adapters of the training lock with the captions of their renderings."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from autolora.dataset.store import locked_captions, rows, training_lock
from autolora.encoder.model import TextEncoder
from autolora.errors import MissingArtifact

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainExample:
    """An adapter of the training split with its captions."""

    sha256: str
    family: str
    renderings: tuple[tuple[str, ...], ...]
    """the captions of each rendering that has some"""
    drawn: bool = False
    """whether the renderings are the adapter's own drawings"""

    @property
    def captions(self) -> tuple[str, ...]:
        """Return all captions."""
        return tuple(text for texts in self.renderings for text in texts)


@dataclass(frozen=True, slots=True)
class CaptionFeatures:
    """The text features of the examples' captions, and which of them describe which example."""

    features: Tensor
    """(T, d), one row per distinct caption"""
    of_adapter: tuple[Tensor, ...]
    """per adapter: rows of `features`, one per caption, so repeated captions count repeatedly"""

    @classmethod
    def of(cls, train_examples: Sequence[TrainExample], text_encoder: TextEncoder) -> Self:
        """Encode each distinct caption once."""
        distinct = sorted({text for example in train_examples for text in example.captions})
        row = {text: i for i, text in enumerate(distinct)}
        of_adapter = tuple(
            torch.tensor([row[text] for text in example.captions]) for example in train_examples
        )
        return cls(torch.from_numpy(text_encoder.encode(distinct)), of_adapter)

    def by_adapter(self) -> list[Tensor]:
        """Return the features (n, d) of each adapter's captions."""
        return [self.features[rows] for rows in self.of_adapter]

    def sample(self, adapters: Tensor, generator: torch.Generator) -> Tensor:
        """Return one random caption, a row of `features`, for each of these adapters (N,)."""
        choices = [self.of_adapter[int(i)] for i in adapters]
        return torch.stack([rows[torch.randint(len(rows), (), generator=generator)] for rows in choices])


def load_examples(root: Path) -> list[TrainExample]:
    """Return the adapters of the lock's training split that are still in the dataset and have captions.

    Raises MissingArtifact if there are none.
    """
    in_dataset = {row["sha256"] for row in rows(root, "adapters")}
    captions = locked_captions(root)
    examples, num_dropped = [], 0
    for row in training_lock(root).in_split("train"):
        renderings = tuple(
            tuple(caption.text for caption in captions[image])
            for image in row.renderings
            if image in captions
        )
        if row.sha256 in in_dataset and renderings:
            examples.append(TrainExample(row.sha256, row.family, renderings, row.drawn))
        else:
            num_dropped += 1
    if num_dropped:
        logger.warning("training without %d locked adapters: withdrawn, or without captions", num_dropped)
    if not examples:
        raise MissingArtifact(
            "data/training.jsonl has no training adapter with captions: use a published encoder (encoder.from in "
            "params.yaml), which needs none; or move dataset.train_until in params.yaml so that it covers adapters "
            "with images, then run `dvc repro`"
        )
    return examples
