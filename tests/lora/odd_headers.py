"""Files that are odd below their tensors: other formats, headers that lie, links and pipes; each with its codes."""

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
Make = Callable[[random.Random, bytes], bytes]
"""the bytes of a valid file -> those of an odd one"""


def take_apart(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the data of a safetensors file."""
    end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    return json.loads(content[LENGTH_BYTES:end]), content[end:]


def put_together(header: dict[str, Any] | bytes, data: bytes) -> bytes:
    """Return a safetensors file."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(LENGTH_BYTES, "little") + text + data


class Exploit:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('a pickle was run')",)


def _zip(rng: random.Random, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("lora.safetensors", content)
    return buffer.getvalue()


def _cut_in_header(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) - len(take_apart(content)[1]))]


def _cut_in_data(rng: random.Random, content: bytes) -> bytes:
    return content[: -rng.randint(1, len(take_apart(content)[1]))]


def _claim_length(length: Callable[[int], int]) -> Make:
    """Return a maker that writes another length before the header."""

    def make(rng: random.Random, content: bytes) -> bytes:
        true = int.from_bytes(content[:LENGTH_BYTES], "little")
        return length(true).to_bytes(LENGTH_BYTES, "little") + content[LENGTH_BYTES:]

    return make


def _with_text(text: Callable[[bytes], bytes]) -> Make:
    """Return a maker that changes the header's text."""

    def make(rng: random.Random, content: bytes) -> bytes:
        header, data = take_apart(content)
        return put_together(text(json.dumps(header).encode()), data)

    return make


def _with_entry(change: Callable[[dict[str, Any]], object]) -> Make:
    """Return a maker that changes the entry of one tensor."""

    def make(rng: random.Random, content: bytes) -> bytes:
        header, data = take_apart(content)
        entry = header[rng.choice([name for name in header if not name.endswith("alpha")])]
        entry.update(change(entry))
        return put_together(header, data)

    return make


def _with_header(**more: Any) -> Make:
    def make(rng: random.Random, content: bytes) -> bytes:
        header, data = take_apart(content)
        return put_together(header | more, data)

    return make


def _overlap(rng: random.Random, content: bytes) -> bytes:
    """Let one tensor be a part of another."""
    header, data = take_apart(content)
    entries = sorted(header.values(), key=lambda entry: entry["data_offsets"])
    one, other = rng.sample(range(len(entries)), 2)
    begin, size = entries[other]["data_offsets"][0], entries[one]["data_offsets"]
    entries[one]["data_offsets"] = [begin, begin + size[1] - size[0]]
    return put_together(header, data)


def _leave_gap(rng: random.Random, content: bytes) -> bytes:
    """Leave bytes that belong to no tensor, in which anything could hide."""
    header, data = take_apart(content)
    entries = sorted(header.values(), key=lambda entry: entry["data_offsets"])
    at = rng.randrange(len(entries))
    gap, begin = rng.choice((1, 8, 4096)), entries[at]["data_offsets"][0]
    for entry in entries[at:]:
        entry["data_offsets"] = [offset + gap for offset in entry["data_offsets"]]
    return put_together(header, data[:begin] + bytes(gap) + data[begin:])


def _reverse(rng: random.Random, content: bytes) -> bytes:
    header, data = take_apart(content)
    return put_together(dict(reversed(header.items())), data)


def _offsets(values: Callable[[int, int], list[object]]) -> Make:
    return _with_entry(lambda entry: {"data_offsets": values(*entry["data_offsets"])})


def _shape(values: Callable[[list[int]], object]) -> Make:
    return _with_entry(lambda entry: {"shape": values(entry["shape"])})


INCONSISTENT, PICKLE, FOREIGN = "header-inconsistent", "pickle", "not-safetensors"
HEADERS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "bare pickle": (lambda rng, _: pickle.dumps(Exploit(), protocol=rng.randint(2, 5)), (PICKLE,)),
    "zip": (_zip, (PICKLE, FOREIGN)),
    "gzip": (lambda rng, content: gzip.compress(content), (FOREIGN,)),
    "web page": (lambda rng, _: b"<!DOCTYPE html><html>" + rng.randbytes(200), (FOREIGN,)),
    "picture": (lambda rng, _: b"\x89PNG\r\n\x1a\n" + rng.randbytes(200), (FOREIGN,)),
    "noise": (lambda rng, _: b"\xfe" * 8 + b"\x00" + rng.randbytes(3000), (FOREIGN,)),
    "GGUF": (lambda rng, _: b"GGUF\3\0\0\0" + bytes(1000), (FOREIGN,)),
    "LFS pointer": (
        lambda rng, _: b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64,
        (FOREIGN,),
    ),
    "empty": (lambda rng, _: b"", ("truncated",)),
    "cut in the header": (_cut_in_header, ("truncated",)),
    "cut in the data": (_cut_in_data, ("truncated",)),
    "bytes behind": (lambda rng, content: content + rng.randbytes(rng.randint(1, 99)), (INCONSISTENT,)),
    "huge length": (_claim_length(lambda _: 1 << 62), ("header-too-large",)),
    "length -1": (_claim_length(lambda _: (1 << 64) - 1), ("header-too-large",)),
    "length too long": (_claim_length(lambda true: true + 8), (INCONSISTENT, "truncated")),
    "length too short": (_claim_length(lambda true: true - 8), (INCONSISTENT,)),
    "deep lists": (_with_text(lambda text: b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), (INCONSISTENT,)),
    "deep objects": (_with_text(lambda text: b'{"a":' * 100_000 + b"1" + b"}" * 100_000), (INCONSISTENT,)),
    "long number": (_with_text(lambda text: b'{"a":' + b"9" * 500_000 + b"}"), (INCONSISTENT,)),
    "many lists": (_with_text(lambda text: b'{"a":[' + b"[]," * 200_000 + b"[]]}"), (INCONSISTENT, "header-too-large")),
    "header over bound": (_with_text(lambda text: text + b" " * 1_000_000), ("header-too-large",)),
    "duplicate key": (
        _with_text(lambda text: text[:-1] + b"," + text[1:].split(b"}")[0] + b"}}"),
        (INCONSISTENT,),
    ),
    "UTF-16": (_with_text(lambda text: text.decode().encode("utf-16-le")), (INCONSISTENT,)),
    "no UTF-8": (_with_text(lambda text: text.replace(b"t", b"\xff", 1)), (INCONSISTENT,)),
    "half a surrogate": (_with_header(__metadata__={"title": "\ud800"}), (INCONSISTENT,)),
    "text behind the JSON": (_with_text(lambda text: text + b"{}"), (INCONSISTENT,)),
    "metadata of numbers": (_with_header(__metadata__={"rank": 4}), (INCONSISTENT,)),
    "metadata nested": (_with_header(__metadata__={"a": {"b": "c"}}), (INCONSISTENT,)),
    "list for an entry": (_with_header(a=[1]), (INCONSISTENT,)),
    "more in an entry": (_with_entry(lambda _: {"code": "import os"}), (INCONSISTENT,)),
    "overlap": (_overlap, (INCONSISTENT,)),
    "gap": (_leave_gap, (INCONSISTENT,)),
    "negative offset": (_offsets(lambda begin, end: [begin - end, 0]), (INCONSISTENT,)),
    "offsets backwards": (_offsets(lambda begin, end: [end, begin]), (INCONSISTENT,)),
    "float offset": (_offsets(lambda begin, end: [float(begin), float(end)]), (INCONSISTENT,)),
    "text offset": (_offsets(lambda begin, end: [str(begin), str(end)]), (INCONSISTENT,)),
    "three offsets": (_offsets(lambda begin, end: [begin, end, end]), (INCONSISTENT,)),
    "offsets beyond 64 bits": (_offsets(lambda begin, end: [1 << 64, (1 << 64) + end - begin]), (INCONSISTENT,)),
    "negative shape": (_shape(lambda shape: [-shape[0], -shape[1]]), (INCONSISTENT,)),
    "boolean shape": (_shape(lambda shape: [True, *shape]), (INCONSISTENT,)),
    "a milliard of elements": (_shape(lambda shape: [1_000_000_000]), (INCONSISTENT,)),
    "product that overflows": (_shape(lambda shape: [1 << 33, 1 << 33]), (INCONSISTENT,)),
    "many dimensions": (_shape(lambda shape: [1 << 62] * 20_000), (INCONSISTENT,)),
    "unknown dtype": (_with_entry(lambda _: {"dtype": "F4"}), (INCONSISTENT,)),
    "dtype in lower case": (_with_entry(lambda entry: {"dtype": entry["dtype"].lower()}), (INCONSISTENT,)),
    "length that is odd": (_with_text(lambda text: text + b" " * (1 - len(text) % 2)), ()),
    "header padded": (_with_text(lambda text: text + b" " * 999), ()),
    "metadata in Chinese": (_with_header(__metadata__={"title": "水墨 🎨", "\u202e": ""}), ()),
    "long metadata": (_with_header(__metadata__={"ss_tag_frequency": '{"a":[1,{}],' * 20_000}), ()),
    "entries in another order": (_reverse, ()),
}  # fmt: skip
"""kind -> its maker and the codes that it may be refused with; without any it must be accepted"""


def _link(rng: random.Random, content: bytes, path: Path) -> None:
    path.with_suffix(".target").write_bytes(content)
    path.symlink_to(path.with_suffix(".target"))


def _write_sparse(
    size: int, header: Callable[[int], dict[str, Any]]
) -> Callable[[random.Random, bytes, Path], None]:
    """Return a maker of a file of `size` bytes of data that takes no room on disk."""

    def make(rng: random.Random, content: bytes, path: Path) -> None:
        start = put_together(header(size), b"")
        path.write_bytes(start)
        os.truncate(path, len(start) + size)

    return make


def _one_module(size: int) -> dict[str, Any]:
    """Return the header of one module whose two halves claim `size` bytes together."""
    rank, name = size // 128, "transformer.transformer_blocks.0.attn.to_q"
    half = {"dtype": "F32", "shape": [rank, 16], "data_offsets": [0, size // 2]}
    other = {"dtype": "F32", "shape": [16, rank], "data_offsets": [size // 2, size]}
    return {f"{name}.lora_A.weight": half, f"{name}.lora_B.weight": other}


PLACES: dict[str, tuple[Callable[[random.Random, bytes, Path], None], tuple[str, ...]]] = {
    "symbolic link": (_link, (FOREIGN,)),
    "link to nothing": (lambda rng, _, path: path.symlink_to("/nowhere"), (FOREIGN,)),
    "link to a device": (lambda rng, _, path: path.symlink_to("/dev/zero"), (FOREIGN,)),
    "pipe": (lambda rng, _, path: os.mkfifo(path), (FOREIGN,)),
    "folder": (lambda rng, _, path: path.mkdir(), (FOREIGN,)),
    "a milliard of elements, sparse": (_write_sparse(8_000_000_000, _one_module), ("rank-out-of-bounds",)),
    "20 GB, sparse": (_write_sparse(20 * 1024**3, _one_module), ("rank-out-of-bounds",)),
    "20 GB of one byte, sparse": (
        _write_sparse(20 * 1024**3, lambda size: {"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}),
        ("not-a-lora",),
    ),
}  # fmt: skip
"""kind -> what puts it at a path, and the codes that it may be refused with"""
