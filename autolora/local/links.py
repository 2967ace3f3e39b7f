"""The pool of one's own files holds links to them instead of copies: files are read where they are."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from autolora.hubs.folder.access import UnusableFile, resolve_inside
from autolora.hubs.folder.client import parse_url
from autolora.pool.batches import SUFFIXES, open_folder
from autolora.records import Listing


def link_files(root: Path, folder: Path, listings: Iterable[Listing]) -> None:
    """Make the pool's open batch link to the files and images of these listings, and to nothing else.

    Drawings of a run that was killed stay.

    A file that was moved gets a new link under its old name, which is its sha256.
    """
    targets: dict[str, dict[str, str]] = {kind: {} for kind in SUFFIXES}
    for listing in listings:
        if listing.sha256:
            targets["weights"].setdefault(listing.sha256, listing.url)
        for rendering in listing.renderings:
            if rendering.sha256:
                targets["renderings"].setdefault(rendering.sha256, rendering.url)
    for kind, urls in targets.items():
        _link_all(
            open_folder(root) / kind,
            folder,
            {f"{sha256}{SUFFIXES[kind]}": url for sha256, url in urls.items()},
        )


def _link_all(links: Path, folder: Path, urls: Mapping[str, str]) -> None:
    """Make a folder of links contain exactly these: name -> URL of the folder hub."""
    links.mkdir(parents=True, exist_ok=True)
    for name in set(os.listdir(links)) - urls.keys():
        if (links / name).is_symlink():
            (links / name).unlink()
    for name, url in urls.items():
        _link(links / name, folder, url)


def _link(link: Path, folder: Path, url: str) -> None:
    """Make a link point to a file; remove it if the file has disappeared since the scan, so that reading it fails."""
    try:
        target = str(resolve_inside(folder, parse_url(url)))
    except (OSError, UnusableFile):
        link.unlink(missing_ok=True)
        return
    if not link.is_symlink() or os.readlink(link) != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
