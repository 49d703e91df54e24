"""Images whose pixels are whole come out right, whatever stands beside these; others are refused by name."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from odd_inputs import Row, outcome, rows
from PIL import Image

from das.data.sources import decoding
from das.data.sources.decoding import Geometry, decode
from das.errors import UserError
from image_parts import (
    ASCII,
    GPS,
    GREY,
    GREY_ALPHA,
    LONG,
    MAKE,
    ORIENTATION,
    PALETTE,
    PNG,
    RATIONAL,
    RGB,
    RGB_ALPHA,
    SHORT,
    chunk,
    entry,
    exif,
    png,
    segment,
    turned,
    webp_chunk,
    with_segments,
    with_webp_chunks,
)
from pictures import encode, painting

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
# How a camera that was held upright sideways stores them: 6 says to turn them clockwise.
SIDEWAYS = np.ascontiguousarray(np.rot90(PIXELS))
PHOTO = encode(painting(0, 2, 16, np.random.default_rng(1))[:, :12].copy(), "JPEG", quality=90)
SHOWN = np.asarray(Image.open(io.BytesIO(PHOTO)))
CLOCKWISE = np.rot90(SHOWN, -1)
LOSSLESS = encode(SIDEWAYS, "WEBP", lossless=True)
XMP = b'<rdf:Description tiff:Orientation="6"/>'
ADOBE = b"http://ns.adobe.com/xap/1.0/\0"
MEGABYTES = b"x" * 1_100_000


def app(number: int, content: bytes) -> bytes:
    return segment(0xE0 + number, content)


def photo(what: str, *segments: bytes, expected: np.ndarray = SHOWN) -> Row:
    """A row of a JPEG with further segments."""
    return Row(f"JPEG, {what}", lambda folder: with_segments(PHOTO, *segments), expected=expected)


def tagged(what: str, block: bytes, expected: np.ndarray = CLOCKWISE) -> Row:
    """A row of a JPEG with a block of EXIF; where nothing else is said, one that can be read."""
    return photo(f"EXIF: {what}", app(1, b"Exif\0\0" + block), expected=expected)


def drawn(what: str, before: bytes = b"", after: bytes = b"", sideways: bool = False) -> Row:
    """A row of a PNG with further chunks."""
    samples = SIDEWAYS if sideways else PIXELS
    return Row(f"PNG, {what}", lambda folder: png(samples, RGB, 8, before, after), expected=PIXELS)


def sampled(what: str, samples: np.ndarray, colour: int, depth: int, expected, before: bytes = b"") -> Row:
    """A row of a PNG of certain samples."""
    return Row(f"PNG, {what}", lambda folder: png(samples, colour, depth, before), expected=expected)


def refused(what: str, content: bytes, *parts: str) -> Row:
    return Row(what, lambda folder: content, ("folder/x.png: ", *parts))


def key(*samples: int) -> bytes:
    """The chunk that says which colour is transparent."""
    return chunk(b"tRNS", np.array(samples, ">u2").tobytes())


def grey(*lines: list[int]) -> np.ndarray:
    """RGB pixels of grey values."""
    return np.repeat(np.array(lines, np.uint8)[..., None], 3, axis=2)


def animation(kind: str, picture_apart: bool = False) -> bytes:
    """Two pictures, of which the second has other colours; apart, the first is not one of the animation."""
    buffer, (first, second) = io.BytesIO(), (Image.fromarray(pixels) for pixels in (PIXELS, 255 - PIXELS))
    options = {"default_image": True} if picture_apart else {}
    first.save(buffer, kind, save_all=True, append_images=[second], lossless=True, **options)
    return buffer.getvalue()


def damaged_pixels() -> bytes:
    """A PNG in which one byte of the pixels was exchanged; they can still be unpacked."""
    stored = zlib.compress(b"".join(b"\0" + line.tobytes() for line in PIXELS), 0)
    content = PNG + png(PIXELS, RGB)[8:33] + chunk(b"IDAT", stored) + chunk(b"IEND")
    at = content.index(PIXELS[3].tobytes())
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


READABLE = entry(ORIENTATION, SHORT, 1, 6)
UPRIGHT_MPO = io.BytesIO()
Image.fromarray(SHOWN).save(
    UPRIGHT_MPO, "MPO", save_all=True, append_images=[Image.fromarray(255 - SHOWN)], quality=90
)

ROWS = [
    # A camera's orientation counts wherever it can be read.
    tagged(
        "an altitude's reference that is text",
        exif([READABLE, entry(GPS, LONG, 1, 26)], more=(b"\1\0" + entry(5, ASCII, 2, 0x30) + bytes(4))),
    ),
    tagged("the maker lies outside the block", exif([entry(MAKE, ASCII, 20, 60_000), READABLE])),
    tagged("a rational number of two billion values", exif([entry(MAKE, RATIONAL, 2**31, 8), READABLE])),
    tagged("an unknown type", exif([entry(MAKE, 99, 1, 0), READABLE])),
    tagged("cut short behind the orientation", exif([READABLE, *[entry(GPS, LONG, 1, 26)] * 9])[:30]),
    tagged("more entries than there are", exif([READABLE])[:8] + b"\xff\xff" + READABLE),
    tagged("written by a Motorola", exif([entry(ORIENTATION, SHORT, 1, 6, ">")], ">")),
    tagged("a long number", exif([entry(ORIENTATION, LONG, 1, 6)])),
    tagged("two numbers for one", exif([entry(ORIENTATION, SHORT, 2, 6)])),
    tagged("its name twice", b"Exif\0\0" + turned(6)),
    photo(
        "EXIF in two segments",
        app(1, b"Exif\0\0" + turned(6)[:15]),
        app(1, b"Exif\0\0" + turned(6)[15:]),
        expected=CLOCKWISE,
    ),
    photo("orientation in XMP alone", app(1, ADOBE + XMP), expected=CLOCKWISE),
    photo("unreadable EXIF and XMP", app(1, b"Exif\0\0II*\0"), app(1, ADOBE + XMP), expected=CLOCKWISE),
    photo(
        "EXIF behind junk",
        segment(0xFE, b"") + b"\0\1\xff\0\2" + b"\xff\xff\xff",
        app(1, b"Exif\0\0" + turned(6)),
        expected=CLOCKWISE,
    ),
    # Where it cannot, the image is taken as it lies.
    tagged("nothing", b"", SHOWN),
    tagged("no byte order", b"XX" + turned(6)[2:], SHOWN),
    tagged("another magic number", b"II\x99\0" + turned(6)[4:], SHOWN),
    tagged("entries outside the block", exif([READABLE], start=60_000), SHOWN),
    tagged("entries at 4 billion", exif([READABLE], start=2**32 - 1), SHOWN),
    tagged("entries in their own address", exif([READABLE], start=4), SHOWN),
    tagged("cut short in the orientation", turned(6)[:17], SHOWN),
    tagged("an orientation of 0", turned(0), SHOWN),
    tagged("an orientation of 9", turned(9), SHOWN),
    tagged("an orientation that is text", exif([entry(ORIENTATION, ASCII, 2, 0x36)]), SHOWN),
    tagged("an orientation without a value", exif([entry(ORIENTATION, SHORT, 0, 6)]), SHOWN),
    tagged("an orientation far away", exif([entry(ORIENTATION, LONG, 9, 60_000)]), SHOWN),
    # Other segments of a JPEG are of no interest.
    photo("a colour profile of no bytes", app(2, b"ICC_PROFILE\0")),
    photo("a list of pictures that is none", app(2, b"MPF\0" + turned(6))),
    photo("a list of pictures without an end", app(2, b"MPF\0" + exif([entry(0xB001, LONG, 1, 9)]))),
    photo("Photoshop's block cut short", app(13, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0")),
    photo("Adobe's segment cut short", app(14, b"Adobe")),
    photo("JFIF's segment cut short", app(0, b"JFIF\0")),
    photo("segments of no bytes", *(app(number, b"") for number in range(16))),
    photo("a hundred comments", *[segment(0xFE, bytes(65_533))] * 100),
    Row(
        "JPEG, two pictures in one file",
        lambda folder: UPRIGHT_MPO.getvalue(),
        expected=np.asarray(Image.open(io.BytesIO(encode(SHOWN, "JPEG", quality=90)))),
    ),
    # Nor are those chunks of a PNG that pixels do not need.
    drawn("a text over a megabyte", chunk(b"tEXt", b"Comment\0" + MEGABYTES)),
    drawn(
        "a text that unpacks to a gigabyte", chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10**6)) * 9)
    ),
    drawn("texts of many megabytes", chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * 70),
    drawn("a text over a megabyte, behind", after=chunk(b"iTXt", b"Comment\0\0\0\0\0" + MEGABYTES)),
    drawn("a colour profile over a megabyte", chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(2 * 10**6)))),
    drawn("a colour profile of no bytes", chunk(b"iCCP")),
    drawn("a text packed in an unknown way", chunk(b"zTXt", b"Comment\0\7x")),
    drawn(
        "chunks of no bytes", b"".join(chunk(name) for name in (b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME"))
    ),
    drawn("a text with a wrong checksum", chunk(b"tEXt", b"a\0b", checksum=0)),
    drawn("an animation without frames", chunk(b"acTL", bytes(3)) + chunk(b"fcTL", bytes(5))),
    drawn("bytes behind the end", after=chunk(b"IEND") + b"more"),
    drawn("EXIF", chunk(b"eXIf", turned(6)), sideways=True),
    drawn("EXIF behind the pixels", after=chunk(b"eXIf", turned(6)), sideways=True),
    drawn("EXIF that is none", chunk(b"eXIf", b"II")),
    drawn(
        "EXIF in a text",
        chunk(
            b"zTXt",
            b"Raw profile type exif\0\0"
            + zlib.compress(f"\nexif\n      32\n{(b'Exif' + bytes(2) + turned(6)).hex()}\n".encode()),
        ),
        sideways=True,
    ),
    drawn("EXIF in a text that is none", chunk(b"tEXt", b"Raw profile type exif\0\nexif\n3\nxyz")),
    drawn("orientation in XMP", chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), sideways=True),
    drawn(
        "orientation in packed XMP",
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
        sideways=True,
    ),
    drawn("XMP cut short", chunk(b"iTXt", b"XML:com.adobe.xmp\0\1")),
    Row("PNG, an animation", lambda folder: animation("PNG"), expected=PIXELS),
    Row("PNG, an animation beside its picture", lambda folder: animation("PNG", True), expected=PIXELS),
    # WebP
    Row("WebP, an animation", lambda folder: animation("WEBP"), expected=PIXELS),
    Row(
        "WebP, EXIF",
        lambda folder: with_webp_chunks(LOSSLESS, 6, 5, webp_chunk(b"EXIF", turned(6))),
        expected=PIXELS,
    ),
    Row(
        "WebP, EXIF with its name",
        lambda folder: with_webp_chunks(
            LOSSLESS, 6, 5, webp_chunk(b"EXIF", b"Exif\0\0" + exif([entry(MAKE, ASCII, 9, 10**6), READABLE]))
        ),
        expected=PIXELS,
    ),
    Row(
        "WebP, EXIF that is none",
        lambda folder: with_webp_chunks(LOSSLESS, 6, 5, webp_chunk(b"EXIF", b"I")),
        expected=SIDEWAYS,
    ),
    # One colour of a PNG that is transparent is white, whatever the depth of its samples.
    sampled("1 bit", np.array([[0, 1, 0]]), GREY, 1, grey([255, 255, 255]), key(0)),
    sampled("2 bits", np.array([[0, 1, 2, 3]]), GREY, 2, grey([0, 255, 170, 255]), key(1)),
    sampled("4 bits", np.array([[0, 5, 15]]), GREY, 4, grey([0, 255, 255]), key(5)),
    sampled("8 bits", np.array([[0, 5, 15]]), GREY, 8, grey([0, 255, 15]), key(5)),
    sampled("16 bits", np.array([[1280, 1281, 65535, 0]]), GREY, 16, grey([255, 5, 255, 0]), key(1280)),
    sampled(
        "8 bits of colour",
        np.array([[[1, 2, 3], [1, 2, 4]]]),
        RGB,
        8,
        np.array([[[255, 255, 255], [1, 2, 4]]]),
        key(1, 2, 3),
    ),
    sampled(
        "16 bits of colour",
        np.array([[[258, 2, 772], [258, 2, 773], [258, 3, 772]]]),
        RGB,
        16,
        np.array([[[255, 255, 255], [1, 0, 3], [1, 0, 3]]]),
        key(258, 2, 772),
    ),
    sampled("16 bits without transparency", np.array([[0, 128, 129, 65535]]), GREY, 16, grey([0, 0, 1, 255])),
    sampled("16 bits and alpha", np.array([[[25700, 0], [25700, 65535]]]), GREY_ALPHA, 16, grey([255, 100])),
    sampled(
        "16 bits of colour and alpha",
        np.array([[[25700, 0, 257, 65535], [1, 2, 3, 0]]]),
        RGB_ALPHA,
        16,
        np.array([[[100, 0, 1], [255, 255, 255]]]),
    ),
    sampled(
        "a palette",
        np.array([[0, 1, 1, 0]]),
        PALETTE,
        1,
        np.array([[[9, 8, 7], [255] * 3, [255] * 3, [9, 8, 7]]]),
        chunk(b"PLTE", bytes([9, 8, 7, 6, 5, 4])) + chunk(b"tRNS", b"\xff\0"),
    ),
    # What cannot be read is said in one line.
    refused("an empty file", b"", "is empty, expected a PNG, JPEG or WebP image"),
    refused(
        "a Git LFS pointer",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "is a Git LFS pointer, not the file itself; run `git lfs pull`",
    ),
    refused("another format", encode(PIXELS, "TIFF"), "not a PNG, JPEG or WebP image"),
    refused("a PNG with other pixels than it says", damaged_pixels(), "damaged image", "checksum"),
    refused("a PNG of its first bytes", PNG, "damaged image"),
    refused("a PNG without pixels", PNG + chunk(b"IEND"), "damaged image"),
    refused("a PNG with a short colour key", png(PIXELS, RGB, 8, chunk(b"tRNS", b"\0")), "damaged image"),
    refused("a PNG with a wrong header", PNG + chunk(b"IHDR", b"\1") + chunk(b"IEND"), "damaged image"),
    refused("a PNG without its palette", png(PIXELS[..., 0] % 4, PALETTE), "damaged image"),
    refused("a JPEG of its first bytes", PHOTO[:3], "damaged image"),
    refused("a JPEG cut short", PHOTO[:-40], "damaged image"),
    refused(
        "a JPEG of 12 bits",
        PHOTO.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "damaged image",
        "12-bit",
    ),
    refused("a WebP of its first bytes", LOSSLESS[:16], "damaged image"),
    refused("a WebP of a billion pixels", with_webp_chunks(LOSSLESS, 40_000, 40_000), "too many pixels"),
]


@rows(ROWS)
def test_odd_images(row, tmp_path):
    found = outcome(row, tmp_path, lambda content: decode(content, "folder/x.png", Geometry()))
    if not row.refused:
        assert np.array_equal(found, row.expected)


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (AssertionError(), "damaged image (AssertionError)"),
        (ZeroDivisionError("division\nby zero"), "damaged image (division by zero)"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "damaged image ('utf-8' codec"),
        (MemoryError(), "there is not enough memory to decode it"),
        (Image.DecompressionBombError("of 9 pixels"), "too many pixels (of 9 pixels)"),
    ],
)
def test_whatever_a_decoder_raises_the_line_names_the_file(monkeypatch, raised, words):
    def fails(self):
        raise raised

    monkeypatch.setattr(decoding.PngImageFile, "load", fails)
    with pytest.raises(UserError) as caught:
        decode(encode(PIXELS), "folder/x.png", Geometry())
    assert str(caught.value).startswith(f"folder/x.png: {words}")
    assert "\n" not in str(caught.value)


def test_images_that_are_changed_at_random():
    """A short run of tests/fuzz_images.py; what a long one found is in docs/reliability.md."""
    program = Path(__file__).parents[1] / "fuzz_images.py"
    done = subprocess.run(
        [sys.executable, program, "--count", "400", "--seed", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
