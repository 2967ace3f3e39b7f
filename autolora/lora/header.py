"""The header of a safetensors file, checked by ourselves before any library opens the file.

Layout: 8 bytes N (little-endian), N bytes of JSON, then the tensors without gap or overlap.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autolora.errors import RefusedFile
from autolora.lora.verdict import refusal

LENGTH_BYTES = 8
DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2,
    "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "C64": 8, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How files of torch.save begin: a zip archive, or a bare pickle of protocol 2 to 5."""
STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A JSON string, or what is left of the text where it never ends; possessive, so it takes linear time."""
MOST_PARTS = 500_000
"""braces, brackets, colons and commas: a tensor has a dozen, and a full FLUX.1-dev has 780 tensors"""
MOST_QUOTES = 1_000_000
"""a tensor has 14, and the metadata's texts hold what a trainer counted"""
MOST_DIMENSIONS = 16
LARGEST_SIZE = 1 << 63


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor as the header describes it; begin and end are bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What the file says it holds."""

    tensors: dict[str, Stored]
    metadata: dict[str, str]
    start: int
    """the file's byte that the tensors begin with"""
    data_bytes: int
    """of all tensors together"""


def header_length(start: bytes, size: int, max_bytes: int) -> int:
    """Return the length in bytes of the header's JSON.

    start: the first 16 bytes of the file; size: its length in bytes; max_bytes: the bound on the header.
    Raises RefusedFile: pickle, not-safetensors, truncated, header-too-large.
    """
    if len(start) <= LENGTH_BYTES:
        raise refusal("truncated", f"it has {size} bytes, fewer than an empty safetensors file")
    if start[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{":  # \x80\x02 alone may also be a length of 640
        code = "pickle" if start.startswith(PICKLES) else "not-safetensors"
        raise refusal(code, f"it begins with {start[:4]!r}")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if length > max_bytes:
        raise refusal("header-too-large", f"{length} bytes, allowed are {max_bytes}")
    if LENGTH_BYTES + length > size:
        raise refusal("truncated", f"the header alone needs {LENGTH_BYTES + length} bytes, it has {size}")
    return length


def parse_header(text: bytes, data_bytes: int) -> Header:
    """Parse the header's JSON and check it against the number of bytes that follow it.

    Raises RefusedFile: header-too-large, header-inconsistent, truncated.
    """
    content = _parse_object(text)
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise refusal("header-inconsistent", "__metadata__ must map names to strings")
    _check_text("".join((*content, *metadata, *metadata.values())))
    tensors = {name: _stored(name, entry) for name, entry in content.items()}
    _check_layout(tensors, data_bytes)
    return Header(tensors, metadata, LENGTH_BYTES + len(text), data_bytes)


def _parse_object(text: bytes) -> dict[str, Any]:
    """Parse JSON that has few enough parts to be parsed in a moment, and no name twice."""
    quotes = text.count(b'"')
    if quotes > MOST_QUOTES:
        raise refusal("header-too-large", f"{quotes} quotation marks, allowed are {MOST_QUOTES}")
    skeleton = STRINGS.sub(b"", text)
    parts = sum(skeleton.count(mark) for mark in (b"{", b"[", b":", b","))
    if parts > MOST_PARTS:
        raise refusal("header-too-large", f"{parts} parts, allowed are {MOST_PARTS}")
    try:
        content = json.loads(text.decode(), object_pairs_hook=_unique)  # bytes may also pass for UTF-16
    except (ValueError, RecursionError) as error:
        raise refusal("header-inconsistent", f"it is no JSON ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise refusal("header-inconsistent", "it is no JSON object")
    return content


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise refusal("header-inconsistent", f"{name!r} occurs twice")
        found[name] = value
    return found


def _check_text(text: str) -> None:
    """Refuse half a surrogate: JSON can spell it, but no file or terminal can be told it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise refusal(
            "header-inconsistent", f"a name or text in it is no Unicode ({error.reason})"
        ) from error


def _stored(name: str, entry: Any) -> Stored:
    """Check one entry of the header: known dtype, a shape, and as many bytes as the two need."""
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _broken(name, "must have dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise _broken(name, f"has the unknown dtype {str(dtype)[:20]!r}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise _broken(name, f"must have up to {MOST_DIMENSIONS} sizes as shape and two as data_offsets")
    needed = math.prod(shape) * DTYPE_BYTES[dtype]
    if offsets[1] - offsets[0] != needed:
        raise _broken(name, f"needs {needed} bytes but has {offsets[1] - offsets[0]}")
    return Stored(dtype, tuple(shape), offsets[0], offsets[1])


def _are_sizes(values: Any) -> bool:
    """Tell whether `values` is a short list of whole numbers of 63 bits (a JSON true is none)."""
    if not isinstance(values, list) or len(values) > MOST_DIMENSIONS:  # long products take for ever
        return False
    return all(type(value) is int and 0 <= value < LARGEST_SIZE for value in values)


def _check_layout(tensors: Mapping[str, Stored], data_bytes: int) -> None:
    """Check that the tensors fill the file from the header to the end without gap or overlap."""
    end = 0
    for name, stored in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if stored.begin != end:
            raise _broken(name, f"begins at byte {stored.begin}, the tensor before it ends at {end}")
        end = stored.end
    if end > data_bytes:
        raise refusal("truncated", f"the tensors need {end} bytes, {data_bytes} are there")
    if end < data_bytes:
        raise refusal("header-inconsistent", f"{data_bytes - end} bytes follow the last tensor")


def _broken(name: str, what: str) -> RefusedFile:
    return refusal("header-inconsistent", f"{name[:100]!r} {what}")
