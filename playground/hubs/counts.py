"""What was asked of the hubs: how often each kind of request, and each request."""

import threading
from collections import Counter
from typing import Any

from playground.hubs.repos import HUBS


class Counts:
    """Counts of requests since the last reset; they may be counted from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, str]] = Counter()

    def add(self, hub: str, kind: str, request: str) -> None:
        """Count one request, e.g. kind `weights`, request `GET /ann/ink/resolve/main/lora.safetensors`."""
        with self._lock:
            self._requests[hub, kind, request] += 1

    def clear(self) -> None:
        """Begin anew."""
        with self._lock:
            self._requests.clear()

    def read(self) -> dict[str, Any]:
        """Return hub -> counts: Hugging Face's at the top, those of others that were asked under their names."""
        with self._lock:
            counts = {hub: self._of(hub) for hub in HUBS}
        top, *others = HUBS
        return counts[top] | {hub: counts[hub] for hub in others if counts[hub]["paths"]}

    def kinds(self, hub: str) -> dict[str, int]:
        """Return how often each kind of request was made of a hub."""
        with self._lock:
            return dict(self._sums(hub, 1))

    def _of(self, hub: str) -> dict[str, Any]:
        """Return kind -> how often, and under `paths` the requests themselves."""
        return {**self._sums(hub, 1), "paths": dict(sorted(self._sums(hub, 2).items()))}

    def _sums(self, hub: str, column: int) -> Counter[str]:
        """Return the counts of one hub by kind (1) or by request (2)."""
        sums: Counter[str] = Counter()
        for key, times in sorted(self._requests.items()):
            if key[0] == hub:
                sums[key[column]] += times
        return sums
