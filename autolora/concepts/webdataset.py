"""WebDataset: a tar file whose members NAME.jpg and NAME.txt or NAME.json are one captioned image.

Members are listed once and read by their position. The JSON is that of img2dataset: an object with a caption.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from autolora.concepts.items import (
    DAMAGED,
    IMAGE_SUFFIXES,
    NO_CAPTION,
    OTHER,
    CorpusItem,
    Skipped,
    caption_field,
    check_caption_bytes,
    clean_caption,
    describe_error,
    source_name,
)
from autolora.errors import RefusedFile
from autolora.params import PoolParams
from autolora.pool.images import check_bytes

CAPTION_SUFFIXES = (".txt", ".json")
"""the first that exists counts"""
MAX_HEADER_BYTES = 1_000_000
"""of a member, with the long name and other fields that precede it; usual ones have at most some thousand"""

Samples = dict[str, dict[str, "Member"]]
"""stem -> suffix -> member"""


@dataclass(frozen=True, slots=True)
class Member:
    """The position of a member's content in a tar file."""

    offset: int
    size: int


def list_members(path: Path, name: str, skipped: Skipped) -> Iterator[CorpusItem]:
    """Yield the captioned images of a tar file; those without a caption are skipped.

    name: of the file in sources. The members before a damaged part are used; the damage is counted. Of members of the
    same name the first is used, and the others are skipped.
    """
    for stem, members in _samples(path, name, skipped).items():
        image = next((suffix for suffix in IMAGE_SUFFIXES if suffix in members), None)
        caption = next((suffix for suffix in CAPTION_SUFFIXES if suffix in members), None)
        if image and caption:
            read = partial(_read, path, members[image], members[caption], caption)
            yield CorpusItem(source_name(f"{name}/{stem}{image}"), read)
        elif image:
            suffixes = " nor ".join(CAPTION_SUFFIXES)
            skipped.add(
                NO_CAPTION, source_name(f"{name}/{stem}{image}"), f"it has neither a {suffixes} member"
            )
        else:
            suffixes = ", ".join(IMAGE_SUFFIXES)
            skipped.add(
                OTHER, source_name(f"{name}/{stem}"), f"no member of this name is an image ({suffixes})"
            )


def _samples(path: Path, name: str, skipped: Skipped) -> Samples:
    """Return the members of a tar file before the first that is damaged, by stem and suffix."""
    samples: Samples = {}
    headers = HeaderReader()
    try:
        with path.open("rb") as stream:
            for info in headers.members(stream):
                _add(samples, info, name, skipped)
    except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError) as error:
        place = f"{name}, member at byte {headers.position}"
        skipped.add(DAMAGED, place, f"{describe_error(error)}; only the members before it are used")
    return samples


def _add(samples: Samples, info: tarfile.TarInfo, shard: str, skipped: Skipped) -> None:
    """Add a member that is a regular file; its stem ends at the first dot of the file name, as in WebDataset."""
    if not info.isreg() or info.issparse():
        return
    folder, slash, file = info.name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    members = samples.setdefault(folder + slash + stem, {})
    if (name := dot + suffix.lower()) in members:
        skipped.add(
            "duplicate-member", source_name(f"{shard}/{info.name}"), "a member before it has its name"
        )
    else:
        members[name] = Member(info.offset_data, info.size)


class HeaderReader:
    """Reads the headers of a tar file; it is the file that tarfile reads, which bounds how much is read at once."""

    def __init__(self) -> None:
        self.position = 0
        """of the header that is read next, in bytes"""
        self._left = MAX_HEADER_BYTES

    def members(self, stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
        """Yield the header of each member. Raises TarError, or what tarfile raises, if one is damaged."""
        self._stream, self.seek, self.tell = stream, stream.seek, stream.tell
        with tarfile.open(fileobj=cast(BinaryIO, self), mode="r:") as archive:
            for info in archive:
                if info.size < 0:
                    raise tarfile.ReadError(f"{info.name} has a negative size")
                yield info
                self.position, self._left = archive.offset, MAX_HEADER_BYTES
                archive.members.clear()  # type: ignore[attr-defined]  # else every header stays in memory
                archive.pax_headers.clear()  # type: ignore[attr-defined]  # global ones add up
            stream.seek(archive.offset)
            if any(stream.read(tarfile.BLOCKSIZE)):  # tarfile takes a damaged header for the end
                raise tarfile.ReadError("its header is damaged")

    def read(self, size: int) -> bytes:
        """Return the next bytes. Raises ReadError if the headers of a member are longer than MAX_HEADER_BYTES."""
        self._left -= size
        if size < 0 or self._left < 0:
            raise tarfile.ReadError(f"its header is longer than {MAX_HEADER_BYTES} bytes")
        return self._stream.read(size)


def _read(path: Path, image: Member, caption: Member, suffix: str, bounds: PoolParams) -> tuple[bytes, str]:
    check_bytes(image.size, bounds)
    check_caption_bytes(caption.size)
    try:
        text = _content(path, caption).decode()
        words = caption_field(json.loads(text)) if suffix == ".json" else clean_caption(text)
    except (ValueError, RecursionError) as error:
        raise RefusedFile(NO_CAPTION, f"its {suffix} member is not valid: {error}") from error
    return _content(path, image), words


def _content(path: Path, member: Member) -> bytes:
    """Return the content of a member. Raises RefusedFile if it cannot be read, or the file ends before it."""
    try:
        with path.open("rb") as stream:
            stream.seek(member.offset)
            content = stream.read(member.size)
    except OSError as error:
        raise RefusedFile(DAMAGED, f"the tar file cannot be read: {describe_error(error)}") from error
    if len(content) < member.size:
        raise RefusedFile(DAMAGED, f"the tar file ends within a member, {member.size} bytes long")
    return content
