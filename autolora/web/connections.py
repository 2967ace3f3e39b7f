"""Bounds on connections without a request: they cost a visitor nothing, and would keep all others out."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_S = 10.0
"""seconds in which the header of a request must be complete, from the connection or its first byte on"""
MAX_WAITING = 128
"""connections without a request at the same time; a further one closes the one that has waited longest"""


class BoundedProtocol(H11Protocol):
    """A connection that is closed without a complete header in HEADER_S, or if MAX_WAITING younger ones wait."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._waits_since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a header, and close the connection that waits longest if there are too many."""
        super().connection_made(transport)
        self._watch()
        waiting = [
            other for other in self.connections if isinstance(other, BoundedProtocol) and other._is_waiting
        ]
        if len(waiting) > MAX_WAITING:
            min(waiting, key=lambda other: other._waits_since).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass on the data, and wait for the rest of a header."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._waits_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._cancel()

    @property
    def _is_waiting(self) -> bool:
        return not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete)

    def _watch(self) -> None:
        """Start the time for a header, which further bytes do not extend; end it if a request is complete."""
        if not self._is_waiting:
            self._cancel()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_S, self._close)

    def _close(self) -> None:
        self._deadline = None
        if self._is_waiting:
            self.transport.abort()

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
