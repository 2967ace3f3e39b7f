"""The client of a folder of LoRA files: each NAME.safetensors with its sidecar and images is a model.

Links that lead out of the folder are rejected, and links to folders are not followed. A file is hashed again
if its size changes, or the latest modification time (in seconds) of the file, its sidecar and its images.
"""

import datetime
import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote

from autolora.errors import DiskFull, HubError, RefusedFile
from autolora.hubs import Availability, Model, Page
from autolora.hubs.folder.access import UnusableFile, open_inside, resolve_inside
from autolora.hubs.folder.image_prompt import read_prompt
from autolora.hubs.folder.scan import LoraFile, path_of, scan_folder
from autolora.hubs.labels import is_nsfw, normalize_base, permissions_of
from autolora.hubs.validation import EARLIEST, format_time, is_safe_path, parse_time, short_repr
from autolora.params import CrawlParams
from autolora.records import ListedRendering, Listing
from autolora.storage.files import MB, raising_disk_full
from autolora.storage.hashes import HashFile

URL_SCHEME = "folder:"
COPY_CHUNK_BYTES = 1 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Folder:
    """A hub that is a folder."""

    root: Path
    hash_file: HashFile | None = field(default=None, repr=False, compare=False)
    """returns the sha256 of a file, if hashes are kept between runs; None reads the file"""

    @property
    def name(self) -> str:
        """The hub's name in params.yaml and in the catalog."""
        return "folder"

    def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
        """Return all files below the folder as one page, last changed first. Raises HubError."""
        self._check_folder()
        files, problems, unreadable = scan_folder(self.root, rules.max_renderings)
        files.sort(key=lambda file: (-file.changed, file.path))
        return Page(
            models=tuple(self._model(file, today) for file in files),
            next=None,
            problems=problems,
            unreadable=unreadable,
        )

    def complete_listings(
        self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]
    ) -> tuple[Listing, ...]:
        """Return the model's listings with the sha256 of files and images. Raises HubError.

        A file of more than crawl.max_file_mb, which is rejected, is not read and has none.
        known: listings whose hashes are reused if size and modification time are unchanged.
        """
        max_bytes = rules.max_file_mb * MB
        completed = (
            self._complete(listing, known.get(listing.url), max_bytes) for listing in model.partial_listings
        )
        return tuple(listing for listing in completed if listing)

    def availability(self, id: str) -> Availability:
        """Return whether the file exists. Raises HubError if the folder does not exist."""
        self._check_folder()
        try:
            exists = resolve_inside(self.root, path_of(id)).is_file()
        except (UnusableFile, FileNotFoundError, NotADirectoryError):
            return Availability.NOT_FOUND
        except OSError as error:
            raise HubError(
                f"hub {self.name}: the file of {short_repr(id)} cannot be accessed: {error}"
            ) from error
        return Availability.AVAILABLE if exists else Availability.NOT_FOUND

    def download(self, url: str, target: Path, limit: int) -> str:
        """Copy a file of at most `limit` bytes to `target` and return the sha256 of the copied bytes.

        Raises HubError if the file cannot be copied, RefusedFile (`too-large`) if it is larger, DiskFull.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with raising_disk_full(target.parent):
                return _copy(self.root, parse_url(url), target, limit)
        except (OSError, UnusableFile) as error:
            target.unlink(missing_ok=True)
            raise HubError(f"hub {self.name}: {url} cannot be copied: {error}") from error
        except (RefusedFile, DiskFull):
            target.unlink(missing_ok=True)
            raise

    def _check_folder(self) -> None:
        """Raise HubError if the folder does not exist: an unmounted folder must not count as an empty one."""
        if not self.root.is_dir():
            raise HubError(
                f"hub {self.name}: {self.root} is not a folder: check that it is mounted and that "
                "hubs.folder.path in params.yaml is right"
            )

    def _model(self, file: LoraFile, today: datetime.date) -> Model:
        updated = parse_time(file.changed) or EARLIEST
        version = f"{file.changed!r}/{file.size}"
        listing = self._partial_listing(file, version, updated, today)
        return Model(
            id=file.id, version=version, updated=updated, partial_listings=(listing,), withdrawn=False
        )

    def _partial_listing(
        self, file: LoraFile, version: str, updated: datetime.datetime, today: datetime.date
    ) -> Listing:
        sidecar = file.sidecar
        renderings = tuple(
            ListedRendering(
                url=_url(image.path),
                sha256=None,
                prompt=image.prompt,
                nsfw_level=image.nsfw_level or sidecar.nsfw_level,
            )
            for image in file.images
        )
        return Listing(
            hub=self.name,
            id=file.id,
            version=version,
            file=file.path.rpartition("/")[2],
            url=_url(file.path),
            size=file.size,
            sha256=None,
            license=sidecar.license,
            permissions=sidecar.permissions or permissions_of(sidecar.license),
            base_model=sidecar.base_model,
            base=normalize_base(sidecar.base_model),
            nsfw=is_nsfw(sidecar.nsfw_level),
            nsfw_level=sidecar.nsfw_level,
            person=sidecar.person,
            minor=sidecar.minor,
            trigger_words=sidecar.trigger_words or (),
            description=sidecar.description or (),
            renderings=renderings,
            updated=format_time(updated),
            first_seen=today,
        )

    def _complete(self, listing: Listing, known: Listing | None, max_bytes: float) -> Listing | None:
        """Return the listing with the hashes of file and images; None if the file no longer exists.

        The file's sha256 also becomes the listing's version; one of more than max_bytes is not read.
        """
        hashes: dict[str, str | None] = {}
        if known and (known.size, known.updated) == (listing.size, listing.updated):
            hashes = {rendering.url: rendering.sha256 for rendering in known.renderings}
            hashes[known.url] = known.sha256
        is_too_large = listing.size is not None and listing.size > max_bytes
        try:
            sha256 = None if is_too_large else hashes.get(listing.url) or self._hash(listing.url)
        except (OSError, UnusableFile) as error:
            if isinstance(error, FileNotFoundError):
                return None
            raise HubError(f"hub {self.name}: {listing.url} cannot be read: {error}") from error
        renderings = []
        for rendering in listing.renderings:
            try:
                image_sha256 = hashes.get(rendering.url) or self._hash(rendering.url)
                prompt = rendering.prompt or self._read_prompt(rendering.url)
                renderings.append(replace(rendering, sha256=image_sha256, prompt=prompt))
            except (OSError, UnusableFile) as error:
                logger.warning("hub %s: the image %s was skipped: %s", self.name, rendering.url, error)
        return replace(
            listing, version=sha256 or listing.version, sha256=sha256, renderings=tuple(renderings)
        )

    def _read_prompt(self, url: str) -> str | None:
        """Return the prompt in an image's metadata. Raises UnusableFile, OSError if it is not a file."""
        with open_inside(self.root, parse_url(url)) as stream:
            return read_prompt(stream)

    def _hash(self, url: str) -> str:
        """Return the sha256 of a regular file below the folder. Raises UnusableFile, OSError."""
        if self.hash_file:
            path = resolve_inside(self.root, parse_url(url))
            if not path.is_file():
                raise UnusableFile("it is not a regular file")
            return self.hash_file(path)
        with open_inside(self.root, parse_url(url)) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def _url(path: str) -> str:
    return URL_SCHEME + quote(path)


def parse_url(url: str) -> str:
    """Return the path in a URL of this hub. Raises UnusableFile if the URL is not valid."""
    path = unquote(url.removeprefix(URL_SCHEME))
    if not url.startswith(URL_SCHEME) or not is_safe_path(path):
        raise UnusableFile(f"expected {URL_SCHEME} and a relative path")
    return path


def _copy(root: Path, path: str, target: Path, limit: int) -> str:
    digest = hashlib.sha256()
    with open_inside(root, path) as stream, target.open("wb") as copy:
        while chunk := stream.read(COPY_CHUNK_BYTES):
            if copy.tell() + len(chunk) > limit:
                raise RefusedFile("too-large", f"the file is larger than {limit} bytes")
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest()
