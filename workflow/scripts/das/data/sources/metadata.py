"""What PNG, JPEG and WebP files say beside their pixels, kept away from decoders.

Of all that cameras and editors write into images, EXIF, XMP, comments, colour profiles, previews, only the
orientation changes what is seen here. It is read by a few lines that cannot fail, and the decoder gets the
file without the rest, so that nothing odd there can spoil an image whose pixels are whole.

Layouts: PNG, https://www.w3.org/TR/png-3; JPEG, ITU-T T.81 annex B; WebP, RFC 9649; EXIF, TIFF 6.0.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

PNG, JPEG, RIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF"
MAX_TEXT_BYTES = 1_000_000  # that are unpacked of a text in a PNG
_EXIF, _JPEG_XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_TEXTS = _PNG_XMP, _PROFILE = b"XML:com.adobe.xmp", b"Raw profile type exif"
_START_OF_SCAN, _COMMENT = 0xDA, 0xFE
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xDA))  # markers of JPEG that stand alone
_ORIENTATION = 0x0112
# Whole numbers of TIFF by the number of their type: BYTE, SHORT, LONG, and the signed ones.
_INTEGERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}


@dataclass(frozen=True)
class Parts:
    """An image file, taken apart."""

    pixels: bytes
    """The file without what a decoder does not need."""
    exif: bytes = b""
    xmp: bytes = b""

    @property
    def orientation(self) -> int:
        """How the image is to be turned, as EXIF counts from 1, upright; 1 where nothing readable says so."""
        found = _orientation(self.exif)
        if found is None:
            stated = re.search(rb'tiff:Orientation(?:="|>)([0-9])', self.xmp)
            found = int(stated[1]) if stated else 1
        return found


def take_apart(content: bytes) -> Parts | None:
    """The parts of a PNG, JPEG or WebP file; None if it is none.

    Raises:
        ValueError: the checksum of the pixels of a PNG is wrong.
    """
    if content.startswith(PNG):
        return _png(content)
    if content.startswith(JPEG):
        return _jpeg(content)
    if content.startswith(RIFF) and content[8:15] == b"WEBPVP8":
        return _webp(content)
    return None


def _png(content: bytes) -> Parts:
    """Chunks that a decoder may pass over have a small first letter; of these, tRNS alone is wanted."""
    kept, at = [PNG], len(PNG)
    exif, texts = b"", dict.fromkeys(_TEXTS, b"")
    name = b""
    while name != b"IEND" and at + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        data, end = content[at + 8 : at + 8 + length], at + 12 + length
        if end > len(content) or not name.isalpha():
            break
        if name == b"IDAT" and content[end - 4 : end] != zlib.crc32(data, zlib.crc32(name)).to_bytes(
            4, "big"
        ):
            raise ValueError("the checksum of its pixels is wrong")  # decoders do not compare it
        if name[:1].isupper() or name == b"tRNS":
            kept.append(content[at:end])
        elif name == b"eXIf":
            exif = data
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            texts |= _text(name, data)
        at = end
    if name != b"IEND":  # cut short, or no chunks from here on: the decoder says what it thinks of it
        kept.append(content[at:])
    return Parts(b"".join(kept), exif or _unpacked_profile(texts[_PROFILE]), texts[_PNG_XMP])


def _text(name: bytes, data: bytes) -> dict[bytes, bytes]:
    """Keyword and text of a chunk, if it is one that may hold the orientation."""
    keyword, _, text = data.partition(b"\0")
    if keyword not in _TEXTS:
        return {}
    packed = name == b"zTXt" or (name == b"iTXt" and text[:1] != b"\0")
    if name == b"iTXt":  # whether and how it is packed, language, keyword in that language, text
        text = text[2:].split(b"\0", 2)[-1]
    elif packed:
        text = text[1:]
    try:
        return {keyword: zlib.decompressobj().decompress(text, MAX_TEXT_BYTES) if packed else text}
    except zlib.error:
        return {}


def _unpacked_profile(text: bytes) -> bytes:
    """EXIF as ImageMagick writes it into a text: lines with a name and a length, then hexadecimals."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def _jpeg(content: bytes) -> Parts:
    """Application segments and comments are passed over by decoders, but for two that tell colours apart."""
    kept, exif, xmp = [JPEG[:2]], b"", b""
    at = 2
    while (at := content.find(b"\xff", at)) >= 0 and at + 4 <= len(content):
        marker, length = struct.unpack_from(">BH", content, at + 1)
        if marker in (0x00, 0xFF):  # no marker, or padding before one
            at += 1 if marker else 2
            continue
        end, segment = at + 2 + length, content[at + 4 : at + 2 + length]
        if marker in _WITHOUT_LENGTH or marker == _START_OF_SCAN or length < 2 or end > len(content):
            break
        if not (0xE0 <= marker <= 0xEF or marker == _COMMENT) or _tells_colours(marker, segment):
            kept.append(content[at:end])
        elif marker == 0xE1 and segment.startswith(_EXIF):
            exif += segment[len(_EXIF) :]  # more than 64 kB go on in the next segment
        elif marker == 0xE1 and segment.startswith(_JPEG_XMP):
            xmp = segment[len(_JPEG_XMP) :]
        at = end
    kept.append(content[at:] if at >= 0 else b"")
    return Parts(b"".join(kept), exif, xmp)


def _tells_colours(marker: int, segment: bytes) -> bool:
    """Whether it is JFIF's segment or Adobe's, as libjpeg recognises them."""
    jfif = marker == 0xE0 and segment.startswith(b"JFIF\0") and len(segment) >= 14
    return jfif or (marker == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12)


def _webp(content: bytes) -> Parts:
    """Its decoder takes pixels from their own chunks and never looks into others."""
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, at)
        if name in (b"EXIF", b"XMP "):
            found.setdefault(name, content[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return Parts(content, found.get(b"EXIF", b""), found.get(b"XMP ", b""))


def _orientation(exif: bytes) -> int | None:
    """The orientation in a block of EXIF, whatever else is wrong with it; None where it cannot be read."""
    block = exif.removeprefix(_EXIF).removeprefix(_EXIF)  # some write the name twice
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or block[2:4] not in (b"*\0", b"\0*"):
        return None
    found = None
    try:
        (start,) = struct.unpack_from(f"{order}L", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count, where = struct.unpack_from(f"{order}HHLL", block, at)
            if tag == _ORIENTATION and kind in _INTEGERS and count:
                value = order + _INTEGERS[kind]
                fits = count * struct.calcsize(value) <= 4  # then it stands in the place of its address
                (found,) = struct.unpack_from(value, block, at + 8 if fits else where)
    except struct.error:  # the block ends here
        pass
    return found
