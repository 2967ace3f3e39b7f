"""Only regular files are opened, and tensors are read without copying, whatever the size of the file."""

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
from autolora.storage.files import MB
from tests.lora.odd_headers import SPECIAL_FILES, join_file, split_file
from tests.lora.writing import BOUNDS, SLOTS, draw_lora, peft, write
from tests.support.limits import run_within_limits

GIB = 1 << 30


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "symbolic link"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
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
    with pytest.raises(RefusedFile, match=f"expected a regular file, found a {kind}") as caught:
        read(path, SLOTS, BOUNDS)
    assert caught.value.code == "not-safetensors"


def test_linked_parent_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    write(tmp_path / "disk/lora.safetensors", peft(draw_lora()))
    (tmp_path / "pool").symlink_to(tmp_path / "disk")
    os.close(open_regular(tmp_path / "pool/lora.safetensors"))


def test_missing_file_raises_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "lora", SLOTS, BOUNDS)


def test_tensors_of_every_dtype_at_every_alignment(tmp_path: Path) -> None:
    dtypes = (torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.int64)
    tensors = {str(dtype): torch.arange(12.0).reshape(3, 4).to(dtype) for dtype in dtypes}
    tensors |= {"empty": torch.empty(0, 4), "scalar": torch.tensor(2.0)}
    header, data = split_file(save(tensors))
    path = tmp_path / "lora"
    for spaces in range(9):  # at most offsets the tensors are not aligned
        path.write_bytes(join_file(str(header).replace("'", '"').encode() + b" " * spaces, data))
        get = map_tensors(path, load_header(path, MB))
        for key, tensor in tensors.items():
            assert get(key).dtype == tensor.dtype and torch.equal(get(key).double(), tensor.double())


def test_writing_to_a_tensor_does_not_change_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "lora", {"a": torch.zeros(4)})
    before = path.read_bytes()
    map_tensors(path, load_header(path, MB))("a").fill_(1)
    assert path.read_bytes() == before


def test_shrunk_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "lora", {"a": torch.zeros(4)})
    header = load_header(path, MB)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(RefusedFile) as caught:
        map_tensors(path, header)
    assert caught.value.code == "truncated"


def test_unused_20_gb_use_no_memory(tmp_path: Path) -> None:
    header, data = split_file(save(peft(draw_lora())))
    size = 20 * GIB
    unused = {"dtype": "F16", "shape": [size // 2], "data_offsets": [len(data), len(data) + size]}
    content = join_file(header | {"lora_te1_text_model.lora_up.weight": unused}, data)
    path = tmp_path / "lora"
    path.write_bytes(content)
    os.truncate(path, len(content) + size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(read(path, SLOTS, BOUNDS).lora) == len(SLOTS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


@pytest.mark.slow
def test_huge_sizes_are_refused_from_the_header(tmp_path: Path) -> None:
    """20 GB and 10⁹ elements, in a process that may allocate 64 MB more than at its start."""
    run_within_limits(check_sparse, 0, len(SPARSE), memory=64 << 20)


SPARSE = [kind for kind in SPECIAL_FILES if kind.endswith("sparse")]


def check_sparse(seed: int, case: int) -> None:
    create, codes = SPECIAL_FILES[SPARSE[case]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lora"
        create(random.Random(seed), b"", path)
        with pytest.raises(RefusedFile) as caught:
            read(path, SLOTS, BOUNDS)
        assert caught.value.code in codes
