"""A folder of images with captions: NAME.txt beside NAME.png, or metadata.jsonl as in Hugging Face's imagefolder."""

import json
import os
from collections.abc import Iterator
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
    check_caption_bytes,
    clean_caption,
    describe_error,
    source_name,
)
from autolora.errors import RefusedFile
from autolora.params import PoolParams
from autolora.pool.images import read_image

METADATA = "metadata.jsonl"


def list_images(root: Path, files: list[Path], skipped: Skipped) -> Iterator[CorpusItem]:
    """Yield the captioned images among the files of a corpus; those without a caption are skipped.

    root: the corpus, to which sources are relative. files: sorted; of NAME.TXT and NAME.txt the latter counts.
    """
    texts = {path.with_suffix(""): path for path in files if path.suffix.lower() == ".txt"}
    captions = _read_metadata(root, [path for path in files if path.name == METADATA], skipped)
    for path in files:
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        source = source_name(os.path.relpath(path, root))
        if (caption := captions.get(os.path.normpath(path))) is not None:
            yield CorpusItem(source, partial(_read_listed, path, caption))
        elif text := texts.get(path.with_suffix("")):
            yield CorpusItem(source, partial(_read_with_sidecar, path, text))
        else:
            skipped.add(
                NO_CAPTION, source, f"it has neither a .txt file of its name nor a caption in {METADATA}"
            )


def _read_metadata(root: Path, files: list[Path], skipped: Skipped) -> dict[str, str]:
    """Return path of an image -> caption. Lines that are not valid are skipped; images without one are later."""
    captions: dict[str, str] = {}
    for path in files:
        name = source_name(os.path.relpath(path, root))
        try:
            for number, line in _read_lines(path):
                captions |= _read_line(path.parent, line, f"{name}, line {number}", skipped)
        except OSError as error:
            skipped.add(DAMAGED, name, f"it cannot be read: {describe_error(error)}")
    return captions


def _read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each line; longer ones than MAX_CAPTION_BYTES in parts, which are not valid."""
    number = 1
    with path.open("rb") as stream:
        for part in iter(partial(stream.readline, MAX_CAPTION_BYTES), b""):
            yield number, part
            number += part.endswith(b"\n")


def _read_line(folder: Path, line: bytes, place: str, skipped: Skipped) -> dict[str, str]:
    """Return the caption in a line by the path of its image; empty without a caption, or if the line is not valid,
    which is counted.
    """
    try:
        row = json.loads(line)
        return {os.path.normpath(folder / str(row["file_name"])): caption_field(row)}
    except (ValueError, KeyError, TypeError, RecursionError):
        skipped.add("invalid-line", place, "it is not a JSON object with file_name")
    except RefusedFile:  # the image is counted
        pass
    return {}


def _read_listed(path: Path, caption: str, bounds: PoolParams) -> tuple[bytes, str]:
    return _read_content(path, bounds), caption


def _read_with_sidecar(path: Path, text: Path, bounds: PoolParams) -> tuple[bytes, str]:
    try:
        with text.open("rb") as stream:
            content = stream.read(MAX_CAPTION_BYTES + 1)
        check_caption_bytes(len(content))
        caption = clean_caption(content.decode())
    except (OSError, ValueError) as error:
        raise RefusedFile(NO_CAPTION, f"its .txt file cannot be read: {describe_error(error)}") from error
    return _read_content(path, bounds), caption


def _read_content(path: Path, bounds: PoolParams) -> bytes:
    """Return the content of an image, also through a link. Raises RefusedFile as `read_image`, or if it is gone."""
    try:
        return read_image(path.resolve(), bounds)
    except OSError as error:
        raise RefusedFile(DAMAGED, f"it cannot be read: {describe_error(error)}") from error
