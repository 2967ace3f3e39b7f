"""Searching files of any format for many byte strings at once, in one pass."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

BLOCK = 1 << 20
"""bytes that are searched at once"""
MIN_BYTES = 8
"""of a pattern"""
BITS, FACTOR = 20, np.uint64(0x9E3779B97F4A7C15)
"""of the table that says for the hash of a few bytes whether they are a part of a pattern"""
PNG = b"\x89PNG\r\n\x1a\n"
WORD = re.compile(rb"[\w-]")

Words = np.ndarray[Any, np.dtype[np.uint64]]


class ByteSearch:
    """Finds patterns. The time depends on the bytes that are read, hardly on the number of patterns."""

    def __init__(self, patterns: Iterable[bytes], words: Iterable[bytes] = ()) -> None:
        """patterns: found anywhere. words: found where they are no part of a longer word.

        Raises ValueError if one has fewer than MIN_BYTES bytes.
        """
        self._words = frozenset(words)
        searched = {*patterns, *self._words}
        if short := [pattern for pattern in searched if len(pattern) < MIN_BYTES]:
            raise ValueError(f"{short[0]!r} has fewer than {MIN_BYTES} bytes")
        groups = {width: {item for item in searched if _width(item) == width} for width in (4, 8)}
        self._anchors = [_Anchors(width, group) for width, group in groups.items() if group]
        self._overlap = 1 + max(map(len, searched), default=0)

    def in_stream(self, stream: BinaryIO) -> set[bytes]:
        """Return the patterns in a file; tensors, and the pixels of a PNG, can hold none and are not read."""
        found: set[bytes] = set()
        for start, end in _text_parts(stream):
            tail = b""
            stream.seek(start)
            while block := stream.read(min(BLOCK, end - start)):
                start += len(block)
                found |= self.in_bytes(tail + block, is_first=not tail, is_last=start == end)
                tail = (tail + block)[-self._overlap :]
        return found

    def in_bytes(self, content: bytes, is_first: bool = True, is_last: bool = True) -> set[bytes]:
        """Return the patterns in a part of a file; a word at an open end is left to the next part, which overlaps."""
        found = set()
        for anchors in self._anchors:
            for place, pattern in anchors.places(content):
                end = place + len(pattern)
                is_open = (not place and not is_first) or (end == len(content) and not is_last)
                around = content[max(place - 1, 0) : place], content[end : end + 1]
                if pattern not in self._words or not (is_open or any(map(WORD.match, around))):
                    found.add(pattern)
        return found


class _Anchors:
    """Parts of patterns, of which each occurrence of a pattern has one at a multiple of their width."""

    def __init__(self, width: int, patterns: Iterable[bytes]) -> None:
        """width: bytes of a part."""
        self._width, self._type = width, f"<u{width}"
        self._parts: defaultdict[bytes, list[tuple[bytes, int]]] = defaultdict(list)
        for pattern in patterns:
            for offset in range(width):
                self._parts[pattern[offset : offset + width]].append((pattern, offset))
        self._table = np.zeros(1 << BITS, np.bool_)
        self._table[_hash(np.frombuffer(b"".join(self._parts), self._type))] = True

    def places(self, content: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the places of patterns in some bytes, and the patterns."""
        width = self._width
        values = np.frombuffer(content, self._type, len(content) // width)
        for start in (np.flatnonzero(self._table[_hash(values)]) * width).tolist():
            for pattern, offset in self._parts.get(content[start : start + width], ()):
                if start >= offset and content.startswith(pattern, start - offset):
                    yield start - offset, pattern


def _width(pattern: bytes) -> int:
    return 8 if len(pattern) >= 15 else 4


def _hash(values: Words) -> Words:
    hashes: Words = (values.astype(np.uint64) * FACTOR) >> np.uint64(64 - BITS)
    return hashes


def _text_parts(stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a file that can hold text."""
    size = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(9)
    header_end = 8 + int.from_bytes(head[:8], "little")
    if head[8:] == b"{" and header_end <= size and _is_header(stream, header_end):
        yield 0, header_end
    elif head[:8] == PNG:
        yield from _png_parts(stream, size)
    else:
        yield 0, size


def _is_header(stream: BinaryIO, end: int) -> bool:
    """Return whether a file is one of safetensors, whose header ends there."""
    stream.seek(8)
    try:
        header = json.loads(stream.read(end - 8))
        return all(name == "__metadata__" or "data_offsets" in tensor for name, tensor in header.items())
    except (ValueError, TypeError, AttributeError):
        return False


def _png_parts(stream: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges between the pixels of a PNG; from the first chunk that is not valid, all that follows."""
    start = place = len(PNG)
    while place + 12 <= size:
        stream.seek(place)
        header = stream.read(8)
        length, kind = int.from_bytes(header[:4], "big"), header[4:]
        if kind == b"IEND" or place + 12 + length > size:
            break
        place += 12 + length
        if kind == b"IDAT":
            yield start, place - 12 - length
            start = place
    yield start, size
