"""Files that visitors drop onto the page: received within bounds, read, and deleted; their vectors are kept."""

import asyncio
import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import HTTPException, Request

from autolora.errors import MissingArtifact
from autolora.storage.arrays import Float32Array
from autolora.storage.files import MB

MAX_REMEMBERED = 64
"""vectors of uploaded files that are kept; those that were used longest ago are deleted"""
MAX_PARALLEL = 2
"""files that are received at a time; further ones are refused"""
RECEIVE_TIMEOUT_S = 600


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UploadedLora:
    """What is kept of an uploaded LoRA file."""

    name: str
    """as the visitor's computer calls it"""
    sha256: str
    vector: Float32Array
    """(d,) of its weights"""
    layout: str
    rank: int
    """the largest"""
    num_slots: int
    warnings: tuple[str, ...]
    """codes of autolora.lora.verdict.WARNINGS"""


class Uploads:
    """Receives files, a few at a time, and keeps what was read from the last ones."""

    def __init__(self, max_parallel: int = MAX_PARALLEL) -> None:
        self._free = max_parallel
        self._lock = threading.Lock()
        self._remembered: OrderedDict[str, UploadedLora] = OrderedDict()

    @asynccontextmanager
    async def receive(self, request: Request, max_mb: float) -> AsyncIterator[Path]:
        """Yield the body of a request as a temporary file. Answers 413 if it is larger, 429 if too many arrive."""
        if self._free <= 0:
            raise HTTPException(429, "other files are being read: try again in a moment")
        self._free -= 1  # on the event loop, so that no other request is between test and change
        try:
            with tempfile.TemporaryDirectory(prefix="autolora-upload-") as folder:
                path = Path(folder) / "upload"
                async with asyncio.timeout(RECEIVE_TIMEOUT_S):
                    await _write_body(request, path, int(max_mb * MB))
                yield path
        except TimeoutError as error:
            raise HTTPException(408, f"the upload took more than {RECEIVE_TIMEOUT_S} s") from error
        finally:
            self._free += 1

    def remember(self, lora: UploadedLora) -> str:
        """Return a new id of an uploaded file."""
        id = secrets.token_hex(16)
        with self._lock:
            self._remembered[id] = lora
            while len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        return id

    def find(self, id: str) -> UploadedLora:
        """Return an uploaded file. Raises MissingArtifact if it is not kept any more."""
        with self._lock:
            if id not in self._remembered:
                raise MissingArtifact("this file is not kept any more: drop it again")
            self._remembered.move_to_end(id)
            return self._remembered[id]


async def _write_body(request: Request, path: Path, max_bytes: int) -> None:
    """Write the body of a request to a file as it arrives."""
    received = 0
    with path.open("wb") as stream:
        async for chunk in request.stream():
            received += len(chunk)
            if received > max_bytes:
                raise HTTPException(413, f"the file has more than {max_bytes / MB:g} MB")
            await asyncio.to_thread(stream.write, chunk)
    if not received:
        raise HTTPException(422, "the file is empty")
