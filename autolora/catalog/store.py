"""Reader and writer of the catalog: data/catalog, 16 files with one records.Listing per line.

A listing is in the file that the first hex digit of the sha256 of `hub:id` names: all listings of one model are in one
file. The crawl writes the catalog. Later stages read only the catalog and do not query a hub's list.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.records import Listing
from autolora.storage.files import remove_leftovers, write_atomic
from autolora.storage.git import committed_blobs, restore_committed
from autolora.storage.hashes import canonical_json

FOLDER = "data/catalog"
FILES = tuple(f"{FOLDER}/{digit}.jsonl" for digit in "0123456789abcdef")


def file_of(hub: str, id: str) -> str:
    """Return the path, relative to the root, of the file that has the listings of a model."""
    return FILES[hashlib.sha256(f"{hub}:{id}".encode()).digest()[0] >> 4]


def position(listing: Listing) -> tuple[str, ...]:
    """Return the sort key of the catalog: hub, id, file, version and URL."""
    return listing.hub, listing.id, listing.file, listing.version, listing.url


def catalog_files(root: Path) -> list[Path]:
    """Return the files of the catalog; none before the first crawl.

    The last of FILES shows that all were written. Raises MissingArtifact if another one is missing.
    """
    files = [root / name for name in FILES]
    if not files[-1].exists():
        return []
    for path in files:
        if not path.exists():
            raise MissingArtifact(f"{path} is missing: restore it with `git checkout HEAD -- {FOLDER}`")
    return files


def read_active(root: Path) -> list[Listing]:
    """Return the active listings, ordered by `position`.

    Raises MissingArtifact if the catalog does not exist, a file of it is missing, or a line is not a valid listing; the
    message names the line.
    """
    return [listing for listing in read_all(root) if listing.is_active]


def read_all(root: Path) -> list[Listing]:
    """Return all listings, including queued and withdrawn ones, ordered by `position`.

    Raises MissingArtifact as `read_active` does.
    """
    files = catalog_files(root)
    if not files:
        raise MissingArtifact(
            f"{root / FOLDER} does not exist: the hubs have not been crawled yet; run `dvc repro crawl`"
        )
    return sorted((listing for path in files for listing in _read_file(path)), key=position)


def read_all_or_empty(root: Path) -> list[Listing]:
    """Return all listings as `read_all` does, or an empty list if the catalog does not exist.

    Raises MissingArtifact if a file of the catalog is missing, or a line is not a valid listing.
    """
    return read_all(root) if catalog_files(root) else []


def contents(listings: Iterable[Listing]) -> dict[str, str]:
    """Return the text of each of FILES by its path, in the order in which `write` writes them."""
    lines: dict[str, list[str]] = {name: [] for name in FILES}
    for listing in sorted(listings, key=position):
        lines[file_of(listing.hub, listing.id)].append(canonical_json(listing.to_row()) + "\n")
    return {name: "".join(texts) for name, texts in lines.items()}


def write(root: Path, listings: Iterable[Listing]) -> None:
    """Write the catalog, each file atomically; leave a file untouched if its content would not change.

    If the process is killed in between, each listing is as before or as given, since only one file can have it.
    """
    for name, text in contents(listings).items():
        remove_leftovers(root / name)
        write_atomic(root / name, text)


def digest(root: Path) -> str:
    """Return the sha256 (64 hex digits) of the bytes of all files. Raises MissingArtifact if one is missing."""
    hashed = hashlib.sha256()
    for path in catalog_files(root):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()


def restore(root: Path) -> bool:
    """Restore missing files of the catalog from the last commit; return whether there were some.

    As a dependency lock file does, the catalog fixes what the pool contains: `rm -rf data; dvc repro` reproduces the
    committed pool. A crawl queries the hubs only if the catalog is complete, or if git has no committed one.
    """
    missing = [name for name in FILES if not (root / name).exists()]
    if not missing or shutil.which("git") is None:
        return False
    restorable = committed_blobs(root, FOLDER).keys() & {*missing}
    for name in restorable:
        restore_committed(root, name)
    return bool(restorable)


def _read_file(path: Path) -> list[Listing]:
    text = path.read_text(encoding="utf-8", errors="replace")
    return [_read_line(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line]


def _read_line(path: Path, number: int, line: str) -> Listing:
    try:
        return Listing.from_row(json.loads(line))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MissingArtifact(
            f"{path}, line {number} is not a valid listing ({type(error).__name__}: {error}); restore it with "
            f"`git checkout HEAD -- {FOLDER}`"
        ) from error
