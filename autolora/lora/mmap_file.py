"""Memory-mapped safetensors files: only regular files are opened, and tensors are views of the mapping.

Tensors are not copied and keep the file's dtype, so reading allocates no memory, whatever the size of the file,
and repeated reads are served from the page cache.
"""

import math
import mmap
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from autolora.lora.header import LENGTH_BYTES, Header, header_length, parse_header
from autolora.lora.verdict import refusal

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "U16": torch.uint16, "I16": torch.int16,
    "U32": torch.uint32, "I32": torch.int32, "U64": torch.uint64, "I64": torch.int64,
    "F8_E5M2": torch.float8_e5m2, "F8_E4M3": torch.float8_e4m3fn, "F8_E8M0": torch.float8_e8m0fnu,
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    "C64": torch.complex64,
}  # fmt: skip
FILE_KINDS = {
    stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
NORESERVE = 0x4000 if sys.platform == "linux" else 0
"""MAP_NORESERVE: do not reserve swap space, since a writable mapping may be larger than the memory"""


def open_regular(path: Path) -> int:
    """Return the descriptor of a regular file that is open for reading; symbolic links are not followed.

    A link may point anywhere, opening a pipe may block forever, and reading a device may have side effects.
    Raises RefusedFile not-safetensors for these, OSError if the file is missing or may not be read.
    """
    _check_regular(os.lstat(path))
    # these flags and the second check cover a file that is replaced between lstat and open
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = FILE_KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise refusal("not-safetensors", f"expected a regular file, found {kind}")


def load_header(path: Path, max_bytes: int) -> Header:
    """Return the validated header of a file; at most `max_bytes` of the file are read.

    Raises RefusedFile: not-safetensors, pickle, truncated, header-too-large, header-inconsistent; OSError.
    """
    with open(open_regular(path), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        length = header_length(stream.read(16), size, max_bytes)
        stream.seek(LENGTH_BYTES)
        return parse_header(stream.read(length), size - LENGTH_BYTES - length)


def map_tensors(path: Path, header: Header) -> Callable[[str], Tensor]:
    """Return a function from key to tensor; each tensor is a view that keeps the file mapped.

    Writing to a view does not change the file. Raises RefusedFile truncated if the file has become shorter than
    its header requires, OSError.
    """
    with open(open_regular(path), "rb") as stream:
        size, needed = os.fstat(stream.fileno()).st_size, header.start + header.data_bytes
        if size < needed:
            raise refusal(
                "truncated", f"the file has {size} bytes, but had {needed} when its header was read"
            )
        writable = mmap.PROT_READ | mmap.PROT_WRITE  # torch warns about read-only memory
        data = mmap.mmap(stream.fileno(), needed, mmap.MAP_PRIVATE | NORESERVE, writable)

    def get(key: str) -> Tensor:
        entry = header.tensors[key]
        count, dtype, begin = math.prod(entry.shape), DTYPES[entry.dtype], header.start + entry.begin
        if count == 0:
            return torch.empty(entry.shape, dtype=dtype)
        if begin % dtype.itemsize:  # unaligned: valid in a file, but not in memory
            aligned = bytearray(data[begin : header.start + entry.end])
            return torch.frombuffer(aligned, dtype=dtype).view(entry.shape)
        return torch.frombuffer(data, dtype=dtype, count=count, offset=begin).view(entry.shape)

    return get
