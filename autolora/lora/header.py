"""The header of a safetensors file, validated before any library opens the file.

Format: 8 bytes N (little-endian), N bytes of JSON, then the tensors without gap or overlap.
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
DTYPE_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
"""dtypes of the format; those that autolora.lora.mmap_file lacks are valid, but not read"""
PICKLE_PREFIXES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First bytes of torch.save files: a zip archive, or a bare pickle of protocol 2 to 5."""
STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A JSON string, or the rest of the text if the string is not closed; possessive, so matching takes linear time."""
MAX_PARTS = 500_000
"""limit on braces, brackets, colons and commas: a tensor has a dozen, and a full FLUX.1-dev has 780 tensors"""
MAX_QUOTES = 1_000_000
"""limit on quotation marks: a tensor has 14, and trainers store long JSON texts in the metadata"""
MAX_DIMENSIONS = 16
SIZE_LIMIT = 1 << 63


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor as the header describes it; `begin` and `end` are byte offsets after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """The validated header of a file."""

    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]
    start: int
    """offset in the file of the first tensor's first byte"""
    data_bytes: int
    """size of all tensors together"""


def header_length(start: bytes, size: int, max_bytes: int) -> int:
    """Return the length in bytes of the header's JSON.

    start: the first 16 bytes of the file; size: its length in bytes; max_bytes: limit on the header.
    Raises RefusedFile: pickle, not-safetensors, truncated, header-too-large.
    """
    if len(start) <= LENGTH_BYTES:
        raise refusal("truncated", f"the file has {size} bytes, fewer than an empty safetensors file")
    if start[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{":  # \x80\x02 alone may also encode a length of 640
        code = "pickle" if start.startswith(PICKLE_PREFIXES) else "not-safetensors"
        raise refusal(code, f"the file begins with {start[:4]!r}")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if length > max_bytes:
        raise refusal("header-too-large", f"{length} bytes, the limit is {max_bytes}")
    if LENGTH_BYTES + length > size:
        raise refusal("truncated", f"the header needs {LENGTH_BYTES + length} bytes, the file has {size}")
    return length


def parse_header(text: bytes, data_bytes: int) -> Header:
    """Return the validated header from its JSON and the number of bytes that follow it.

    Raises RefusedFile: header-too-large, header-inconsistent, truncated.
    """
    content = _parse_object(text)
    metadata = content.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise refusal("header-inconsistent", "__metadata__ does not map names to strings")
    _check_text("".join((*content, *metadata, *metadata.values())))
    tensors = {name: _parse_entry(name, entry) for name, entry in content.items()}
    _check_layout(tensors, data_bytes)
    return Header(tensors, metadata, LENGTH_BYTES + len(text), data_bytes)


def _parse_object(text: bytes) -> dict[str, Any]:
    """Return a JSON object; refuse duplicate names and texts with too many parts to be parsed quickly."""
    quotes = text.count(b'"')
    if quotes > MAX_QUOTES:
        raise refusal("header-too-large", f"{quotes} quotation marks, the limit is {MAX_QUOTES}")
    skeleton = STRINGS.sub(b"", text)
    parts = sum(skeleton.count(mark) for mark in (b"{", b"[", b":", b","))
    if parts > MAX_PARTS:
        raise refusal("header-too-large", f"{parts} parts, the limit is {MAX_PARTS}")
    try:
        content = json.loads(text.decode(), object_pairs_hook=_unique)  # json would also accept UTF-16 bytes
    except (ValueError, RecursionError) as error:
        raise refusal("header-inconsistent", f"it is not valid JSON ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise refusal("header-inconsistent", f"expected a JSON object, got {type(content).__name__}")
    return content


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these pairs; refuse duplicate names."""
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise refusal("header-inconsistent", f"{name!r} occurs twice")
        content[name] = value
    return content


def _check_text(text: str) -> None:
    """Refuse unpaired surrogates: JSON can escape them, but they cannot be written to a file or a terminal."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise refusal(
            "header-inconsistent", f"a name or text in it is not valid Unicode ({error.reason})"
        ) from error


def _parse_entry(name: str, entry: Any) -> TensorEntry:
    """Return one entry of the header; check its dtype, its shape and that its size in bytes follows from both."""
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _inconsistent(name, "must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _inconsistent(name, f"has the unknown dtype {str(dtype)[:20]!r}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise _inconsistent(
            name, f"must have at most {MAX_DIMENSIONS} integers as shape and two as data_offsets"
        )
    needed = math.prod(shape) * DTYPE_BITS[dtype]
    if 8 * (offsets[1] - offsets[0]) != needed:
        raise _inconsistent(name, f"needs {needed / 8:g} bytes but has {offsets[1] - offsets[0]}")
    return TensorEntry(dtype, tuple(shape), offsets[0], offsets[1])


def _are_sizes(values: Any) -> bool:
    """Return whether `values` is a short list of non-negative integers below 2⁶³ (a JSON true is not an integer)."""
    if not isinstance(values, list) or len(values) > MAX_DIMENSIONS:  # long products take very long
        return False
    return all(type(value) is int and 0 <= value < SIZE_LIMIT for value in values)


def _check_layout(tensors: Mapping[str, TensorEntry], data_bytes: int) -> None:
    """Refuse tensors that do not fill the file from the header to the end without gap or overlap."""
    end = 0
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            raise _inconsistent(name, f"begins at byte {entry.begin}, but the previous tensor ends at {end}")
        end = entry.end
    if end > data_bytes:
        raise refusal("truncated", f"the tensors need {end} bytes, the file has {data_bytes}")
    if end < data_bytes:
        raise refusal("header-inconsistent", f"{data_bytes - end} bytes follow the last tensor")


def _inconsistent(name: str, problem: str) -> RefusedFile:
    return refusal("header-inconsistent", f"{name[:100]!r} {problem}")
