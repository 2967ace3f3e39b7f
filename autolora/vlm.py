"""Describing pictures with a vision-language model: in process, or by a vLLM server of the same model.

The server is asked for the model by its digest (`serve/start.sh` serves it under that name), so captions of
another model cannot slip in. Prompts reach both engines through the model's own chat template.
"""

import asyncio
import base64
import io
import logging
import os
import threading
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import openai
import torch

from autolora import models
from autolora.errors import CaptionError, MissingArtefact, ParamsError
from autolora.files import hash_folder
from autolora.params import CaptionsParams, ModelsParams, VllmParams

FIRST_DELAY_S = 1.0  # before the second try of a request; each further wait is twice as long

logger = logging.getLogger(__name__)


class Captioner(Protocol):
    """An engine that describes pictures."""

    def describe(self, images: Sequence[Path], instruction: str, max_tokens: int) -> list[str]:
        """Answer the instruction for each picture, greedily, in at most `max_tokens` tokens.

        Raises CaptionError when the engine is down or answers nonsense.
        """
        ...


def digest(params: ModelsParams) -> str:
    """Return what the VLM is known by: the sha256 over its folder, or `id@revision` of a hub's model.

    Raises MissingArtefact when it is neither, ParamsError when a hub's model names no revision.
    """
    folder = Path(params.vlm)
    if folder.is_dir():
        return hash_folder(folder)
    if params.vlm.startswith((".", "/", "~")) or params.vlm.count("/") != 1:
        raise MissingArtefact(
            f"models.vlm is {params.vlm}, which is no folder here and no hub id (owner/name): "
            "build the playground's model (`make playground`) or name another"
        )
    if params.vlm_revision is None:
        raise ParamsError(
            f"models.vlm_revision is null but models.vlm is the hub id {params.vlm}: "
            "name a commit, so that captions tell which model wrote them"
        )
    return f"{params.vlm}@{params.vlm_revision}"


@cache
def captioner(params: ModelsParams, captions: CaptionsParams, vllm: VllmParams) -> Captioner:
    """Return the engine that `captions.engine` names, once a process.

    Raises CaptionError when no vLLM server answers, or one that serves another model.
    """
    if captions.engine == "transformers":
        return InProcess(params, captions.batch)
    server = Served(vllm, digest(params), captions.concurrency)
    server.check()
    return server


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
            raise MissingArtefact(
                f"cannot load the VLM from {folder}: {error}; build or download it again"
            ) from error
        self._processor.tokenizer.padding_side = "left"
        self._model = model.to(params.device).eval().requires_grad_(False)
        self._batch = batch
        self._alone = threading.Lock()  # batches at once would only wait for each other's torch threads

    def describe(self, images: Sequence[Path], instruction: str, max_tokens: int) -> list[str]:
        """Answer the instruction for each picture (Captioner.describe)."""
        answers: list[str] = []
        with self._alone:
            for start in range(0, len(images), self._batch):
                answers += self._answer(images[start : start + self._batch], instruction, max_tokens)
        return [checked(text, image) for text, image in zip(answers, images, strict=True)]

    @torch.no_grad()
    def _answer(self, images: Sequence[Path], instruction: str, max_tokens: int) -> list[str]:
        """Return one answer a picture of at most one batch.

        The batch is filled up with its last picture: of one shape always, it gives a picture the same
        caption in whatever company it comes (a batch's shape decides how sums are rounded).
        """
        pictures = [_open(image) for image in images]
        pictures += pictures[-1:] * (self._batch - len(pictures))
        content = [{"type": "image"}, {"type": "text", "text": instruction}]
        prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        inputs = self._processor(
            text=[prompt] * len(pictures), images=pictures, padding=True, return_tensors="pt"
        ).to(self._model.device)
        tokens = self._model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        written = tokens[: len(images), inputs["input_ids"].shape[1] :]
        texts: list[str] = self._processor.batch_decode(written, skip_special_tokens=True)
        return texts


class Served:
    """A vLLM server that serves the model under the name of its digest.

    One event loop in a thread of its own carries the requests of all batches, so that `concurrency` bounds
    what is in flight altogether.
    """

    def __init__(self, params: VllmParams, name: str, concurrency: int) -> None:
        self._params = params
        self._name = name
        self._gate = asyncio.Semaphore(concurrency)
        self._client = openai.AsyncOpenAI(**self._settings())
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True).start()

    def check(self) -> None:
        """Ask the server once what it serves.

        Raises CaptionError when it does not answer or serves another model.
        """
        try:
            with openai.OpenAI(**self._settings()) as client:
                served = [model.id for model in client.models.list()]
        except openai.OpenAIError as error:
            raise self._down(error) from error
        if self._name not in served:
            raise CaptionError(
                f"the vLLM server at {self._params.url} serves {', '.join(served)}, not the VLM of "
                f"params.yaml ({self._name}): restart it (`make serve`) or set captions.engine: transformers"
            )

    def describe(self, images: Sequence[Path], instruction: str, max_tokens: int) -> list[str]:
        """Answer the instruction for each picture (Captioner.describe)."""
        answers = self._describe(images, instruction, max_tokens)
        return asyncio.run_coroutine_threadsafe(answers, self._loop).result()

    async def _describe(self, images: Sequence[Path], instruction: str, max_tokens: int) -> list[str]:
        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(self._ask(image, instruction, max_tokens)) for image in images]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [checked(task.result(), image) for task, image in zip(asked, images, strict=True)]

    async def _ask(self, image: Path, instruction: str, max_tokens: int) -> str:
        """Ask about one picture; try again for a while when the server is away or ails."""
        request: dict[str, Any] = {
            "model": self._name,
            "messages": [{"role": "user", "content": _content(image, instruction)}],
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        for attempt in range(1, self._params.attempts + 1):
            try:
                async with self._gate:
                    answer = await self._client.chat.completions.create(**request)
                return (answer.choices[0].message.content or "") if answer.choices else ""
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
                logger.warning("request %d of %d: %s", attempt, self._params.attempts, error)
                if attempt == self._params.attempts:
                    raise self._down(error) from error
            except openai.OpenAIError as error:
                raise CaptionError(
                    f"the vLLM server at {self._params.url} refused {image}: {error}"
                ) from error
            await asyncio.sleep(FIRST_DELAY_S * 2 ** (attempt - 1))
        raise AssertionError("attempts is at least 1")

    def _settings(self) -> dict[str, Any]:
        # vLLM knows its key by the same name; without one it takes any
        key = os.environ.get("VLLM_API_KEY", "none")
        return {
            "base_url": self._params.url,
            "api_key": key,
            "timeout": self._params.timeout_s,
            "max_retries": 0,
        }

    def _down(self, error: Exception) -> CaptionError:
        return CaptionError(
            f"no vLLM server answers at {self._params.url} ({error}): start it with `make serve` and wait "
            "until it is ready, or set captions.engine: transformers in params.yaml"
        )


def checked(text: str, image: Path) -> str:
    """Return an answer on one line.

    Raises CaptionError when it is empty or nonsense: no letter, or characters that no text has.
    """
    line = " ".join(text.split())
    broken = any(character == "\ufffd" or unicodedata.category(character) == "Cc" for character in line)
    if broken or not any(character.isalpha() for character in line):
        raise CaptionError(
            f"the VLM answered {line[:80]!r} for {image}: is models.vlm of params.yaml whole and trained?"
        )
    return line


def _content(image: Path, instruction: str) -> Any:
    """Return picture and instruction in the form of the chat completions API."""
    data = base64.b64encode(_read(image)).decode()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return [picture, {"type": "text", "text": instruction}]


def _open(image: Path) -> Any:
    """Return a picture as RGB (a PIL image)."""
    from PIL import Image

    with Image.open(io.BytesIO(_read(image))) as opened:
        return opened.convert("RGB")


def _read(image: Path) -> bytes:
    try:
        return image.read_bytes()
    except OSError as error:
        raise MissingArtefact(f"cannot read the rendering {image}: {error}; run `dvc repro pool`") from error
