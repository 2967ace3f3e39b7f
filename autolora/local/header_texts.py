"""What the headers of one's own files say about them: trigger words, titles, and tags of the training captions."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from autolora.errors import ReadingFailed, RefusedFile
from autolora.hubs.descriptions import describe
from autolora.hubs.folder.access import UnusableFile, resolve_inside
from autolora.hubs.folder.client import parse_url
from autolora.hubs.folder.header_facts import HeaderFacts, read_facts
from autolora.lora.read import read_header
from autolora.params import PoolParams
from autolora.records import Listing
from autolora.storage.files import raising_reading_failed, write_atomic

CACHE = "cache/header_texts.json"
"""sha256 of a file -> trigger words and description in its header: each header is read once"""

Texts = tuple[list[str], list[str]]
"""trigger words, and description"""


def add_header_texts(
    root: Path, folder: Path, listings: Sequence[Listing], bounds: PoolParams
) -> list[Listing]:
    """Return the listings with the texts in the headers of their files.

    The header's trigger words count if no sidecar gives any; its description follows those of sidecars.
    """
    path = root / CACHE
    known: dict[str, Texts] = json.loads(path.read_text()) if path.exists() else {}
    texts: dict[str, Texts] = {}
    for listing in listings:
        if listing.sha256 and listing.sha256 not in texts:
            found = known.get(listing.sha256) or _read(folder, listing.url, bounds)
            if found is not None:
                texts[listing.sha256] = found
    write_atomic(path, json.dumps(texts))
    names = defaultdict[str | None, set[str]](set)
    for listing in listings:
        names[listing.sha256].add(PurePosixPath(listing.file).stem)
    return [_with_texts(row, texts.get(row.sha256 or "", ([], [])), names[row.sha256]) for row in listings]


def _with_texts(listing: Listing, texts: Texts, names: Collection[str]) -> Listing:
    """Return a listing with texts of its header. names: of all files of the same bytes, which may be the title."""
    words, description = texts
    said = dict.fromkeys((*listing.description, *(text for text in description if text not in names)))
    return replace(listing, trigger_words=listing.trigger_words or tuple(words), description=tuple(said))


def _read(folder: Path, url: str, bounds: PoolParams) -> Texts | None:
    """Return the texts in a file's header, none if it is not valid; None if the file cannot be read now."""
    try:
        with raising_reading_failed(url):
            header = read_header(resolve_inside(folder, parse_url(url)), bounds)
            facts = read_facts(header.metadata)
            return list(facts.trigger_words), list(describe_header(facts))
    except RefusedFile:  # the verdict on the file says why
        return [], []
    except (UnusableFile, ReadingFailed):
        return None


def describe_header(facts: HeaderFacts) -> tuple[str, ...]:
    """Return title, tags and description of a header; the name in training stands for a missing title."""
    stated = facts.description
    title = stated.get("title") or stated.get("name in training")
    return describe(title, [*stated.get("tags", "").split(","), *facts.tags], stated.get("description"))
