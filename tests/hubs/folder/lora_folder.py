"""Writing LoRA files, sidecars and images to a folder, and listing it."""

import datetime
import json
import os
from pathlib import Path
from typing import Any

from autolora.hubs import Page
from autolora.hubs.folder.client import Folder
from autolora.params import CrawlParams
from autolora.records import Listing

TODAY = datetime.date(2026, 1, 5)
TIME = 1767323045.0
"""2026-01-02T03:04:05Z"""
RULES = CrawlParams(
    hubs=("folder",), filters=(), searches=(), bases=(), licenses=(), max_nsfw_level="explicit", persons=True,
    minors=True, min_downloads=0, max_file_mb=1, newest=None, max_renderings=3, overlap_h=24.0,
    full_scan_every_days=1, max_withdrawn_share=0.2,
    max_new_files=None, min_free_gb=None,
)  # fmt: skip


def write(
    root: Path, relative: str, content: str | bytes | dict[str, Any] = b"weights", time: float = TIME
) -> Path:
    """Write a file with a modification time; a dict is written as JSON."""
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, (time, time))
    return path


def first_page(root: Path) -> Page:
    return Folder(root).page(RULES, None, TODAY)


def crawl(root: Path, known: dict[str, Listing] | None = None) -> dict[str, Listing]:
    """Return the completed listings of the first page by id."""
    hub = Folder(root)
    return {
        listing.id: listing
        for model in first_page(root).models
        for listing in hub.complete_listings(model, RULES, known or {})
    }


def image_urls(listing: Listing) -> list[str]:
    return [rendering.url for rendering in listing.renderings]
