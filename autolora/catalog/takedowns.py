"""The takedowns in data/takedowns.jsonl, which git tracks: files and images that were erased and stay out of the pool.

`autolora takedown` writes the list and erases the content. The crawl withdraws each listing of a listed file
and leaves listed images out; the pool refuses a download with a listed sha256.
"""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

from autolora.errors import MissingArtifact, RefusedFile
from autolora.records import ListedRendering, Listing
from autolora.storage.files import Row, read_rows, write_rows
from autolora.storage.validation import check_choice, check_sha256, strings

KINDS = ("weights", "rendering")
TAKEN_DOWN = "taken-down"
"""verdict of a file, and reason code of an image, that a hub lists without a sha256 and that is in the list"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Takedown:
    """One line of data/takedowns.jsonl: one listing of a file or image that was taken down."""

    kind: str
    """one of KINDS"""
    sha256: str | None
    """of the download; None if the pool never had it and the hub reports none"""
    hub: str
    """empty, as `id`, if no listing of the catalog shows the file or image"""
    id: str
    file: str
    """name of the file; of a rendering its URL"""
    reason: str
    date: datetime.date
    md5: tuple[str, ...] = ()
    """names of its objects in DVC's cache and remotes; several if machines re-encoded an image differently"""

    @property
    def identity(self) -> tuple[str, ...]:
        """What was taken down, without reason and date."""
        return self.kind, self.sha256 or "", self.hub, self.id, self.file

    def to_row(self) -> Row:
        """Return the JSON form."""
        return asdict(self) | {"date": self.date.isoformat(), "md5": list(self.md5)}

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Return the takedown of a JSON form. Raises KeyError, TypeError or ValueError if the form is not valid."""
        values: dict[str, Any] = {**row}
        check_choice(row["kind"], KINDS)
        check_sha256(row["sha256"])
        strings([row[name] for name in ("hub", "id", "file", "reason")])
        values |= {"date": datetime.date.fromisoformat(row["date"]), "md5": strings(row["md5"])}
        return cls(**values)


@dataclass(frozen=True)
class Takedowns:
    """The list of takedowns."""

    rows: tuple[Takedown, ...] = ()

    @cached_property
    def weights(self) -> frozenset[str]:
        """The sha256 of the files."""
        return frozenset(row.sha256 for row in self.rows if row.kind == "weights" and row.sha256)

    def lists(self, kind: str, sha256: str) -> bool:
        """Return whether a file or image was taken down. kind: one of KINDS."""
        return (kind, sha256) in self._by_sha256

    def of_listing(self, listing: Listing) -> Takedown | None:
        """Return the takedown of a listed file: by its sha256, or by its name if hub or list have no sha256."""
        named = self._by_name.get((listing.hub, listing.id, listing.file))
        if listing.sha256 is None or (named and named.sha256 is None):
            return named
        return self._by_sha256.get(("weights", listing.sha256))

    def of_rendering(self, rendering: ListedRendering) -> Takedown | None:
        """Return the takedown of a listed image: by its sha256, or by its URL if the hub reports no sha256."""
        if rendering.sha256:
            return self._by_sha256.get(("rendering", rendering.sha256))
        return self._by_url.get(rendering.url)

    def apply(self, listing: Listing) -> Listing:
        """Return the listing withdrawn if its file was taken down, else without images that were."""
        if listing.status == "withdrawn":
            return listing
        if takedown := self.of_listing(listing):
            return replace(listing, status="withdrawn", withdrawn=takedown.date, stale_since=None)
        renderings = tuple(image for image in listing.renderings if not self.of_rendering(image))
        deferred = tuple(pair for pair in listing.deferred_renderings if not self.of_rendering(pair[1]))
        if (renderings, deferred) == (listing.renderings, listing.deferred_renderings):
            return listing
        return replace(listing, renderings=renderings, deferred_renderings=deferred)

    def check(self, kind: str, sha256: str) -> None:
        """Raise RefusedFile (`taken-down`) if a downloaded file or image is in the list. kind: one of KINDS."""
        if takedown := self._by_sha256.get((kind, sha256)):
            raise RefusedFile(
                TAKEN_DOWN,
                f"the file was taken down and stays out of the pool: {takedown.reason} ({takedown.date})",
            )

    def with_rows(self, rows: Iterable[Takedown]) -> "Takedowns":
        """Return the list with further rows, each identity once; of two the former is used."""
        merged = {row.identity: row for row in (*rows, *self.rows)}
        return Takedowns(tuple({row.identity: merged[row.identity] for row in (*self.rows, *rows)}.values()))

    @cached_property
    def _by_sha256(self) -> Mapping[tuple[str, str], Takedown]:
        return {(row.kind, row.sha256): row for row in self.rows if row.sha256}

    @cached_property
    def _by_name(self) -> Mapping[tuple[str, str, str], Takedown]:
        return {(row.hub, row.id, row.file): row for row in self.rows if row.kind == "weights" and row.hub}

    @cached_property
    def _by_url(self) -> Mapping[str, Takedown]:
        return {row.file: row for row in self.rows if row.kind == "rendering"}


def takedowns_path(root: Path) -> Path:
    """Return the path of the list."""
    return root / "data" / "takedowns.jsonl"


def read(root: Path) -> Takedowns:
    """Return the list; an empty one if the file does not exist. Raises MissingArtifact if a line is not valid."""
    path = takedowns_path(root)
    try:
        status = path.stat()
    except FileNotFoundError:
        return Takedowns()
    return _read(path, status.st_mtime_ns, status.st_size)


def write(root: Path, takedowns: Takedowns) -> None:
    """Write the list atomically."""
    write_rows(takedowns_path(root), (row.to_row() for row in takedowns.rows))


@lru_cache(maxsize=4)
def _read(path: Path, modified_ns: int, size: int) -> Takedowns:
    """Read the list; modification time and size are part of the cache's key."""
    rows = []
    for number, row in enumerate(read_rows(path), 1):
        try:
            rows.append(Takedown.from_row(row))
        except (ValueError, KeyError, TypeError) as error:
            raise MissingArtifact(
                f"{path}, line {number} is not a valid takedown ({error!r}): restore the file with `git checkout`"
            ) from error
    return Takedowns(tuple(rows))
