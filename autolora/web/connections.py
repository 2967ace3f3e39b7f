"""Bounds on connections without a request: they cost a visitor nothing, and would keep all others out."""

import asyncio
import ipaddress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_S = 10.0
"""seconds in which the header of a request must be complete, from the connection or its first byte on"""
MAX_PER_ADDRESS = 64
"""connections at the same time of one address, or of one /64 network of IPv6; further ones are closed"""


class BoundedProtocol(H11Protocol):
    """A connection that is closed without a complete header in HEADER_S, or if its address has too many."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self.network = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a header, unless the address has too many connections."""
        super().connection_made(transport)
        self.network = _network(self.client[0] if self.client else "")
        same = [other for other in self.connections if getattr(other, "network", None) == self.network]
        if len(same) > MAX_PER_ADDRESS:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Pass on the data, and wait for the rest of a header."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._cancel()

    @property
    def _is_waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

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


def _network(address: str) -> str:
    """Return what counts as one address: of IPv6 its first 64 bits, of which one visitor may have all."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
