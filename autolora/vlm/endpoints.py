"""The vLLM servers of params.yaml: which of them gets the next request, and which one is left out after a failure."""

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

import openai

from autolora.errors import CaptionError
from autolora.params import VllmParams

FIRST_PAUSE_S, MAX_PAUSE_S = 5.0, 60.0
"""a server is left out this long after a failure, doubled for each further failure in a row up to the maximum"""
TEMPORARY = (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError)
"""failures of a server that may be gone later"""

logger = logging.getLogger(__name__)


class Endpoint:
    """One vLLM server, with the number of its requests in flight and of its failures in a row."""

    def __init__(self, url: str, params: VllmParams) -> None:
        """Create the client; no request is sent."""
        # a vLLM server reads its key from the same variable; a server without a key accepts any
        key = os.environ.get("VLLM_API_KEY", "none")
        self.url = url
        self.settings: dict[str, Any] = {
            "base_url": url,
            "api_key": key,
            "timeout": params.timeout_s,
            "max_retries": 0,
        }
        self.in_flight = self.failures = 0
        self.retry_at = 0.0
        """time.monotonic() before which the server is left out"""
        self._client = openai.AsyncOpenAI(**self.settings)

    def served(self) -> list[str]:
        """Return the names of the models that the server has. Raises openai.OpenAIError if it does not answer."""
        with openai.OpenAI(**self.settings) as client:
            return [model.id for model in client.models.list()]

    async def create(self, request: dict[str, Any]) -> Any:
        """Return the completion of a chat request.

        Raises openai.OpenAIError; after a temporary failure, the server is left out for a while.
        """
        if self.failures:  # one request tries whether it answers again; the others wait for the result
            self.leave_out()
        self.in_flight += 1
        try:
            completion = await self._client.chat.completions.create(**request)
        except TEMPORARY:
            self.failures += 1
            self.leave_out()
            raise
        finally:
            self.in_flight -= 1
        self.failures, self.retry_at = 0, 0.0
        return completion

    def leave_out(self) -> None:
        """Leave the server out, the longer the more often it has failed."""
        self.retry_at = time.monotonic() + min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** max(self.failures - 1, 0))


def ask_for_models(url: str, params: VllmParams, timeout_s: float) -> list[str]:
    """Return the names of the models that a server has. Raises CaptionError if it does not answer in time."""
    endpoint = Endpoint(url, params)
    endpoint.settings["timeout"] = timeout_s
    try:
        return endpoint.served()
    except openai.OpenAIError as error:
        raise CaptionError(f"the vLLM server at {url} does not answer ({error})") from error


def in_order(endpoints: Sequence[Endpoint], preferred: Endpoint | None) -> list[Endpoint]:
    """Return the servers to try for a request: the preferred one, then those with the fewest requests in flight.

    Servers that are left out are tried only if all are.
    """
    now = time.monotonic()
    available = [endpoint for endpoint in endpoints if endpoint.retry_at <= now]
    return sorted(available or endpoints, key=lambda item: (item is not preferred, item.in_flight))
