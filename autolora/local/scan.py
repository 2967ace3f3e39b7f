"""The catalog of one's own folder: its LoRA files, sidecars and images, found and hashed again in every run."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

from autolora.catalog import store as catalog
from autolora.errors import HubError, MissingArtifact, ReadingFailed, RefusedFile
from autolora.hubs import limit_images, rejecting_rule
from autolora.hubs.folder.access import UnusableFile
from autolora.hubs.folder.client import Folder
from autolora.local.header_texts import add_header_texts
from autolora.lora.read import MAX_REFUSED_BYTES, origin_of, read_header
from autolora.lora.verdict import refusal
from autolora.params import CrawlParams, PoolParams
from autolora.progress import Progress, track
from autolora.records import Listing
from autolora.storage.files import raising_reading_failed
from autolora.storage.hash_cache import cached_hashes
from autolora.storage.hashes import HashFile

HASHES = "cache/file_hashes.json"
MAX_LISTED = 5
"""problems that an error lists"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderScan:
    """The result of a scan; the catalog holds its listings."""

    listings: tuple[Listing, ...]
    """in the order of the catalog"""
    problems: tuple[str, ...]
    """one message per file, sidecar or image that cannot be used"""
    rejected: Mapping[str, int]
    """rule of the section `crawl` -> number of files that it rejects"""


def scan(root: Path, folder: Path, rules: CrawlParams, today: date, bounds: PoolParams) -> FolderScan:
    """Write the catalog of a folder and return its content.

    A file is read if its inode, size or time of modification is new, so renamed and moved files are not.
    bounds: of the headers, in which trigger words and descriptions are looked for.
    Raises HubError if the folder does not exist, MissingArtifact if it has no LoRA file: then the catalog stays.
    """
    first_seen = _first_days(catalog.read_all_or_empty(root))
    with cached_hashes(root / HASHES) as hash_file:
        hub = Folder(folder, partial(_hash, hash_file, bounds))
        with Progress("index", noun="files found"):
            page = hub.page(rules, None, today)
        problems = list(page.problems)
        listings: list[Listing] = []
        for model in track(page.models, "index", len(page.models), "files hashed"):
            try:
                with raising_reading_failed(model.id):
                    listings += hub.complete_listings(model, rules, {})
            except (HubError, ReadingFailed) as error:
                problems.append(str(error))
    if not listings:
        raise MissingArtifact(_explain_no_file(folder, problems))
    listings = add_header_texts(root, folder, listings, bounds)
    rejected: Counter[str] = Counter()
    rows = []
    for listing in listings:
        rule = rejecting_rule(listing, rules)
        rejected.update({rule} if rule else ())
        seen = first_seen.get(listing.key, listing.first_seen)
        row = replace(limit_images(listing, rules), first_seen=seen)
        rows.append(replace(row, status="rejected") if rule else row)
    rows.sort(key=catalog.position)
    catalog.write(root, rows)
    return FolderScan(listings=tuple(rows), problems=tuple(problems), rejected=dict(rejected))


def _hash(hash_file: HashFile, bounds: PoolParams, path: Path) -> str:
    """Return the sha256 of a file. Raises UnusableFile if it is large, and its header is not that of a LoRA."""
    if path.stat().st_size > MAX_REFUSED_BYTES:
        try:
            if not origin_of(read_header(path, bounds)).content:
                raise refusal("not-a-lora", "none of its keys belongs to one")
        except RefusedFile as error:
            raise UnusableFile(str(error)) from error
    return hash_file(path)


def _explain_no_file(folder: Path, problems: Sequence[str]) -> str:
    """Return the error of a folder in which nothing can be indexed."""
    listed = f" that can be read ({'; '.join(problems[:MAX_LISTED])})" if problems else ""
    return (
        f"{folder} and its subfolders contain no LoRA file (.safetensors){listed}: give the folder of your LoRA files, "
        "and check that it is mounted; an index that there is stays as it is"
    )


def _first_days(listings: Collection[Listing]) -> dict[str, date]:
    """Return the key of each listed file -> the day on which it was first seen, under any name."""
    days: dict[str, date] = {}
    for listing in listings:
        days[listing.key] = min(listing.first_seen, days.get(listing.key, listing.first_seen))
    return days
