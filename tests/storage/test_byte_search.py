"""Patterns are found wherever a file can hold text, at any place, and words only as a whole."""

import io
import json
import random

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from safetensors.numpy import save

from autolora.storage import byte_search
from autolora.storage.byte_search import ByteSearch

HASH, WORD = b"0123456789abcdef" * 4, b"hub:name"
SEARCH = ByteSearch([HASH], [WORD])


def found(content: bytes) -> set[bytes]:
    return SEARCH.in_stream(io.BytesIO(content))


def test_a_pattern_is_found_at_any_place_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_search, "BLOCK", 256)
    for start in range(200, 300):
        text = b"." * start + HASH + b" hub:name, " + b"." * 9
        assert found(text) == {HASH, WORD}, start
        assert found(text.replace(b"name,", b"names")) == {HASH}, start
        assert found(text.replace(b" hub:", b"-hub:")) == {HASH}, start
    assert found(b"hub:name") == {WORD} and found(b"") == set() and found(HASH[:-1]) == set()


def test_hundreds_of_patterns_are_found_as_by_the_operator_in() -> None:
    rng = random.Random(0)
    patterns = [bytes(rng.choices(b"ab", k=rng.randint(8, 24))) for _ in range(300)]
    text = bytes(rng.choices(b"ab", k=20_000))
    expected = {pattern for pattern in patterns if pattern in text}
    assert ByteSearch(patterns).in_stream(io.BytesIO(text)) == expected and 100 < len(expected) < 300


def test_tensors_are_not_read_and_what_describes_them_is() -> None:
    tensors = save({"t": np.frombuffer(HASH, np.uint8)})
    assert HASH in tensors and found(tensors) == set()
    assert found(save({"t": np.zeros(1)}, {"name": "hub:name"})) == {WORD}


def test_the_record_in_an_image_is_found() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("record", json.dumps({"adapter": HASH.decode()}))
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "PNG", pnginfo=info)
    assert found(stream.getvalue()) == {HASH}
