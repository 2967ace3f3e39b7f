"""What a takedown covers: the listings of a file on all hubs, and the images that only these listings show."""

import datetime
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autolora.catalog.diff import qualified_name
from autolora.catalog.names import path_in_hub
from autolora.catalog.store import read_all_or_empty
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.errors import MissingArtifact
from autolora.pool.batches import members
from autolora.pool.drawings import read_drawings
from autolora.pool.tables import PoolTables
from autolora.records import ListedRendering, Listing
from autolora.storage.suggestions import did_you_mean

SHA256_PREFIX = re.compile(r"[0-9a-f]{6,64}", re.IGNORECASE)
ORPHANED = "all files that show it were taken down"
"""reason for the takedown of an image"""
MAX_NAMES = 10
"""names of matches or suggestions in an error"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """The result of a request: what is taken down, and what is not although it is similar."""

    rows: tuple[Takedown, ...]
    """one per listing of each file, then one per listing of each image"""
    kept_images: Mapping[str, str]
    """sha256 of images of these files that others show too -> names of these others"""
    near_duplicates: Mapping[str, str]
    """sha256 of stored files with nearly the same update, which a takedown of the original would make accepted, ->
    their names"""


def find_scope(
    root: Path, names: Sequence[str], reason: str, today: datetime.date, listed: Takedowns = Takedowns()
) -> Scope:
    """Return what a takedown of files and images covers.

    names: sha256 of a file or image (6 digits or more), hub:id, id, or either with /file. listed: what was taken down
    before, and keeps no image.
    Raises MissingArtifact if a name matches nothing, or several files.
    """
    contents = _Contents(root)
    keys = list(dict.fromkeys(contents.match(name) for name in names))
    files = [key for kind, key in keys if kind == "weights"]
    images = [key for kind, key in keys if kind == "rendering"]
    own = {sha256 for key in files for sha256 in contents.images_of(key)}
    erased = {*files, *contents.erased_files(listed)}
    shown = {sha256: contents.files_with(sha256) - erased for sha256 in own - set(images)}
    kept = {sha256: contents.describe(others) for sha256, others in sorted(shown.items()) if others}
    rows = [row for key in files for row in contents.weights_rows(key, reason, today)]
    for sha256 in dict.fromkeys((*images, *sorted(own - kept.keys()))):
        rows += contents.rendering_rows(sha256, reason, today)
    return Scope(
        rows=tuple(rows),
        kept_images=kept,
        near_duplicates={key: contents.describe([key]) for key in sorted(contents.near_duplicates(files))},
    )


def orphaned_images(root: Path, listed: Takedowns, today: datetime.date) -> list[Takedown]:
    """Return takedowns of the images in the pool whose files were all taken down, and that are not listed."""
    contents = _Contents(root)
    known = {row.sha256 for row in listed.rows if row.kind == "rendering"}
    return [
        row
        for sha256 in sorted(contents.images_shown_by(contents.erased_files(listed)) - known)
        for row in contents.rendering_rows(sha256, ORPHANED, today)
    ]


class _Contents:
    """The files and images of catalog and pool, inactive ones included, by their sha256 or Listing.key."""

    def __init__(self, root: Path) -> None:
        self._tables = PoolTables(root)
        stored = members(root)
        self._files: defaultdict[str, list[Listing]] = defaultdict(list)
        self._images: defaultdict[str, list[tuple[Listing, ListedRendering]]] = defaultdict(list)
        self._drawings = read_drawings(root)
        for listing in read_all_or_empty(root):
            self._files[self._file_key(listing)].append(listing)
            for image, rendering in self._shown(listing):
                self._images[image].append((listing, rendering))
        self._stored_files = stored["weights"].keys() | {row.sha256 for row in self._tables.adapters.values()}
        self._stored_images = stored["renderings"].keys() | {
            row["sha256"] for row in self._tables.renderings.values()
        }

    def match(self, name: str) -> tuple[str, str]:
        """Return kind and key of the only file or image that a name matches. Raises MissingArtifact otherwise."""
        matches = [("weights", key) for key in self._matching_files(name)]
        if SHA256_PREFIX.fullmatch(name):
            images = sorted(self._stored_images)
            matches += [("rendering", key) for key in images if key.startswith(name.lower())]
        if len(matches) == 1:
            return matches[0]
        if not matches:
            raise MissingArtifact(self._unknown(name))
        shown = ", ".join(self._describe(kind, key) for kind, key in matches[:MAX_NAMES])
        more = f" and {len(matches) - MAX_NAMES} more" if len(matches) > MAX_NAMES else ""
        raise MissingArtifact(
            f"'{name}' matches {len(matches)} files or images: {shown}{more}; give the full names or sha256 of all "
            "that are to be taken down"
        )

    def images_of(self, key: str) -> Iterator[str]:
        """Yield the sha256 of the images in the pool that the listings of a file show."""
        for listing in self._files.get(key, ()):
            for image, _ in self._shown(listing):
                yield image

    def _shown(self, listing: Listing) -> Iterator[tuple[str, ListedRendering]]:
        """Yield the images in the pool that a listing shows, and the drawings of its file."""
        for rendering in _renderings(listing):
            if row := self._tables.renderings.get(rendering.key):
                yield row["sha256"], rendering
        for drawing in self._drawings.get(self._file_key(listing), ()):
            yield drawing.image, drawing.listed

    def erased_files(self, listed: Takedowns) -> set[str]:
        """Return the keys of the files that were taken down."""
        return {
            key
            for key, listings in self._files.items()
            if key in listed.weights or any(map(listed.of_listing, listings))
        }

    def images_shown_by(self, files: Collection[str]) -> set[str]:
        """Return the images that are shown by these files alone."""
        own = {sha256 for key in files for sha256 in self.images_of(key)}
        return {sha256 for sha256 in own if self.files_with(sha256) <= {*files}}

    def files_with(self, image: str) -> set[str]:
        """Return the keys of all files whose listings show an image."""
        return {self._file_key(listing) for listing, _ in self._images.get(image, ())}

    def near_duplicates(self, files: Collection[str]) -> set[str]:
        """Return the sha256 of the compared adapters that are similar to one of the files."""
        similar: set[str] = set()
        for row in self._tables.near_duplicates.values():
            pair = {row["sha256"], *row["cosines"]}
            if row["sha256"] in files:
                similar |= pair
            elif pair & set(files):
                similar.add(row["sha256"])
        return similar - set(files)

    def weights_rows(self, key: str, reason: str, today: datetime.date) -> Iterator[Takedown]:
        """Yield one takedown per listing of a file, or one without a listing."""
        sha256 = key if len(key) == 64 and SHA256_PREFIX.fullmatch(key) else None
        names = [(listing.hub, listing.id, listing.file) for listing in self._files.get(key, ())]
        for hub, id, file in dict.fromkeys(names or [("", "", "")]):
            yield Takedown(
                kind="weights", sha256=sha256, hub=hub, id=id, file=file, reason=reason, date=today
            )

    def rendering_rows(self, sha256: str, reason: str, today: datetime.date) -> Iterator[Takedown]:
        """Yield one takedown per listing and URL of an image, or one without a listing."""
        shown = [
            (listing.hub, listing.id, rendering.url) for listing, rendering in self._images.get(sha256, ())
        ]
        for hub, id, url in dict.fromkeys(shown or [("", "", "")]):
            yield Takedown(
                kind="rendering", sha256=sha256, hub=hub, id=id, file=url, reason=reason, date=today
            )

    def _file_key(self, listing: Listing) -> str:
        row = self._tables.adapters.get(listing.key)
        return row.sha256 if row else listing.key

    def _matching_files(self, name: str) -> list[str]:
        named = [
            key for key, listings in self._files.items() if any(name in _names(item) for item in listings)
        ]
        if named or not SHA256_PREFIX.fullmatch(name):
            return named
        return sorted(key for key in self._files.keys() | self._stored_files if key.startswith(name.lower()))

    def describe(self, files: Collection[str]) -> str:
        """Return the names of files."""
        return ", ".join(self._describe("weights", key) for key in sorted(files))

    def _describe(self, kind: str, key: str) -> str:
        listings = self._files.get(key, ()) if kind == "weights" else ()
        return ", ".join(map(qualified_name, listings)) or f"{kind} {key}"

    def _unknown(self, name: str) -> str:
        ids = (listing.id for listings in self._files.values() for listing in listings)
        return (
            f"neither the catalog nor the pool has a file or image '{name}'"
            f"{did_you_mean(name.rpartition(':')[2], ids)}: expected a sha256 (6 digits or more), hub:id or id"
        )


def _names(listing: Listing) -> set[str]:
    short = {listing.id, path_in_hub(listing.hub, listing.id, listing.file)}
    return short | {f"{listing.hub}:{name}" for name in short}


def _renderings(listing: Listing) -> Iterator[ListedRendering]:
    """Yield the images of a listing, deferred ones included."""
    yield from listing.renderings
    yield from (rendering for _, rendering in listing.deferred_renderings)
