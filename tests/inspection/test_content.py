"""Files are read, sketched and hashed in threads; parts give the same sketch as the whole file."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import torch

from autolora.errors import RefusedFile
from autolora.inspection import content
from autolora.inspection.content import ContentReader, hash_regular
from autolora.inspection.files import FoundFile
from autolora.lora.read import read_and_sketch
from autolora.storage.hashes import hash_file
from tests.inspection.files import BASE
from tests.lora.writing import draw_lora, peft, write


@pytest.fixture
def reader() -> Iterator[ContentReader]:
    with ThreadPoolExecutor(2) as executor:
        yield ContentReader(BASE, executor)


def found(path: Path) -> FoundFile:
    return FoundFile(path=path.name, location=path, problem="")


@pytest.mark.parametrize("part_bytes", [1, 10_000, 10**9])
def test_parts_give_the_sketch_of_the_file(
    tmp_path: Path, reader: ContentReader, monkeypatch: pytest.MonkeyPatch, part_bytes: int
) -> None:
    lora = draw_lora()
    del lora[BASE.slots[0].name]
    path = write(tmp_path / "lora.safetensors", peft(lora))
    monkeypatch.setattr(content, "PART_BYTES", part_bytes)
    pending = reader.submit(found(path))
    reading, sketch = pending.wait()
    _, expected = read_and_sketch(path, BASE.slots, BASE.bounds, BASE.spec)
    # the parts are multiplied in other batches, which changes the last bits on some processors
    assert torch.allclose(sketch.values, expected.values, rtol=1e-5, atol=1e-5)
    assert torch.equal(sketch.present, expected.present)
    assert list(reading.lora) and pending.sha256 and pending.sha256.result() == hash_file(path)


def test_values_of_every_part_are_checked(
    tmp_path: Path, reader: ContentReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "PART_BYTES", 1)
    for number in (0, len(BASE.slots) - 1):
        lora, name = draw_lora(), BASE.slots[number].name
        lora[name].down[-1, -1] = torch.nan
        path = write(tmp_path / f"{number}.safetensors", peft(lora))
        with pytest.raises(RefusedFile, match=name) as caught:
            reader.submit(found(path)).wait()
        assert caught.value.code == "nan-or-inf"


def test_hash_is_that_of_all_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "BLOCK_BYTES", 1000)
    path = tmp_path / "file"
    for size in (0, 1, 1000, 2500):
        path.write_bytes(bytes(number % 251 for number in range(size)))
        assert hash_regular(path, Event()) == hash_file(path)


def test_hashing_ends_early_if_it_is_stopped(tmp_path: Path) -> None:
    path, stop = tmp_path / "file", Event()
    path.write_bytes(b"content")
    stop.set()
    assert hash_regular(path, stop) != hash_file(path)
