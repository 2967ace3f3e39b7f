"""The header is validated before any library opens the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autolora.errors import RefusedFile
from autolora.lora.header import parse_header
from autolora.lora.read import read
from tests.lora.writing import BOUNDS, SLOTS, draw_lora, kohya, write
from tests.support.limits import run_within_limits

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def encode(header: object, data: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


class Exploit:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('a pickle was run')",)


INVALID = {
    "seven bytes": (b"\x10\0\0\0\0\0\0", "truncated"),
    "invalid JSON": (encode(b"{not json"), "header-inconsistent"),
    "metadata not an object": (encode({"__metadata__": []}), "header-inconsistent"),
    "list as dtype": (encode({"a": ENTRY | {"dtype": ["F32"]}}), "header-inconsistent"),
    "unpaired surrogate": (encode({"\ud800": ENTRY}), "header-inconsistent"),
    "offsets beyond the data": (
        encode({"a": {"dtype": "U8", "shape": [99], "data_offsets": [0, 99]}}),
        "truncated",
    ),
}
"""what no kind of tests/lora/odd_headers.py is"""


@pytest.mark.parametrize("name", INVALID)
def test_invalid_file_is_refused(tmp_path: Path, name: str) -> None:
    content, code = INVALID[name]
    path = tmp_path / "lora.safetensors"
    path.write_bytes(content)
    with pytest.raises(RefusedFile) as caught:
        read(path, SLOTS, BOUNDS)
    assert caught.value.code == code


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_checkpoint_is_never_unpickled(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "lora.safetensors"
    torch.save({"a": Exploit()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(RefusedFile) as caught:
        read(path, SLOTS, BOUNDS)
    assert caught.value.code == "pickle"


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    content = write(tmp_path / "complete.safetensors", kohya(draw_lora())).read_bytes()
    path = tmp_path / "truncated.safetensors"
    for size in range(0, len(content), len(content) // 50):
        path.write_bytes(content[:size])
        with pytest.raises(RefusedFile) as caught:
            read(path, SLOTS, BOUNDS)
        assert caught.value.code == "truncated"


def test_header_of_640_bytes_is_not_taken_for_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(encode(json.dumps({"a": ENTRY}).encode().ljust(0x0280)))
    assert path.read_bytes().startswith(b"\x80\x02")
    with pytest.raises(RefusedFile) as caught:
        read(path, SLOTS, BOUNDS)
    assert caught.value.code == "not-a-lora"


def test_message_contains_no_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(encode({"a\x1b[2J\n": ENTRY}))
    with pytest.raises(RefusedFile) as caught:
        read(path, SLOTS, BOUNDS)
    assert str(caught.value).isprintable()


BOMBS: dict[str, Callable[[], bytes]] = {
    "objects": lambda: b'{"a":[' + b"{}," * 8_000_000 + b"{}]}",
    "lists": lambda: b'{"a":[' + b"[]," * 8_000_000 + b"[]]}",
    "numbers": lambda: b'{"a":[' + b"1," * 12_000_000 + b"1]}",
    "names": lambda: b"{" + b'"a":0,' * 4_000_000 + b'"a":0}',
    "unclosed string": lambda: b'{"' + b'\\"' * 12_000_000,
    "backslashes": lambda: b'{"' + b"\\" * 24_000_001,
    "quotes": lambda: b"{" + b'"' * 24_000_000 + b"}",
    "one long text": lambda: b'{"__metadata__":{"a":"' + b"[{:," * 6_000_000 + b'"}}',
    "depth": lambda: b'{"a":' + b"[" * 24_000_000,
    "digits": lambda: b'{"a":' + b"9" * 24_000_000 + b"}",
}
"""headers of 25 MB, the limit in the profile for real hardware, that need much memory or time to parse"""


@pytest.mark.slow
def test_header_bombs_stay_within_limits() -> None:
    """Each takes less than ten seconds of CPU time and less than 1 GB of memory."""
    run_within_limits(check_bomb, 0, len(BOMBS))


def check_bomb(seed: int, case: int) -> None:
    name = sorted(BOMBS)[case]
    if name == "one long text":
        assert not parse_header(BOMBS[name](), 0).tensors
        return
    bomb = BOMBS[name]()
    with pytest.raises(RefusedFile) as caught:
        parse_header(bomb, 0)
    assert caught.value.code in ("header-too-large", "header-inconsistent")
