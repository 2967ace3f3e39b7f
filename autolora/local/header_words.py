"""The trigger words in the headers of one's own files, for files of which no sidecar gives any."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autolora.errors import ReadingFailed, RefusedFile
from autolora.hubs.folder.access import UnusableFile, resolve_inside
from autolora.hubs.folder.client import parse_url
from autolora.hubs.folder.header_facts import read_facts
from autolora.lora.read import read_header
from autolora.params import PoolParams
from autolora.records import Listing
from autolora.storage.files import raising_reading_failed, write_atomic

CACHE = "cache/header_words.json"
"""sha256 of a file -> the trigger words in its header: each header is read once"""


def add_header_words(
    root: Path, folder: Path, listings: Sequence[Listing], bounds: PoolParams
) -> list[Listing]:
    """Return the listings, those without trigger words with the words in the headers of their files."""
    path = root / CACHE
    known: dict[str, list[str]] = json.loads(path.read_text()) if path.exists() else {}
    words: dict[str, list[str]] = {}
    for listing in listings:
        if listing.sha256 and not listing.trigger_words:
            stored = known.get(listing.sha256)
            found = _read(folder, listing.url, bounds) if stored is None else stored
            if found is not None:
                words[listing.sha256] = found
    write_atomic(path, json.dumps(words))
    return [
        replace(row, trigger_words=row.trigger_words or tuple(words.get(row.sha256 or "", ())))
        for row in listings
    ]


def _read(folder: Path, url: str, bounds: PoolParams) -> list[str] | None:
    """Return the trigger words in a file's header, none if it is not valid; None if the file cannot be read now."""
    try:
        with raising_reading_failed(url):
            header = read_header(resolve_inside(folder, parse_url(url)), bounds)
            return list(read_facts(header.metadata).trigger_words)
    except RefusedFile:  # the verdict on the file says why
        return []
    except (UnusableFile, ReadingFailed):
        return None
