"""Searching files of any format for many byte strings at once, in one pass."""

import json
import re
from collections.abc import Iterable
from typing import BinaryIO

from ahocorasick_rs import BytesAhoCorasick

BLOCK = 1 << 20
"""bytes that are searched at once"""
WORD = re.compile(rb"[\w-]")


class ByteSearch:
    """Finds patterns. The time depends on the bytes that are read, hardly on the number of patterns."""

    def __init__(self, patterns: Iterable[bytes], words: Iterable[bytes] = ()) -> None:
        """patterns: found anywhere. words: found where they are no part of a longer word. None may be empty."""
        self._words = frozenset(words)
        self._patterns = [*{*patterns, *self._words}]
        self._automaton = BytesAhoCorasick(self._patterns)
        self._overlap = 1 + max(map(len, self._patterns), default=0)

    def in_stream(self, stream: BinaryIO) -> set[bytes]:
        """Return the patterns in a file; tensors can hold none and are not read."""
        found, tail, start, end = set[bytes](), b"", 0, _text_end(stream)
        stream.seek(0)
        while block := stream.read(min(BLOCK, end - start)):
            start += len(block)
            found |= self.in_bytes(tail + block, is_first=not tail, is_last=start == end)
            tail = (tail + block)[-self._overlap :]
        return found

    def in_bytes(self, content: bytes, is_first: bool = True, is_last: bool = True) -> set[bytes]:
        """Return the patterns in a part of a file; a word at an open end is left to the next part, which overlaps."""
        found = set()
        for number, start, end in self._automaton.find_matches_as_indexes(content, overlapping=True):
            pattern = self._patterns[number]
            is_open = (not start and not is_first) or (end == len(content) and not is_last)
            around = content[max(start - 1, 0) : start], content[end : end + 1]
            if pattern not in self._words or not (is_open or any(map(WORD.match, around))):
                found.add(pattern)
        return found


def _text_end(stream: BinaryIO) -> int:
    """Return where the part of a file ends that can hold text: of safetensors the header, else the file."""
    size = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(9)
    header_end = 8 + int.from_bytes(head[:8], "little")
    is_header = head[8:] == b"{" and header_end <= size and _is_header(stream, header_end)
    return header_end if is_header else size


def _is_header(stream: BinaryIO, end: int) -> bool:
    """Return whether a file is one of safetensors, whose header ends there."""
    stream.seek(8)
    try:
        header = json.loads(stream.read(end - 8))
        return all(name == "__metadata__" or "data_offsets" in tensor for name, tensor in header.items())
    except (ValueError, TypeError, AttributeError):
        return False
