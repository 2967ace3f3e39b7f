"""WebDataset: a tar file whose members NAME.jpg and NAME.txt or NAME.json are one captioned image.

Members are listed once and read by their position. The JSON is that of img2dataset: an object with a caption.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from autolora.concepts.items import (
    DAMAGED,
    IMAGE_SUFFIXES,
    MAX_CAPTION_BYTES,
    NO_CAPTION,
    CorpusItem,
    Skipped,
    caption_field,
    clean_caption,
    source_name,
)
from autolora.errors import RefusedFile
from autolora.params import PoolParams
from autolora.pool.images import check_bytes

CAPTION_SUFFIXES = (".txt", ".json")
"""the first that exists counts"""


@dataclass(frozen=True, slots=True)
class Member:
    """The position of a member's content in a tar file."""

    offset: int
    size: int


def list_members(path: Path, name: str, skipped: Skipped) -> Iterator[CorpusItem]:
    """Yield the captioned images of a tar file, and count those without a caption.

    name: of the file in sources. The members before a damaged part are used; the damage is counted.
    """
    for stem, members in _samples(path, skipped).items():
        image = next((suffix for suffix in IMAGE_SUFFIXES if suffix in members), None)
        caption = next((suffix for suffix in CAPTION_SUFFIXES if suffix in members), None)
        if image and caption:
            read = partial(_read, path, members[image], members[caption], caption)
            yield CorpusItem(source_name(f"{name}/{stem}{image}"), read)
        elif image:
            skipped[NO_CAPTION] += 1


def _samples(path: Path, skipped: Skipped) -> dict[str, dict[str, Member]]:
    """Return stem -> suffix -> member; a stem ends at the first dot of the file name, as in WebDataset."""
    samples: dict[str, dict[str, Member]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                if info.size < 0:
                    raise tarfile.ReadError(f"{info.name} has a negative size")
                if info.isreg() and not info.issparse():
                    folder, slash, file = info.name.rpartition("/")
                    stem, dot, suffix = file.partition(".")
                    member = Member(info.offset_data, info.size)
                    samples.setdefault(folder + slash + stem, {})[dot + suffix.lower()] = member
                archive.members.clear()  # type: ignore[attr-defined]  # else every header stays in memory
            _check_end(path, archive.offset)
    except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError):
        skipped[DAMAGED] += 1
    return samples


def _check_end(path: Path, offset: int) -> None:
    """Raise ReadError if the members end at a damaged header, which tarfile takes for the end of the file."""
    with path.open("rb") as stream:
        stream.seek(offset)
        if any(stream.read(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError(f"invalid header at byte {offset}")


def _read(path: Path, image: Member, caption: Member, suffix: str, bounds: PoolParams) -> tuple[bytes, str]:
    check_bytes(image.size, bounds)
    if caption.size > MAX_CAPTION_BYTES:
        raise RefusedFile(NO_CAPTION, f"its {suffix} member has {caption.size} bytes")
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
        raise RefusedFile(DAMAGED, f"the tar file cannot be read: {error}") from error
    if len(content) < member.size:
        raise RefusedFile(DAMAGED, f"the tar file ends within a member, {member.size} bytes long")
    return content
