"""Client of one or more vLLM servers, through the chat completions API."""

import asyncio
import base64
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import openai

from autolora.errors import AutoLoraError, CaptionError, ImageFailed
from autolora.params import VllmParams
from autolora.vlm.answers import checked_caption
from autolora.vlm.captioning import LONGER, Answer, CaptionRequest, FailedImage
from autolora.vlm.endpoints import TEMPORARY, Endpoint, in_order
from autolora.vlm.images import read_rendering

FIRST_DELAY_S, MAX_DELAY_S = 1.0, 8.0
"""wait before the first retry of a request, doubled for each further retry up to the maximum"""
MAX_ANSWERS = 3
"""answers to one instruction that are requested if they are not a text"""
REFUSED = (400, 413, 422)
"""HTTP status codes of a server that refuses one request"""

logger = logging.getLogger(__name__)


class Conversation:
    """The requests about one image: sent after each other, and to the same server, whose prefix cache has the image."""

    def __init__(self, image: bytes) -> None:
        """image: encoded as PNG."""
        self.endpoint: Endpoint | None = None
        data = base64.b64encode(image).decode()
        self._image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}

    def messages(self, instruction: str) -> list[dict[str, Any]]:
        """Return the messages of one request: the image first, so that all requests about it have a common prefix."""
        return [{"role": "user", "content": [self._image, {"type": "text", "text": instruction}]}]


class VllmClient:
    """A Captioner (autolora.vlm) that asks vLLM servers, which name the model by its digest.

    One event loop in a background thread sends the requests of all batches, so that `concurrency` limits the number of
    requests in flight in total. A server that fails is left out for a while, and the others get its requests.
    """

    def __init__(
        self,
        params: VllmParams,
        model: str,
        concurrency: int,
        command: str = "autolora vllm",
    ) -> None:
        """Start the event loop; no request is sent.

        model: digest of the VLM. command: for errors, starts a server with the VLM.
        """
        self._params = params
        self._model = model
        self._command = command
        self._semaphore = asyncio.Semaphore(concurrency)
        self._endpoints = [Endpoint(url, params) for url in params.urls]
        self._answers = 0
        self._failure: CaptionError | None = None  # of all servers: requests that have not begun fail at once
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True).start()

    def check(self) -> None:
        """Check once that the servers have the model; servers that do not answer are left out.

        Raises CaptionError if no server answers or one has another model.
        """
        errors = []
        for endpoint in self._endpoints:
            try:
                served = endpoint.served()
            except openai.OpenAIError as error:
                logger.warning("%s is left out: %s", endpoint.url, error)
                errors.append(error)
                endpoint.failures += 1
                endpoint.leave_out()
                continue
            if self._model not in served:
                raise CaptionError(
                    f"the vLLM server at {endpoint.url} serves {', '.join(served)}, not the VLM of "
                    f"params.yaml ({self._model}): restart it with `{self._command}` or set "
                    "captions.engine: transformers"
                )
        if len(errors) == len(self._endpoints):
            raise self._unreachable(errors[0]) from errors[0]

    def describe(
        self, requests: Sequence[CaptionRequest], max_tokens: int, max_image_side: int
    ) -> Iterator[Answer | FailedImage]:
        """Yield the captions of all images (Captioner.describe).

        If the servers fail, requests in flight are still awaited, so that the work on them is not lost.
        """
        results: SimpleQueue[Answer | FailedImage | BaseException | None] = SimpleQueue()
        conversations = [
            self._converse(position, request, max_tokens, max_image_side, results.put)
            for position, request in enumerate(requests)
        ]
        futures = [asyncio.run_coroutine_threadsafe(task, self._loop) for task in conversations]
        errors: list[BaseException] = []
        unfinished = len(futures)
        try:
            while unfinished:
                result = results.get()
                if isinstance(result, Answer | FailedImage):
                    yield result
                    continue
                unfinished -= 1
                errors += [result] if result else []
        finally:  # also if the caller stops iterating
            for future in futures:
                future.cancel()
        if errors:
            raise errors[0]

    async def _converse(
        self,
        position: int,
        request: CaptionRequest,
        max_tokens: int,
        max_image_side: int,
        put: Callable[[Answer | FailedImage | BaseException | None], None],
    ) -> None:
        """Put the captions of one image, or why it fails; at the end, put the error of the servers, or None."""
        try:
            async with self._semaphore:
                image = await asyncio.to_thread(read_rendering, request.image, max_image_side)
                conversation = Conversation(image)
                for instruction in request.instructions:
                    text, cut = await self._caption(conversation, instruction, max_tokens)
                    put(Answer(position=position, instruction=instruction, text=text, cut=cut))
        except ImageFailed as error:
            put(FailedImage(position=position, reason=str(error)))
        except BaseException as error:
            put(error)
            raise
        put(None)

    async def _caption(
        self, conversation: Conversation, instruction: str, max_tokens: int
    ) -> tuple[str, bool]:
        """Return the caption and whether it is cut. Raises ImageFailed if none of MAX_ANSWERS answers is a text."""
        for number in range(1, MAX_ANSWERS + 1):
            choice = await self._request(conversation, instruction, max_tokens)
            if _is_cut(choice):
                with suppress(ImageFailed):  # the server refuses more tokens than its context holds
                    choice = await self._request(conversation, instruction, LONGER * max_tokens)
            cut = _is_cut(choice)
            try:
                return checked_caption((choice.message.content or "") if choice else "", cut), cut
            except ImageFailed:
                if number == MAX_ANSWERS:
                    raise
        raise AssertionError("MAX_ANSWERS is at least 1")

    async def _request(self, conversation: Conversation, instruction: str, max_tokens: int) -> Any:
        """Send a request and return its first choice, if any.

        Retries if no server is reachable or all are overloaded, and raises CaptionError after the last attempt, as
        then all requests that begin later do. Raises ImageFailed if a server refuses this request, or fails at it in
        every attempt (HTTP 500) while it answers others.
        """
        request: dict[str, Any] = {
            "model": self._model,
            "messages": conversation.messages(instruction),
            "temperature": 0,
            "max_tokens": max_tokens,
        }
        answers_before = self._answers
        for attempt in range(1, self._params.attempts + 1):
            if self._failure:
                raise self._failure
            try:
                return await self._try_servers(conversation, request)
            except TEMPORARY as error:
                logger.warning("attempt %d of %d failed: %s", attempt, self._params.attempts, error)
                if attempt == self._params.attempts:
                    raise self._final_error(error, self._answers > answers_before) from error
            await asyncio.sleep(min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** (attempt - 1)))
        raise AssertionError("attempts is at least 1")

    async def _try_servers(self, conversation: Conversation, request: dict[str, Any]) -> Any:
        """Return the first choice of the first server that answers. Raises the last temporary error if none does."""
        for endpoint in (servers := in_order(self._endpoints, conversation.endpoint)):
            conversation.endpoint = endpoint
            try:
                completion = await endpoint.create(request)
            except TEMPORARY as error:
                if endpoint is servers[-1]:
                    raise
                logger.warning("%s is left out: %s", endpoint.url, error)
            except openai.OpenAIError as error:
                raise self._refused(endpoint, error) from error
            else:
                self._answers += 1
                return completion.choices[0] if completion.choices else None
        raise AssertionError("there is at least one server")

    def _final_error(self, error: openai.OpenAIError, has_answered_others: bool) -> AutoLoraError:
        """Return the error after the last attempt: of this image, or of all servers, which ends all later requests."""
        if getattr(error, "status_code", None) == 500 and has_answered_others:
            attempts = self._params.attempts
            return ImageFailed(
                f"the vLLM server failed at this request {attempts} times, but answered others: {error}"
            )
        self._failure = self._unreachable(error)
        return self._failure

    def _refused(self, endpoint: Endpoint, error: openai.OpenAIError) -> AutoLoraError:
        kind = ImageFailed if getattr(error, "status_code", None) in REFUSED else CaptionError
        return kind(f"the vLLM server at {endpoint.url} refused the request: {error}")

    def _unreachable(self, error: Exception) -> CaptionError:
        return CaptionError(
            f"no vLLM server answers at {', '.join(self._params.urls)} ({error}): start it with `{self._command}` and "
            "wait until it is ready, or set captions.engine: transformers in params.yaml"
        )


def _is_cut(choice: Any) -> bool:
    """Return whether the answer of a completion, if there is one, ended at the limit of its tokens."""
    return choice is not None and choice.finish_reason == "length"
