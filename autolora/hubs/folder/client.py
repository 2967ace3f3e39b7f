"""A folder of LoRA files as a hub: each NAME.safetensors below it, a sidecar, and the pictures beside it.

Links that lead out of the folder are refused, folders behind links are not entered. A file is hashed again when
its size, or the newest time stamp (in seconds) of it and of what describes it, has changed.
"""

import datetime
import hashlib
import logging
import os
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote

from autolora.errors import DiskFull, HubError, RefusedFile
from autolora.hubs import Model, Page, Standing
from autolora.hubs.folder.inventory import Item, Unusable, inside, opened, path_of, take_inventory
from autolora.hubs.labels import is_nsfw, normalize_base, permissions_of
from autolora.hubs.validation import EARLIEST, glimpse, is_safe, moment, stamp
from autolora.params import CrawlParams
from autolora.records import ListedRendering, Listing
from autolora.storage.files import room

SCHEME = "folder:"
PAGE = 5000
BLOCK = 1 << 20

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Folder:
    """A hub that is a folder."""

    root: Path
    _stock: list[Item] | None = field(default=None, init=False, repr=False, compare=False)
    """what the first page found, in the list's order, until the last page is told: one walk for all pages"""

    @property
    def name(self) -> str:
        """The hub's name in params.yaml and in the catalog."""
        return "folder"

    def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
        """Return a page of the files below the folder, those changed last first.

        The first page looks at the folder, those after it tell what it found. Where the first was another's,
        of a crawl that was killed, the folder is looked at again and the list goes on behind the cursor: time and
        path of the last file of the page before. Raises HubError.
        """
        self._check()
        begin = _place(cursor)
        problems: tuple[str, ...] = ()
        unreadable: frozenset[str] = frozenset()
        if begin is None or self._stock is None:
            found, problems, unreadable = take_inventory(self.root, rules.max_renderings)
            self._stock = sorted(found, key=_order)
        start = 0 if begin is None else bisect_right(self._stock, begin, key=_order)
        items = self._stock[start : start + PAGE]
        more = len(self._stock) > start + PAGE
        self._stock = self._stock if more else None
        models = tuple(self._model(item, today) for item in items)
        after = _cursor(items[-1]) if more else None
        return Page(models=models, next=after, problems=problems, unreadable=unreadable)

    def complete(self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]) -> tuple[Listing, ...]:
        """Add sha256s: from what is known where nothing has changed, else of the files. Raises HubError."""
        return tuple(done for draft in model.drafts if (done := self._complete(draft, known.get(draft.url))))

    def standing(self, id: str) -> Standing:
        """Tell whether the file is there. Raises HubError where the folder is not."""
        self._check()
        try:
            return Standing.THERE if inside(self.root, path_of(id)).is_file() else Standing.ABSENT
        except (Unusable, FileNotFoundError, NotADirectoryError):
            return Standing.ABSENT
        except OSError as error:
            raise HubError(f"hub {self.name}: {glimpse(id)} cannot be looked at: {error}") from error

    def download(self, url: str, target: Path, limit: int) -> str:
        """Copy a file of at most `limit` bytes to `target` and return the sha256 of what was copied.

        Raises HubError when it cannot be had, RefusedFile (`too-large`) when it is larger, DiskFull.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with room(target.parent):
                return _copy(self.root, _path(url), target, limit)
        except (OSError, Unusable) as error:
            target.unlink(missing_ok=True)
            raise HubError(f"hub {self.name}: {url} cannot be copied: {error}") from error
        except (RefusedFile, DiskFull):
            target.unlink(missing_ok=True)
            raise

    def _check(self) -> None:
        """Raise HubError where the folder is none: an empty list would be taken for what is in it."""
        if not self.root.is_dir():
            raise HubError(
                f"hub {self.name}: {self.root} is no folder: is it mounted, and is hubs.folder.path right?"
            )

    def _model(self, item: Item, today: datetime.date) -> Model:
        updated = moment(item.changed) or EARLIEST
        version = f"{item.changed!r}/{item.size}"
        draft = self._draft(item, version, updated, today)
        return Model(id=item.id, version=version, updated=updated, drafts=(draft,), withdrawn=False)

    def _draft(self, item: Item, version: str, updated: datetime.datetime, today: datetime.date) -> Listing:
        said = item.sidecar
        renderings = (
            ListedRendering(
                url=_url(picture.path),
                sha256=None,
                prompt=picture.prompt,
                nsfw_level=picture.nsfw_level or said.nsfw_level,
            )
            for picture in item.pictures
        )
        return Listing(
            hub=self.name,
            id=item.id,
            version=version,
            file=item.path.rpartition("/")[2],
            url=_url(item.path),
            size=item.size,
            sha256=None,
            license=said.license,
            permissions=permissions_of(said.license),
            base_model=said.base_model,
            base=normalize_base(said.base_model),
            nsfw=is_nsfw(said.nsfw_level),
            nsfw_level=said.nsfw_level,
            person=said.person,
            minor=said.minor,
            trigger_words=said.trigger_words or (),
            renderings=tuple(renderings),
            updated=stamp(updated),
            first_seen=today,
        )

    def _complete(self, draft: Listing, known: Listing | None) -> Listing | None:
        """Add the hashes of a file and its pictures, its own as its version; None where it is gone by now."""
        told: dict[str, str | None] = {}
        if known and (known.size, known.updated) == (draft.size, draft.updated):
            told = {rendering.url: rendering.sha256 for rendering in known.renderings}
            told[known.url] = known.sha256
        try:
            sha256 = told.get(draft.url) or _hash(self.root, draft.url)
        except (OSError, Unusable) as error:
            if isinstance(error, FileNotFoundError):
                return None
            raise HubError(f"hub {self.name}: {draft.url} cannot be read: {error}") from error
        renderings = []
        for rendering in draft.renderings:
            try:
                digest = told.get(rendering.url) or _hash(self.root, rendering.url)
                renderings.append(replace(rendering, sha256=digest))
            except (OSError, Unusable) as error:
                logger.warning("hub %s: %s was passed over: %s", self.name, rendering.url, error)
        return replace(draft, version=sha256, sha256=sha256, renderings=tuple(renderings))


def _order(item: Item) -> tuple[float, str]:
    return -item.changed, item.path


def _cursor(item: Item) -> str:
    return f"{item.changed!r} {item.path}"


def _place(cursor: str | None) -> tuple[float, str] | None:
    if cursor is None:
        return None
    changed, _, path = cursor.partition(" ")
    try:
        return -float(changed), path
    except ValueError as error:
        raise HubError(f"{glimpse(cursor)} is no place in a folder's list; crawl without it") from error


def _url(path: str) -> str:
    return SCHEME + quote(path)


def _path(url: str) -> str:
    """Return the path that a URL of this hub names. Raises Unusable where it names none."""
    path = unquote(url.removeprefix(SCHEME))
    if not url.startswith(SCHEME) or not is_safe(path):
        raise Unusable(f"it is no file's name; a folder's begin with {SCHEME}")
    return path


def _hash(root: Path, url: str) -> str:
    with opened(root, _path(url)) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _copy(root: Path, path: str, target: Path, limit: int) -> str:
    digest = hashlib.sha256()
    with opened(root, path) as stream, target.open("wb") as copy:
        while block := stream.read(BLOCK):
            if copy.tell() + len(block) > limit:
                raise RefusedFile("too-large", f"the file is larger than {limit} bytes")
            digest.update(block)
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest()
