"""Damaged files: reading raises only RefusedFile, within ten seconds of CPU time and one gigabyte of memory.

Each seed is a batch of cases in a separate process with limits enforced by the kernel (tests/support/limits.py).
"""

import json
import random
import tempfile
from functools import lru_cache
from pathlib import Path

import pytest
from safetensors.torch import save

from autolora.errors import RefusedFile
from autolora.lora.factors import Lora
from autolora.lora.header import header_length, parse_header
from autolora.lora.key_accounting import account_for_keys
from autolora.lora.read import read
from autolora.lora.verdict import REASONS
from tests.lora.mutations import LENGTH_BYTES, length_prefix, mutate_bytes, mutate_header
from tests.lora.writing import BOUNDS, SLOTS, draw_lora, kohya, peft
from tests.support.limits import run_within_limits

HEADERS = 100
"""headers per seed"""
FILES = 20
"""files per seed"""
MAX_HEADER_BYTES = 25_000_000
"""the limit in the profile for real hardware"""


@pytest.mark.slow
@pytest.mark.long(full=2000, sample=3)
def test_200_000_damaged_headers(seed: int) -> None:
    """Headers in batches of 100: length, JSON, layout and keys."""
    run_within_limits(check_header, seed, HEADERS)


@pytest.mark.slow
@pytest.mark.long(full=1000, sample=3)
def test_20_000_damaged_files(seed: int) -> None:
    """Whole files in batches of 20: header and weights are changed, truncated or extended."""
    run_within_limits(check_file, seed, FILES)


@pytest.mark.slow
def test_time_limit_is_enforced() -> None:
    with pytest.raises(AssertionError, match="case 1 ended the process: it took too long"):
        run_within_limits(calculate, 0, 3, seconds=0.2)


def test_memory_limit_is_enforced() -> None:
    with pytest.raises(AssertionError, match=r"case 1 failed(.|\n)*MemoryError"):
        run_within_limits(allocate, 0, 3)


def test_other_exceptions_fail_the_case() -> None:
    with pytest.raises(AssertionError, match=r"case 2 failed(.|\n)*ZeroDivisionError"):
        run_within_limits(divide, 0, 3)


def check_header(seed: int, case: int) -> None:
    rng = random.Random(seed * HEADERS + case)
    header, data_bytes = rng.choice(headers())
    text = mutate_header(rng, header)
    content = length_prefix(rng, len(text)) + text
    try:
        length = header_length(content[:16], len(content) + data_bytes, MAX_HEADER_BYTES)
        parsed = parse_header(content[LENGTH_BYTES : LENGTH_BYTES + length], data_bytes)
        account_for_keys(parsed.tensors, SLOTS, rng.choice((0.0, 0.9, 1.0)), lambda key: True)
    except RefusedFile as error:
        assert error.code in REASONS and str(error).isprintable()


def check_file(seed: int, case: int) -> None:
    rng = random.Random(seed * FILES + case)
    content = save(rng.choice((kohya, peft))(lora()))
    end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    kind = rng.randrange(4)
    if kind == 0:
        text = mutate_header(rng, json.loads(content[LENGTH_BYTES:end]))
        content = length_prefix(rng, len(text)) + text + content[end:]
    elif kind == 1:
        content = mutate_bytes(rng, content)
    elif kind == 2:
        content = content[:end] + mutate_bytes(rng, content[end:])
    else:
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 20)):  # exponents: huge, inf, nan
            damaged[rng.randrange(end, len(damaged))] = rng.choice((0x7F, 0x80, 0xFF))
        content = bytes(damaged)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lora.safetensors"
        path.write_bytes(content)
        try:
            read(path, SLOTS, BOUNDS)
        except RefusedFile as error:
            assert error.code in REASONS and str(error).isprintable() and folder not in str(error)


@lru_cache(maxsize=1)
def lora() -> Lora:
    return draw_lora()


@lru_cache(maxsize=1)
def headers() -> tuple[tuple[dict[str, object], int], ...]:
    """Return the headers of two valid files, each with the number of bytes after it."""
    pairs = []
    for layout in (peft, kohya):
        content = save(layout(lora()))
        end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
        pairs.append((json.loads(content[LENGTH_BYTES:end]), len(content) - end))
    return tuple(pairs)


def calculate(seed: int, case: int) -> None:
    if case == 1:
        pow(3, 10**9)  # a single C call, which a Python signal handler cannot interrupt


def allocate(seed: int, case: int) -> None:
    if case == 1:
        bytearray(2 << 30)


def divide(seed: int, case: int) -> None:
    1 // (case - 2)
