"""A vision-language model in this process, run with transformers."""

import io
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from autolora import models
from autolora.errors import MissingArtifact
from autolora.params import ModelsParams
from autolora.vlm.answers import checked_caption, yes_no_token_ids, yes_probabilities
from autolora.vlm.images import read_rendering

if TYPE_CHECKING:
    from PIL import Image


class InProcessModel:
    """A Captioner and YesNoScorer (autolora.vlm) that runs the model in this process."""

    def __init__(self, params: ModelsParams, batch: int) -> None:
        """Load the model.

        batch: number of images per forward pass. Raises MissingArtifact if the model is missing or damaged.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        folder = models.resolve(params.vlm, params.vlm_revision)
        models.set_threads(params)
        try:
            self._processor: Any = AutoProcessor.from_pretrained(folder)
            model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=models.dtype(params))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise MissingArtifact(
                f"cannot load the VLM from {folder}: {error}; build or download it again"
            ) from error
        self._processor.tokenizer.padding_side = "left"
        self._model = model.to(params.device).eval().requires_grad_(False)
        self._batch = batch
        self._lock = threading.Lock()  # concurrent forward passes would compete for the same torch threads

    def describe(
        self, images: Sequence[Path], instruction: str, max_tokens: int
    ) -> Iterator[tuple[int, str]]:
        """Yield (position, caption) for each image (Captioner.describe)."""
        for start in range(0, len(images), self._batch):
            with self._lock:
                texts = self._generate(images[start : start + self._batch], instruction, max_tokens)
            for position, text in enumerate(texts, start):
                yield position, checked_caption(text, images[position])

    @torch.no_grad()
    def _generate(self, paths: Sequence[Path], instruction: str, max_tokens: int) -> list[str]:
        """Return one answer per image of at most one batch.

        The last image is repeated to fill the batch: the shape of a batch decides how sums are rounded, so a fixed
        shape gives an image the same caption whatever else is in its batch.
        """
        images = [_open(path) for path in paths]
        images += images[-1:] * (self._batch - len(images))
        inputs = self._inputs(images, [instruction] * len(images))
        tokens = self._model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        new_tokens = tokens[: len(paths), inputs["input_ids"].shape[1] :]
        texts: list[str] = self._processor.batch_decode(new_tokens, skip_special_tokens=True)
        return texts

    @torch.no_grad()
    def yes_probabilities(self, images: "Sequence[Image.Image]", questions: Sequence[str]) -> list[float]:
        """Return the probability of yes for each image and its question (YesNoScorer.yes_probabilities)."""
        token_ids = yes_no_token_ids(self._processor.tokenizer)
        probabilities: list[float] = []
        with self._lock:
            for start in range(0, len(images), self._batch):
                batch = slice(start, start + self._batch)
                inputs = self._inputs([image.convert("RGB") for image in images[batch]], questions[batch])
                logits = self._model(**inputs, logits_to_keep=1).logits[:, -1]
                probabilities += yes_probabilities(logits, token_ids)
        return probabilities

    def _inputs(self, images: Sequence[Any], questions: Sequence[str]) -> Any:
        """Return the model's inputs for images and their questions, padded on the left."""
        prompts = [
            self._processor.apply_chat_template(
                [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}],
                add_generation_prompt=True,
            )
            for question in questions
        ]
        inputs = self._processor(text=prompts, images=list(images), padding=True, return_tensors="pt")
        return inputs.to(self._model.device)


def _open(path: Path) -> Any:
    """Return an image file as a PIL image in RGB."""
    from PIL import Image

    with Image.open(io.BytesIO(read_rendering(path))) as opened:
        return opened.convert("RGB")
