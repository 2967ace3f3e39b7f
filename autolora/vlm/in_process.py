"""A vision-language model in this process, run with transformers."""

import inspect
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from autolora import models
from autolora.errors import ImageFailed, MissingArtifact
from autolora.params import ModelsParams
from autolora.vlm.answers import checked_caption, yes_no_token_ids, yes_probabilities
from autolora.vlm.captioning import LONGER, Answer, CaptionRequest, FailedImage
from autolora.vlm.images import load_rendering

if TYPE_CHECKING:
    from PIL import Image


class InProcessModel:
    """A Captioner and YesNoScorer (autolora.vlm) that runs the model in this process."""

    def __init__(self, params: ModelsParams, batch: int) -> None:
        """Load the model.

        batch: number of images per forward pass. Raises MissingArtifact if the model is missing or damaged.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        folder = models.resolve(params.vlm, params.vlm_revision, key="models.vlm")
        models.set_threads(params)
        try:
            self._processor: Any = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
            model: Any = AutoModelForImageTextToText.from_pretrained(
                folder, dtype=models.dtype(params), trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise MissingArtifact(
                f"cannot load the VLM from {folder}: {error}; build or download it again"
            ) from error
        self._processor.tokenizer.padding_side = "left"
        self._model = model.to(params.device).eval().requires_grad_(False)
        self._batch = batch
        self._lock = threading.Lock()  # concurrent forward passes would compete for the same torch threads

    def describe(
        self, requests: Sequence[CaptionRequest], max_tokens: int, max_image_side: int
    ) -> Iterator[Answer | FailedImage]:
        """Yield the captions of all images (Captioner.describe)."""
        groups: dict[tuple[str, ...], list[tuple[int, Image.Image]]] = {}
        for position, request in enumerate(requests):
            try:
                image = load_rendering(request.image, max_image_side)
            except ImageFailed as error:
                yield FailedImage(position=position, reason=str(error))
            else:
                groups.setdefault(request.instructions, []).append((position, image))
        for instructions, images in groups.items():
            for start in range(0, len(images), self._batch):
                yield from self._describe_batch(images[start : start + self._batch], instructions, max_tokens)

    def _describe_batch(
        self, batch: "Sequence[tuple[int, Image.Image]]", instructions: Sequence[str], max_tokens: int
    ) -> Iterator[Answer | FailedImage]:
        """Yield the captions of at most one batch of images and their positions."""
        failed = set()
        with self._lock:
            answers = self._generate([image for _, image in batch], instructions, max_tokens)
        for instruction, texts in zip(instructions, answers, strict=True):
            for (position, _), (text, cut) in zip(batch, texts, strict=True):
                if position in failed:
                    continue
                try:
                    caption = checked_caption(text, cut)
                    yield Answer(position=position, instruction=instruction, text=caption, cut=cut)
                except ImageFailed as error:  # decoding is greedy: the same question has the same answer
                    failed.add(position)
                    yield FailedImage(position=position, reason=str(error))

    @torch.no_grad()
    def _generate(
        self, images: "Sequence[Image.Image]", instructions: Sequence[str], max_tokens: int
    ) -> list[list[tuple[str, bool]]]:
        """Return one answer per instruction and image of at most one batch, and whether it is cut.

        The images are encoded once. If an answer is cut, all are generated again; greedy decoding repeats whole ones.
        The last image is repeated to fill the batch: the shape of a batch decides how sums are rounded, so a fixed
        shape gives an image the same caption whatever else is in its batch.
        """
        filled = [*images, *[images[-1]] * (self._batch - len(images))]
        answers, encoded = [], None
        for instruction in instructions:
            inputs = self._inputs(filled, [instruction] * len(filled))
            encoded = encoded or self._encode(inputs)
            prompt = {name: value for name, value in inputs.items() if name != "pixel_values"}
            for limit in (max_tokens, LONGER * max_tokens):
                tokens = self._model.generate(
                    **prompt, mm_encoder_outputs={"image": encoded}, max_new_tokens=limit, do_sample=False
                )
                new_tokens = tokens[: len(images), inputs["input_ids"].shape[1] :]
                cut = self._are_cut(new_tokens)
                if not any(cut):
                    break
            texts = self._processor.batch_decode(new_tokens, skip_special_tokens=True)
            answers.append(list(zip(texts, cut, strict=True)))
        return answers

    def _are_cut(self, answers: torch.Tensor) -> list[bool]:
        """Return of each answer (B, T) whether it ended at the limit: it has none of the model's end tokens."""
        end = self._model.generation_config.eos_token_id
        ends = torch.tensor([] if end is None else end, dtype=answers.dtype, device=answers.device)
        cut: list[bool] = torch.isin(answers, ends).logical_not().all(dim=1).tolist()
        return cut

    def _encode(self, inputs: Any) -> Any:
        """Return the features of the images, as `generate` of transformers computes them from the pixels."""
        encoder = self._model.base_model.get_image_features
        names = inspect.signature(encoder).parameters
        return encoder(**{name: inputs[name] for name in names if name in inputs}, return_dict=True)

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
