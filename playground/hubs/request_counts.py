"""Counts of the requests that the hubs received, by hub, by kind, and by method and path."""

import threading
from collections import Counter
from typing import Any

from playground.hubs.repos import HUBS


class RequestCounts:
    """Counts of requests since the last reset; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, str]] = Counter()

    def add(self, hub: str, kind: str, request: str) -> None:
        """Count one request, e.g. kind `weights`, request `GET /ann/ink/resolve/main/lora.safetensors`."""
        with self._lock:
            self._requests[hub, kind, request] += 1

    def clear(self) -> None:
        """Reset all counts."""
        with self._lock:
            self._requests.clear()

    def read(self) -> dict[str, Any]:
        """Return kind -> count, and `paths`: request -> count.

        Hugging Face's counts are at the top level; those of the other hubs that received requests are under
        their names.
        """
        with self._lock:
            counts = {hub: self._counts_of(hub) for hub in HUBS}
        top, *others = HUBS
        return counts[top] | {hub: counts[hub] for hub in others if counts[hub]["paths"]}

    def kinds(self, hub: str) -> dict[str, int]:
        """Return kind -> number of requests to a hub."""
        with self._lock:
            return dict(self._sums(hub, 1))

    def _counts_of(self, hub: str) -> dict[str, Any]:
        """Return kind -> count, and `paths`: request -> count."""
        return {**self._sums(hub, 1), "paths": dict(sorted(self._sums(hub, 2).items()))}

    def _sums(self, hub: str, column: int) -> Counter[str]:
        """Return the counts of one hub by kind (column 1) or by request (column 2)."""
        sums: Counter[str] = Counter()
        for key, count in sorted(self._requests.items()):
            if key[0] == hub:
                sums[key[column]] += count
        return sums
