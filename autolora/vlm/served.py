"""A vLLM server that answers for a model, asked through the chat completions API."""

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
from autolora.vlm import answers
from autolora.vlm.answers import checked
from autolora.vlm.images import encode, read

if TYPE_CHECKING:
    from PIL import Image

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 8.0
"""before the second try of a request; each further wait is twice as long, up to the longest"""
LIKELIEST = 20
"""tokens whose probability a vLLM server tells; its own limit unless it is told another"""

logger = logging.getLogger(__name__)


class Served:
    """A vLLM server that serves the model under the name of its digest.

    One event loop in a thread of its own carries the requests of all batches, so that `concurrency` bounds
    what is in flight altogether.
    """

    def __init__(
        self,
        params: VllmParams,
        name: str,
        concurrency: int,
        section: Literal["captions", "judges"] = "captions",
    ) -> None:
        """section: of params.yaml, whose engine this is."""
        self._params = params
        self._name = name
        self._section = section
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
                f"params.yaml ({self._name}): restart it (`make serve`) or set "
                f"{self._section}.engine: transformers"
            )

    def describe(
        self, images: Sequence[Path], instruction: str, max_tokens: int
    ) -> Iterator[tuple[int, str]]:
        """Answer the instruction for each picture (Captioner.describe).

        A request that fails takes no other one along: what the server has worked on is not asked again.
        """
        asks = [self._ask(image, instruction, max_tokens) for image in images]
        asked = {asyncio.run_coroutine_threadsafe(ask, self._loop): place for place, ask in enumerate(asks)}
        failures: list[AutoLoraError] = []
        try:
            for answer in as_completed(asked):
                place = asked[answer]
                try:
                    text = checked(answer.result(), images[place])
                except AutoLoraError as error:
                    failures.append(error)
                else:
                    yield place, text
        finally:  # also where the caller has stopped listening
            for answer in asked:
                answer.cancel()
        if failures:
            raise failures[0]

    def yes(self, images: "Sequence[Image.Image]", questions: Sequence[str]) -> list[float]:
        """Return each picture's probability of yes (Witness.yes)."""
        asks = [
            self._likely(encode(image), question) for image, question in zip(images, questions, strict=True)
        ]
        asked = [asyncio.run_coroutine_threadsafe(ask, self._loop) for ask in asks]
        try:
            return [answer.result() for answer in asked]
        finally:
            for answer in asked:
                answer.cancel()

    async def _likely(self, image: bytes, question: str) -> float:
        choice = await self._send(
            "a picture", image, question, max_tokens=1, logprobs=True, top_logprobs=LIKELIEST
        )
        if choice is None or choice.logprobs is None or not choice.logprobs.content:
            raise CaptionError(
                f"the vLLM server at {self._params.url} told no probabilities for {question!r}"
            )
        first = choice.logprobs.content[0]
        return answers.from_likeliest({token.token: token.logprob for token in first.top_logprobs})

    async def _ask(self, image: Path, instruction: str, max_tokens: int) -> str:
        """Ask about one picture and return the answer, which may be empty."""
        choice = await self._send(str(image), read(image), instruction, max_tokens=max_tokens)
        return (choice.message.content or "") if choice else ""

    async def _send(self, what: str, image: bytes, instruction: str, **settings: Any) -> Any:
        """Send a request and return its choice, if any; try again for a while when the server is away or ails.

        what: the picture's name in errors. image: encoded.
        """
        request: dict[str, Any] = {
            "model": self._name,
            "messages": [{"role": "user", "content": _content(image, instruction)}],
            "temperature": 0,
            **settings,
        }
        for attempt in range(1, self._params.attempts + 1):
            try:
                async with self._gate:
                    answer = await self._client.chat.completions.create(**request)
                return answer.choices[0] if answer.choices else None
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
                logger.warning("request %d of %d: %s", attempt, self._params.attempts, error)
                if attempt == self._params.attempts:
                    raise self._down(error) from error
            except openai.OpenAIError as error:
                raise CaptionError(
                    f"the vLLM server at {self._params.url} refused {what}: {error}"
                ) from error
            await asyncio.sleep(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (attempt - 1)))
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
            f"until it is ready, or set {self._section}.engine: transformers in params.yaml"
        )


def _content(image: bytes, instruction: str) -> Any:
    """Return an encoded picture and an instruction in the form of the chat completions API."""
    data = base64.b64encode(image).decode()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return [picture, {"type": "text", "text": instruction}]
