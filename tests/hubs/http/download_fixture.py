"""A file to download, responses that contain it, and a downloader that records its waits."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from autolora.hubs.http.download import download
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.http.partial import PartialDownload, partial_download
from tests.support.sockets import Server, http_response

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2
LIMIT = 1_000_000
ETAG = {"ETag": '"v1"'}
COMPLETE = http_response(CONTENT, headers=ETAG)
TRUNCATED = http_response(CONTENT[:HALF], headers={**ETAG, "Content-Length": str(len(CONTENT))})


def remainder(start: int, **headers: str) -> bytes:
    """Return the response to a range request for the bytes from `start` on."""
    content_range = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
    return http_response(CONTENT[start:], 206, {**ETAG, "Content-Range": content_range} | headers)


class Downloader:
    """Downloads from a server to a target, and records the waits between attempts."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "incoming" / "x"
        self.waits: list[float] = []

    def endpoint(self, server: Server, **changes: Any) -> Endpoint:
        endpoint = Endpoint("civitai", server.endpoint, 5.0, 3, "secret", self.waits.append)
        return replace(endpoint, **changes)

    def download(self, server: Server, limit: int = LIMIT, **changes: Any) -> str:
        return download(self.endpoint(server, **changes), f"{server.endpoint}/file", self.target, limit)

    def partial(self, server: Server) -> PartialDownload:
        return partial_download(f"{server.endpoint}/file", self.target.parent)

    def leftovers(self) -> list[str]:
        """Return the suffixes of the files beside the target."""
        folder = self.target.parent
        return sorted(path.name[64:] for path in folder.iterdir() if path != self.target)
