"""Mutations: random damage to a valid safetensors file, accidental or malicious; all choices come from `rng`."""

import json
import random
from collections.abc import Callable
from typing import Any

LENGTH_BYTES = 8
NUMBERS = (
    -1, 0, 1, 2, 255, 1 << 31, (1 << 63) - 1, 1 << 63, 10**30, -(10**18), 0.5, 1e3, 1e308, float("nan"),
    float("inf"), True, None, "8", [], [8], {}, "\ud800",
)  # fmt: skip
"""replacements for a number"""
TEXTS = (
    "", "F32", "f32", "BF16", "I64", "U8", "BOOL", "C64", "F8_E4M3", "F4", "F32\0", "__metadata__", "lora_down",
    "../../etc/passwd", "\u202e\x1b[2J", "a" * 5000, ".alpha", "transformer_blocks.0.attn.to_q.lora_A.weight",
)  # fmt: skip
JSON_BYTES = b'{}[]",:\\0\x00\xff \x80u-.eE'

Header = dict[str, Any]


def mutate_header(rng: random.Random, header: Header) -> bytes:
    """Return a header's JSON with one to three mutations of its content and, in some cases, mutations of its bytes."""
    changed = json.loads(json.dumps(header))
    if rng.random() < 0.3:  # a renamed tensor passes the checks of the header and reaches later ones
        _rename(rng, changed)
        return json.dumps(changed).encode()
    for _ in range(rng.randint(1, 3)):
        rng.choice(CHANGES)(rng, changed)
    text = json.dumps(changed, ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass")
    return mutate_bytes(rng, text) if rng.random() < 0.5 else text


def mutate_bytes(rng: random.Random, content: bytes) -> bytes:
    """Return bytes with one to four of them changed, or with a range removed, repeated or inserted."""
    begin, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    span = content[begin:end]
    kind = rng.randrange(6)
    if kind == 0:
        return content[:begin] + content[end:]
    if kind == 1:
        return content[:end] + span[:2000] + content[end:]
    if kind == 2:
        return content[:begin]
    if kind == 3:
        return content[:begin] + bytes(rng.choices(JSON_BYTES, k=rng.randint(1, 40))) + content[begin:]
    if kind == 4:
        repeated = rng.choice((b"[", b'{"a":', b'"\\', b"9")) * rng.randint(1, 3000)
        return content[:begin] + repeated + content[begin:]
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if damaged:
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def length_prefix(rng: random.Random, length: int) -> bytes:
    """Return the file's first 8 bytes: the header's length, in one of ten cases a wrong length."""
    wrong = (0, 1, length - 1, length + 1, length * 2, 1 << 20, 1 << 40, (1 << 64) - 1)
    return (rng.choice(wrong) if rng.random() < 0.1 else length).to_bytes(
        LENGTH_BYTES, "little", signed=False
    )


def _change_number(rng: random.Random, header: Header) -> None:
    entry = _pick(rng, header)
    numbers = entry.get(rng.choice(("shape", "data_offsets")))
    if isinstance(numbers, list) and numbers:
        numbers[rng.randrange(len(numbers))] = rng.choice(NUMBERS)


def _change_field(rng: random.Random, header: Header) -> None:
    entry = _pick(rng, header)
    entry[rng.choice(("dtype", "shape", "data_offsets", "more"))] = rng.choice((*NUMBERS, *TEXTS))


def _drop_field(rng: random.Random, header: Header) -> None:
    _pick(rng, header).pop(rng.choice(("dtype", "shape", "data_offsets")), None)


def _change_dtype(rng: random.Random, header: Header) -> None:
    _pick(rng, header)["dtype"] = rng.choice(TEXTS)


def _lengthen(rng: random.Random, header: Header) -> None:
    shape = _pick(rng, header).get("shape")
    if isinstance(shape, list):
        shape.extend([rng.choice((0, 1, 1 << 62))] * rng.choice((1, 20, 2000)))


def _swap(rng: random.Random, header: Header) -> None:
    first, second = _pick(rng, header), _pick(rng, header)
    field = rng.choice(("shape", "data_offsets", "dtype"))
    first[field], second[field] = second.get(field), first.get(field)


def _rename(rng: random.Random, header: Header) -> None:
    if header:
        name = rng.choice(list(header))
        names = (rng.choice(TEXTS), name.upper(), name + rng.choice(TEXTS), name[: len(name) // 2])
        header[rng.choice(names)] = header.pop(name)


def _drop(rng: random.Random, header: Header) -> None:
    if header:
        del header[rng.choice(list(header))]


def _copy(rng: random.Random, header: Header) -> None:
    header[rng.choice(TEXTS)] = dict(_pick(rng, header))


def _change_metadata(rng: random.Random, header: Header) -> None:
    values = ({}, [], "x", None, {"a": 1}, {"a": None}, {"a": "b" * 9000}, {"lora_adapter_metadata": "{"})
    header["__metadata__"] = rng.choice(values)


CHANGES: tuple[Callable[[random.Random, Header], None], ...] = (
    _change_number, _change_field, _drop_field, _change_dtype, _lengthen, _swap, _rename, _drop, _copy,
    _change_metadata,
)  # fmt: skip
"""mutations of a header's content"""


def _pick(rng: random.Random, header: Header) -> Header:
    """Return one of the header's entries, or a new empty entry if the header has none."""
    entries = [entry for entry in header.values() if isinstance(entry, dict)]
    return rng.choice(entries) if entries else {}
