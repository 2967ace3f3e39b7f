"""Faults of files on disk, each with the problem that a verification names."""

import random
from collections.abc import Callable
from pathlib import Path

from autolora.integrity.verification import DAMAGED, EMPTY, MISSING


def flip_bit(path: Path) -> None:
    """Invert one bit, chosen by the file's name."""
    content, bits = bytearray(path.read_bytes()), random.Random(path.name)
    content[bits.randrange(len(content))] ^= 1 << bits.randrange(8)
    rewrite(path, bytes(content))


def truncate(path: Path) -> None:
    """Remove the last byte."""
    rewrite(path, path.read_bytes()[:-1])


def empty(path: Path) -> None:
    """Remove all bytes."""
    rewrite(path, b"")


def rewrite(path: Path, content: bytes) -> None:
    """Change a file in place, so that its links change too."""
    path.chmod(0o644)
    path.write_bytes(content)


FAULTS: dict[Callable[[Path], None], str] = {
    flip_bit: DAMAGED,
    truncate: DAMAGED,
    empty: EMPTY,
    Path.unlink: MISSING,
}
