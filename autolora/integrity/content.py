"""Reading files to verify them: hashes, each computed once per file, and the checksums inside a PNG."""

import hashlib
import os
import struct
import threading
import zlib
from pathlib import Path

BLOCK = 1 << 20
"""bytes per read"""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

FileState = tuple[int, int, int, int, int]
"""device, inode, size, time of modification and of the last change of the inode (ns)"""


class ContentReader:
    """Computes hashes of files and remembers them while a file is unchanged; thread-safe.

    Links to one file, such as a file of the working tree and its object in DVC's cache, are read once.
    """

    def __init__(self) -> None:
        self.bytes_read = 0
        self._results: dict[tuple[FileState, str], str] = {}
        self._lock = threading.Lock()

    def md5(self, path: Path) -> str:
        """Return the md5 (32 hex digits) of a file. Raises OSError if it cannot be read."""
        return self._result(path, "md5")

    def sha256(self, path: Path) -> str:
        """Return the sha256 (64 hex digits) of a file. Raises OSError if it cannot be read."""
        return self._result(path, "sha256")

    def has_md5(self, path: Path | None, md5: str | None) -> bool:
        """Return whether a file exists and has this md5."""
        try:
            return path is not None and self.md5(path) == md5
        except OSError:
            return False

    def png_damage(self, path: Path) -> str:
        """Return what is wrong with a PNG file, or an empty string. Raises OSError if it cannot be read."""
        return self._result(path, "png")

    def _result(self, path: Path, method: str) -> str:
        status = path.stat()
        state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if (state, method) not in self._results:
            result = png_damage(path.read_bytes()) if method == "png" else _hash(path, method)
            with self._lock:
                self._results[state, method] = result
                self.bytes_read += status.st_size
        return self._results[state, method]


def png_damage(content: bytes) -> str:
    """Return what is wrong with the bytes of a PNG file, or an empty string.

    Checks the checksum of each chunk and that the chunks fill the file; decodes the pixels.
    """
    if not content.startswith(PNG_SIGNATURE):
        return "it does not begin with the signature of a PNG file"
    position, kind, compressed = len(PNG_SIGNATURE), b"", []
    while position < len(content) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content.ljust(position + 8, b"\0"), position)
        end = position + 12 + length
        if end > len(content):
            return f"the chunk at byte {position} is truncated"
        data = content[position + 8 : end - 4]
        if zlib.crc32(content[position + 4 : end - 4]) != int.from_bytes(content[end - 4 : end]):
            return f"the checksum of the chunk at byte {position} is wrong"
        compressed += [data] if kind == b"IDAT" else []
        position = end
    if kind != b"IEND" or position != len(content):
        return "the file does not end with the chunk IEND"
    try:
        zlib.decompress(b"".join(compressed))
    except zlib.error as error:
        return f"the pixels cannot be decoded ({error})"
    return ""


def _hash(path: Path, algorithm: str) -> str:
    """Return the hash of a file's bytes; hashlib releases the interpreter's lock, so that threads hash in parallel."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    buffer = memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while length := stream.readinto(buffer):
            digest.update(buffer[:length])
    return digest.hexdigest()
