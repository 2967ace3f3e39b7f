"""PNG images with a provenance, and such that state more pixels than they contain."""

import io
import json
import struct
import zlib

from PIL import Image, PngImagePlugin


def png(provenance: object, size: tuple[int, int] = (8, 8)) -> bytes:
    """Return a PNG that contains a provenance."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("autolora", provenance if isinstance(provenance, str) else json.dumps(provenance))
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "PNG", pnginfo=chunks)
    return stream.getvalue()


def bomb(side: int) -> bytes:
    """Return a PNG of a few kB that states many px."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
        + chunk(b"IEND", b"")
    )
