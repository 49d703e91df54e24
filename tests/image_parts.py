"""Image files put together piece by piece, by their published layouts, so that any piece may be odd."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

PNG = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""Types of colour of a PNG."""
ASCII, SHORT, LONG, RATIONAL = 2, 3, 4, 5
"""Types of values in EXIF."""
ORIENTATION, MAKE, GPS = 0x0112, 0x010F, 0x8825


def chunk(name: bytes, content: bytes = b"", checksum: int | None = None) -> bytes:
    """A chunk of a PNG."""
    if checksum is None:
        checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png(samples: NDArray, colour: int, depth: int = 8, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of samples [H, W] or [H, W, C] of a depth in bits, with chunks before and after its pixels."""
    height, width = samples.shape[:2]
    flat = samples.reshape(height, -1)
    if depth == 16:
        lines = flat.astype(">u2").view(np.uint8).reshape(height, -1)
    else:
        bits = np.unpackbits(flat.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :]
        lines = np.packbits(bits.reshape(height, -1), axis=1)
    packed = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return PNG + chunk(b"IHDR", header) + before + chunk(b"IDAT", packed) + after + chunk(b"IEND")


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with segments in front of its own."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def entry(tag: int, kind: int, count: int, value: int, order: str = "<") -> bytes:
    """An entry of EXIF, whose value stands in it, or has this address; a SHORT stands in its first bytes."""
    stored = struct.pack(f"{order}HH", value, 0) if kind == SHORT else struct.pack(f"{order}L", value)
    return struct.pack(f"{order}HHL", tag, kind, count) + stored


def exif(entries: Iterable[bytes], order: str = "<", start: int = 8, more: bytes = b"") -> bytes:
    """A block of EXIF in TIFF's layout: its entries, no further ones, and what these may point to."""
    entries = list(entries)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", start)
    listed = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + struct.pack(f"{order}L", 0)
    return head + listed + more


def turned(orientation: int) -> bytes:
    """A block of EXIF that says nothing but the orientation."""
    return exif([entry(ORIENTATION, SHORT, 1, orientation)])


def webp_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a WebP, padded to an even length."""
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def with_webp_chunks(webp: bytes, width: int, height: int, *chunks: bytes, flags: int = 0x08) -> bytes:
    """A simple WebP in the extended layout, with chunks behind its pixels; the flags say EXIF."""
    extended = struct.pack("<I", flags) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBP" + webp_chunk(b"VP8X", extended) + webp[12:] + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body
