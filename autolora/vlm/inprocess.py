"""A vision-language model in this process, through transformers."""

import io
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from autolora import models
from autolora.errors import MissingArtifact
from autolora.params import ModelsParams
from autolora.vlm import answers
from autolora.vlm.answers import checked
from autolora.vlm.images import read

if TYPE_CHECKING:
    from PIL import Image


class InProcess:
    """The model in this process, through transformers."""

    def __init__(self, params: ModelsParams, batch: int) -> None:
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
        self._alone = threading.Lock()  # batches at once would only wait for each other's torch threads

    def describe(
        self, images: Sequence[Path], instruction: str, max_tokens: int
    ) -> Iterator[tuple[int, str]]:
        """Answer the instruction for each picture (Captioner.describe)."""
        for start in range(0, len(images), self._batch):
            with self._alone:
                texts = self._answer(images[start : start + self._batch], instruction, max_tokens)
            for place, text in enumerate(texts, start):
                yield place, checked(text, images[place])

    @torch.no_grad()
    def _answer(self, images: Sequence[Path], instruction: str, max_tokens: int) -> list[str]:
        """Return one answer a picture of at most one batch.

        The batch is filled up with its last picture: of one shape always, it gives a picture the same
        caption in whatever company it comes (a batch's shape decides how sums are rounded).
        """
        pictures = [_open(image) for image in images]
        pictures += pictures[-1:] * (self._batch - len(pictures))
        inputs = self._read(pictures, [instruction] * len(pictures))
        tokens = self._model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        written = tokens[: len(images), inputs["input_ids"].shape[1] :]
        texts: list[str] = self._processor.batch_decode(written, skip_special_tokens=True)
        return texts

    @torch.no_grad()
    def yes(self, images: "Sequence[Image.Image]", questions: Sequence[str]) -> list[float]:
        """Return each picture's probability of yes (Witness.yes)."""
        words = answers.word_tokens(self._processor.tokenizer)
        found: list[float] = []
        with self._alone:
            for start in range(0, len(images), self._batch):
                part = slice(start, start + self._batch)
                inputs = self._read([image.convert("RGB") for image in images[part]], questions[part])
                found += answers.from_logits(self._model(**inputs, logits_to_keep=1).logits[:, -1], words)
        return found

    def _read(self, pictures: Sequence[Any], questions: Sequence[str]) -> Any:
        """Return the model's inputs for pictures and what is asked about each, padded on the left."""
        prompts = [
            self._processor.apply_chat_template(
                [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}],
                add_generation_prompt=True,
            )
            for question in questions
        ]
        inputs = self._processor(text=prompts, images=list(pictures), padding=True, return_tensors="pt")
        return inputs.to(self._model.device)


def _open(image: Path) -> Any:
    """Return a picture as RGB (a PIL image)."""
    from PIL import Image

    with Image.open(io.BytesIO(read(image))) as opened:
        return opened.convert("RGB")
