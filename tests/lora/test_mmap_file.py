"""Files are opened only where they are files, and read where they lie, whatever their size."""

import os
import random
import resource
import socket
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from autolora.errors import RefusedFile
from autolora.lora.mmap_file import load_header, map_tensors, open_regular
from autolora.lora.read import read
from tests.lora.odd_headers import PLACES, put_together, take_apart
from tests.lora.writing import BOUNDS, SLOTS, draw_lora, peft, write
from tests.support.limits import run_within

MB = 1_000_000
GIB = 1 << 30


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "symbolic link"])
def test_nothing_but_a_regular_file_is_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lora"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to(write(tmp_path / "lora.safetensors", peft(draw_lora())))
    with pytest.raises(RefusedFile, match=f"it is no regular file but a {kind}") as caught:
        read(path, SLOTS, BOUNDS)
    assert caught.value.code == "not-safetensors"


def test_a_link_above_the_file_is_the_callers_own_business(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    write(tmp_path / "disk/lora.safetensors", peft(draw_lora()))
    (tmp_path / "pool").symlink_to(tmp_path / "disk")
    os.close(open_regular(tmp_path / "pool/lora.safetensors"))


def test_a_missing_file_is_no_refusal(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "lora", SLOTS, BOUNDS)


def test_tensors_are_views_of_every_dtype_at_any_place(tmp_path: Path) -> None:
    dtypes = (torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.int64)
    wanted = {str(dtype): torch.arange(12.0).reshape(3, 4).to(dtype) for dtype in dtypes}
    wanted |= {"empty": torch.empty(0, 4), "scalar": torch.tensor(2.0)}
    header, data = take_apart(save(wanted))
    path = tmp_path / "lora"
    for spaces in range(9):  # at most places the tensors do not lie as memory wants them
        path.write_bytes(put_together(str(header).replace("'", '"').encode() + b" " * spaces, data))
        get = map_tensors(path, load_header(path, MB))
        for key, tensor in wanted.items():
            assert get(key).dtype == tensor.dtype and torch.equal(get(key).double(), tensor.double())


def test_what_is_done_to_a_tensor_does_not_reach_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "lora", {"a": torch.zeros(4)})
    before = path.read_bytes()
    map_tensors(path, load_header(path, MB))("a").fill_(1)
    assert path.read_bytes() == before


def test_a_file_that_has_shrunk_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "lora", {"a": torch.zeros(4)})
    header = load_header(path, MB)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(RefusedFile) as caught:
        map_tensors(path, header)
    assert caught.value.code == "truncated"


def test_20_gb_of_what_is_not_used_take_no_memory(tmp_path: Path) -> None:
    header, data = take_apart(save(peft(draw_lora())))
    size = 20 * GIB
    more = {"dtype": "F16", "shape": [size // 2], "data_offsets": [len(data), len(data) + size]}
    content = put_together(header | {"lora_te1_text_model.lora_up.weight": more}, data)
    path = tmp_path / "lora"
    path.write_bytes(content)
    os.truncate(path, len(content) + size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(read(path, SLOTS, BOUNDS).lora) == len(SLOTS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


def test_large_claims_are_refused_by_the_header(tmp_path: Path) -> None:
    """20 GB and 10⁹ elements, in a process that may take 64 MB more than it begins with."""
    run_within(check_claim, 0, len(CLAIMS), memory=64 << 20)


CLAIMS = [kind for kind in PLACES if kind.endswith("sparse")]


def check_claim(seed: int, case: int) -> None:
    place, codes = PLACES[CLAIMS[case]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lora"
        place(random.Random(seed), b"", path)
        with pytest.raises(RefusedFile) as caught:
            read(path, SLOTS, BOUNDS)
        assert caught.value.code in codes
