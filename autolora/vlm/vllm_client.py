"""Client of a vLLM server, through the chat completions API."""

import asyncio
import base64
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import openai

from autolora.errors import AutoLoraError, CaptionError
from autolora.params import VllmParams
from autolora.vlm.answers import checked_caption, yes_probability
from autolora.vlm.images import encode_png, read_rendering

if TYPE_CHECKING:
    from PIL import Image

FIRST_DELAY_S, MAX_DELAY_S = 1.0, 8.0
"""wait before the first retry of a request, doubled for each further retry up to the maximum"""
TOP_LOGPROBS = 20
"""number of first tokens whose probability is requested; the default maximum of vLLM"""

logger = logging.getLogger(__name__)


class VllmClient:
    """A Captioner and YesNoScorer (autolora.vlm) that asks a vLLM server, which names the model by its digest.

    One event loop in a background thread sends the requests of all batches, so that `concurrency` limits the
    number of requests in flight in total.
    """

    def __init__(
        self,
        params: VllmParams,
        model: str,
        concurrency: int,
        section: Literal["captions", "judges"] = "captions",
    ) -> None:
        """Start the event loop; no request is sent.

        model: digest of the VLM. section: the section of params.yaml whose engine this is, for error messages.
        """
        self._params = params
        self._model = model
        self._section = section
        self._semaphore = asyncio.Semaphore(concurrency)
        self._client = openai.AsyncOpenAI(**self._settings())
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True).start()

    def check(self) -> None:
        """Check once that the server serves the model.

        Raises CaptionError if it does not answer or serves another model.
        """
        try:
            with openai.OpenAI(**self._settings()) as client:
                served = [model.id for model in client.models.list()]
        except openai.OpenAIError as error:
            raise self._unreachable(error) from error
        if self._model not in served:
            raise CaptionError(
                f"the vLLM server at {self._params.url} serves {', '.join(served)}, not the VLM of "
                f"params.yaml ({self._model}): restart it (`make serve`) or set "
                f"{self._section}.engine: transformers"
            )

    def describe(
        self, images: Sequence[Path], instruction: str, max_tokens: int
    ) -> Iterator[tuple[int, str]]:
        """Yield (position, caption) for each image (Captioner.describe).

        A failed request does not cancel the others, so that the server's work on them is not lost.
        """
        requests = [self._caption(image, instruction, max_tokens) for image in images]
        futures = {
            asyncio.run_coroutine_threadsafe(request, self._loop): position
            for position, request in enumerate(requests)
        }
        failures: list[AutoLoraError] = []
        try:
            for future in as_completed(futures):
                position = futures[future]
                try:
                    text = checked_caption(future.result(), images[position])
                except AutoLoraError as error:
                    failures.append(error)
                else:
                    yield position, text
        finally:  # also if the caller stops iterating
            for future in futures:
                future.cancel()
        if failures:
            raise failures[0]

    def yes_probabilities(self, images: "Sequence[Image.Image]", questions: Sequence[str]) -> list[float]:
        """Return the probability of yes for each image and its question (YesNoScorer.yes_probabilities)."""
        requests = [
            self._yes_probability(encode_png(image), question)
            for image, question in zip(images, questions, strict=True)
        ]
        futures = [asyncio.run_coroutine_threadsafe(request, self._loop) for request in requests]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    async def _yes_probability(self, image: bytes, question: str) -> float:
        choice = await self._request(
            "an image", image, question, max_tokens=1, logprobs=True, top_logprobs=TOP_LOGPROBS
        )
        if choice is None or choice.logprobs is None or not choice.logprobs.content:
            raise CaptionError(
                f"the vLLM server at {self._params.url} returned no logprobs for {question!r}: "
                "check that the server supports top_logprobs, or set judges.engine: transformers"
            )
        first = choice.logprobs.content[0]
        return yes_probability({token.token: token.logprob for token in first.top_logprobs})

    async def _caption(self, image: Path, instruction: str, max_tokens: int) -> str:
        """Return the answer for one image; possibly empty."""
        choice = await self._request(str(image), read_rendering(image), instruction, max_tokens=max_tokens)
        return (choice.message.content or "") if choice else ""

    async def _request(self, name: str, image: bytes, instruction: str, **settings: Any) -> Any:
        """Send a request and return its first choice, if any; retry if the server is unreachable or overloaded.

        name: of the image, for error messages. image: encoded as PNG.
        """
        request: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": _content(image, instruction)}],
            "temperature": 0,
            **settings,
        }
        for attempt in range(1, self._params.attempts + 1):
            try:
                async with self._semaphore:
                    completion = await self._client.chat.completions.create(**request)
                return completion.choices[0] if completion.choices else None
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
                logger.warning("attempt %d of %d failed: %s", attempt, self._params.attempts, error)
                if attempt == self._params.attempts:
                    raise self._unreachable(error) from error
            except openai.OpenAIError as error:
                raise CaptionError(
                    f"the vLLM server at {self._params.url} refused the request about {name}: {error}"
                ) from error
            await asyncio.sleep(min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** (attempt - 1)))
        raise AssertionError("attempts is at least 1")

    def _settings(self) -> dict[str, Any]:
        # a vLLM server reads its key from the same variable; a server without a key accepts any
        key = os.environ.get("VLLM_API_KEY", "none")
        return {
            "base_url": self._params.url,
            "api_key": key,
            "timeout": self._params.timeout_s,
            "max_retries": 0,
        }

    def _unreachable(self, error: Exception) -> CaptionError:
        return CaptionError(
            f"no vLLM server answers at {self._params.url} ({error}): start it with `make serve` and wait "
            f"until it is ready, or set {self._section}.engine: transformers in params.yaml"
        )


def _content(image: bytes, instruction: str) -> Any:
    """Return a PNG image and an instruction as message content of the chat completions API."""
    data = base64.b64encode(image).decode()
    image_part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return [image_part, {"type": "text", "text": instruction}]
