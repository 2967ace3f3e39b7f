"""A safetensors file on disk: opened only where it is a regular file, its tensors read where they lie.

Nothing is copied: a tensor is a view of the mapped file in the file's own dtype, so reading takes no memory of its
own, whatever the file's size, and what is read twice is read from the page cache.
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
KINDS = {
    stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
NORESERVE = 0x4000 if sys.platform == "linux" else 0
"""MAP_NORESERVE: a mapping larger than the memory is no promise to write to all of it"""


def open_regular(path: Path) -> int:
    """Open a file for reading and return its descriptor; nothing but a regular file is opened, nor a link followed.

    A link may lead anywhere, a pipe waits for ever, and a device does what it likes.
    Raises RefusedFile not-safetensors for these, OSError where there is nothing or it may not be read.
    """
    _check_regular(os.lstat(path))
    # what has been exchanged meanwhile is not followed, waited for, or used
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise refusal("not-safetensors", f"it is no regular file but {kind}")


def load_header(path: Path, max_bytes: int) -> Header:
    """Read and check the header alone: at most `max_bytes` of the file.

    Raises RefusedFile: not-safetensors, pickle, truncated, header-too-large, header-inconsistent; OSError.
    """
    with open(open_regular(path), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        length = header_length(stream.read(16), size, max_bytes)
        stream.seek(LENGTH_BYTES)
        return parse_header(stream.read(length), size - LENGTH_BYTES - length)


def map_tensors(path: Path, header: Header) -> Callable[[str], Tensor]:
    """Return a function that gives a tensor of the file by its key, as a view; views keep the file mapped.

    A view may be written to, and the file stays as it is. Raises RefusedFile truncated where the file has become
    shorter than its header says, OSError.
    """
    with open(open_regular(path), "rb") as stream:
        size, needed = os.fstat(stream.fileno()).st_size, header.start + header.data_bytes
        if size < needed:
            raise refusal("truncated", f"it has {size} bytes, it had {needed} a moment ago")
        writable = mmap.PROT_READ | mmap.PROT_WRITE  # torch warns of memory that is not
        data = mmap.mmap(stream.fileno(), needed, mmap.MAP_PRIVATE | NORESERVE, writable)

    def get(key: str) -> Tensor:
        stored = header.tensors[key]
        count, dtype, begin = math.prod(stored.shape), DTYPES[stored.dtype], header.start + stored.begin
        if count == 0:
            return torch.empty(stored.shape, dtype=dtype)
        if begin % dtype.itemsize:  # allowed in a file, but not in memory
            copied = bytearray(data[begin : header.start + stored.end])
            return torch.frombuffer(copied, dtype=dtype).view(stored.shape)
        return torch.frombuffer(data, dtype=dtype, count=count, offset=begin).view(stored.shape)

    return get
