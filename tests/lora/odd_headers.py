"""Invalid files below the level of tensors: other formats, invalid headers, links and pipes; each with its codes."""

import gzip
import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

LENGTH_BYTES = 8
Corruption = Callable[[random.Random, bytes], bytes]
"""bytes of a valid file -> bytes of another file"""


def split_file(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the data of a safetensors file."""
    end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    return json.loads(content[LENGTH_BYTES:end]), content[end:]


def join_file(header: dict[str, Any] | bytes, data: bytes) -> bytes:
    """Return a safetensors file with this header and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(LENGTH_BYTES, "little") + text + data


class Exploit:
    """An object whose pickle runs code when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('a pickle was run')",)


def _zip(rng: random.Random, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("lora.safetensors", content)
    return buffer.getvalue()


def _truncate_header(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) - len(split_file(content)[1]))]


def _truncate_data(rng: random.Random, content: bytes) -> bytes:
    return content[: -rng.randint(1, len(split_file(content)[1]))]


def _with_length(length: Callable[[int], int]) -> Corruption:
    """Return a corruption that changes the length before the header."""

    def corrupt(rng: random.Random, content: bytes) -> bytes:
        true = int.from_bytes(content[:LENGTH_BYTES], "little")
        return length(true).to_bytes(LENGTH_BYTES, "little") + content[LENGTH_BYTES:]

    return corrupt


def _with_text(text: Callable[[bytes], bytes]) -> Corruption:
    """Return a corruption that changes the header's JSON text."""

    def corrupt(rng: random.Random, content: bytes) -> bytes:
        header, data = split_file(content)
        return join_file(text(json.dumps(header).encode()), data)

    return corrupt


def _with_entry(change: Callable[[dict[str, Any]], object]) -> Corruption:
    """Return a corruption that changes the entry of one tensor."""

    def corrupt(rng: random.Random, content: bytes) -> bytes:
        header, data = split_file(content)
        entry = header[rng.choice([name for name in header if not name.endswith("alpha")])]
        entry.update(change(entry))
        return join_file(header, data)

    return corrupt


def _with_header(**fields: Any) -> Corruption:
    """Return a corruption that adds or replaces fields of the header."""

    def corrupt(rng: random.Random, content: bytes) -> bytes:
        header, data = split_file(content)
        return join_file(header | fields, data)

    return corrupt


def _overlap(rng: random.Random, content: bytes) -> bytes:
    """Move one tensor's range into another's."""
    header, data = split_file(content)
    entries = sorted(header.values(), key=lambda entry: entry["data_offsets"])
    moved, target = rng.sample(entries, 2)
    begin, (old_begin, old_end) = target["data_offsets"][0], moved["data_offsets"]
    moved["data_offsets"] = [begin, begin + old_end - old_begin]
    return join_file(header, data)


def _leave_gap(rng: random.Random, content: bytes) -> bytes:
    """Insert bytes that belong to no tensor and could contain anything."""
    header, data = split_file(content)
    entries = sorted(header.values(), key=lambda entry: entry["data_offsets"])
    first = rng.randrange(len(entries))
    gap, begin = rng.choice((1, 8, 4096)), entries[first]["data_offsets"][0]
    for entry in entries[first:]:
        entry["data_offsets"] = [offset + gap for offset in entry["data_offsets"]]
    return join_file(header, data[:begin] + bytes(gap) + data[begin:])


def _reverse(rng: random.Random, content: bytes) -> bytes:
    header, data = split_file(content)
    return join_file(dict(reversed(header.items())), data)


def _offsets(values: Callable[[int, int], list[object]]) -> Corruption:
    return _with_entry(lambda entry: {"data_offsets": values(*entry["data_offsets"])})


def _shape(values: Callable[[list[int]], object]) -> Corruption:
    return _with_entry(lambda entry: {"shape": values(entry["shape"])})


INCONSISTENT, PICKLE, OTHER_FORMAT = "header-inconsistent", "pickle", "not-safetensors"
HEADERS: dict[str, tuple[Corruption, tuple[str, ...]]] = {
    "bare pickle": (lambda rng, _: pickle.dumps(Exploit(), protocol=rng.randint(2, 5)), (PICKLE,)),
    "zip": (_zip, (PICKLE, OTHER_FORMAT)),
    "gzip": (lambda rng, content: gzip.compress(content), (OTHER_FORMAT,)),
    "web page": (lambda rng, _: b"<!DOCTYPE html><html>" + rng.randbytes(200), (OTHER_FORMAT,)),
    "PNG image": (lambda rng, _: b"\x89PNG\r\n\x1a\n" + rng.randbytes(200), (OTHER_FORMAT,)),
    "noise": (lambda rng, _: b"\xfe" * 8 + b"\x00" + rng.randbytes(3000), (OTHER_FORMAT,)),
    "GGUF": (lambda rng, _: b"GGUF\3\0\0\0" + bytes(1000), (OTHER_FORMAT,)),
    "LFS pointer": (
        lambda rng, _: b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64,
        (OTHER_FORMAT,),
    ),
    "empty": (lambda rng, _: b"", ("truncated",)),
    "truncated header": (_truncate_header, ("truncated",)),
    "truncated data": (_truncate_data, ("truncated",)),
    "trailing bytes": (lambda rng, content: content + rng.randbytes(rng.randint(1, 99)), (INCONSISTENT,)),
    "huge length": (_with_length(lambda _: 1 << 62), ("header-too-large",)),
    "length -1": (_with_length(lambda _: (1 << 64) - 1), ("header-too-large",)),
    "length too long": (_with_length(lambda true: true + 8), (INCONSISTENT, "truncated")),
    "length too short": (_with_length(lambda true: true - 8), (INCONSISTENT,)),
    "deep lists": (_with_text(lambda text: b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), (INCONSISTENT,)),
    "deep objects": (_with_text(lambda text: b'{"a":' * 100_000 + b"1" + b"}" * 100_000), (INCONSISTENT,)),
    "long number": (_with_text(lambda text: b'{"a":' + b"9" * 500_000 + b"}"), (INCONSISTENT,)),
    "many lists": (_with_text(lambda text: b'{"a":[' + b"[]," * 200_000 + b"[]]}"), (INCONSISTENT, "header-too-large")),
    "header above the limit": (_with_text(lambda text: text + b" " * 1_000_000), ("header-too-large",)),
    "duplicate key": (
        _with_text(lambda text: text[:-1] + b"," + text[1:].split(b"}")[0] + b"}}"),
        (INCONSISTENT,),
    ),
    "UTF-16": (_with_text(lambda text: text.decode().encode("utf-16-le")), (INCONSISTENT,)),
    "invalid UTF-8": (_with_text(lambda text: text.replace(b"t", b"\xff", 1)), (INCONSISTENT,)),
    "unpaired surrogate": (_with_header(__metadata__={"title": "\ud800"}), (INCONSISTENT,)),
    "text after the JSON": (_with_text(lambda text: text + b"{}"), (INCONSISTENT,)),
    "number in metadata": (_with_header(__metadata__={"rank": 4}), (INCONSISTENT,)),
    "nested metadata": (_with_header(__metadata__={"a": {"b": "c"}}), (INCONSISTENT,)),
    "list as entry": (_with_header(a=[1]), (INCONSISTENT,)),
    "extra field in entry": (_with_entry(lambda _: {"code": "import os"}), (INCONSISTENT,)),
    "overlap": (_overlap, (INCONSISTENT,)),
    "gap": (_leave_gap, (INCONSISTENT,)),
    "negative offset": (_offsets(lambda begin, end: [begin - end, 0]), (INCONSISTENT,)),
    "reversed offsets": (_offsets(lambda begin, end: [end, begin]), (INCONSISTENT,)),
    "float offset": (_offsets(lambda begin, end: [float(begin), float(end)]), (INCONSISTENT,)),
    "string offset": (_offsets(lambda begin, end: [str(begin), str(end)]), (INCONSISTENT,)),
    "three offsets": (_offsets(lambda begin, end: [begin, end, end]), (INCONSISTENT,)),
    "offsets beyond 64 bits": (_offsets(lambda begin, end: [1 << 64, (1 << 64) + end - begin]), (INCONSISTENT,)),
    "negative shape": (_shape(lambda shape: [-shape[0], -shape[1]]), (INCONSISTENT,)),
    "boolean shape": (_shape(lambda shape: [True, *shape]), (INCONSISTENT,)),
    "a billion elements": (_shape(lambda shape: [1_000_000_000]), (INCONSISTENT,)),
    "overflowing product": (_shape(lambda shape: [1 << 33, 1 << 33]), (INCONSISTENT,)),
    "many dimensions": (_shape(lambda shape: [1 << 62] * 20_000), (INCONSISTENT,)),
    "unknown dtype": (_with_entry(lambda _: {"dtype": "F4"}), (INCONSISTENT,)),
    "lower-case dtype": (_with_entry(lambda entry: {"dtype": entry["dtype"].lower()}), (INCONSISTENT,)),
    "odd header length": (_with_text(lambda text: text + b" " * (1 - len(text) % 2)), ()),
    "padded header": (_with_text(lambda text: text + b" " * 999), ()),
    "Chinese metadata": (_with_header(__metadata__={"title": "水墨 🎨", "\u202e": ""}), ()),
    "long metadata": (_with_header(__metadata__={"ss_tag_frequency": '{"a":[1,{}],' * 20_000}), ()),
    "reversed entries": (_reverse, ()),
}  # fmt: skip
"""kind -> its corruption and the expected reason codes; files without expected codes must be accepted"""


def _link(rng: random.Random, content: bytes, path: Path) -> None:
    path.with_suffix(".target").write_bytes(content)
    path.symlink_to(path.with_suffix(".target"))


def _write_sparse(
    size: int, header: Callable[[int], dict[str, Any]]
) -> Callable[[random.Random, bytes, Path], None]:
    """Return a function that writes a file with `size` bytes of data and uses no disk space for them."""

    def write(rng: random.Random, content: bytes, path: Path) -> None:
        start = join_file(header(size), b"")
        path.write_bytes(start)
        os.truncate(path, len(start) + size)

    return write


def _one_module(size: int) -> dict[str, Any]:
    """Return the header of one module whose two factors have `size` bytes together."""
    rank, name = size // 128, "transformer.transformer_blocks.0.attn.to_q"
    down = {"dtype": "F32", "shape": [rank, 16], "data_offsets": [0, size // 2]}
    up = {"dtype": "F32", "shape": [16, rank], "data_offsets": [size // 2, size]}
    return {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}


SPECIAL_FILES: dict[str, tuple[Callable[[random.Random, bytes, Path], None], tuple[str, ...]]] = {
    "symbolic link": (_link, (OTHER_FORMAT,)),
    "broken link": (lambda rng, _, path: path.symlink_to("/nowhere"), (OTHER_FORMAT,)),
    "link to a device": (lambda rng, _, path: path.symlink_to("/dev/zero"), (OTHER_FORMAT,)),
    "pipe": (lambda rng, _, path: os.mkfifo(path), (OTHER_FORMAT,)),
    "folder": (lambda rng, _, path: path.mkdir(), (OTHER_FORMAT,)),
    "a billion elements, sparse": (_write_sparse(8_000_000_000, _one_module), ("rank-out-of-bounds",)),
    "20 GB, sparse": (_write_sparse(20 * 1024**3, _one_module), ("rank-out-of-bounds",)),
    "20 GB of bytes, sparse": (
        _write_sparse(20 * 1024**3, lambda size: {"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}),
        ("not-a-lora",),
    ),
}  # fmt: skip
"""kind -> function that creates it at a path, and the expected reason codes"""
