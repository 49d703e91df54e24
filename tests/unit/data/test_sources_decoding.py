"""Images of every mode come out upright, on white and on the full scale; damaged or huge ones are named."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from das.data.sources import decoding
from das.data.sources.decoding import Geometry, decode
from pictures import encode, image_folder, painting
from source_checks import message_of

RGB = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def decoded(content: bytes, **geometry) -> np.ndarray:
    return decode(content, "x.png", Geometry(**geometry))


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey_of(rgb: np.ndarray) -> np.ndarray:
    """ITU-R 601-2 luma, which PIL documents for its conversion to grey."""
    return rgb @ np.array([299, 587, 114]) / 1000


# Modes


def test_files_of_many_kinds_show_the_pixels_that_they_were_made_of(tmp_path):
    for name, shown in image_folder(tmp_path / "images", per_class=7).items():
        found = decode((tmp_path / "images" / name).read_bytes(), name, Geometry())
        assert found.dtype == np.uint8
        error = np.abs(found.astype(int) - shown)
        assert error.max() == 0 or ("photo.jpg" in name and error.mean() < 5), name


def test_colour_becomes_grey_where_one_channel_is_wanted():
    found = decoded(encode(RGB), channels=1)
    assert found.shape == (12, 10, 1)
    assert np.abs(found[..., 0] - grey_of(RGB)).max() <= 1


def test_one_bit_is_black_and_white():
    bits = RGB[..., 0] > 128
    found = decoded(saved(Image.fromarray(bits)))
    assert np.array_equal(found, np.repeat(bits[..., None], 3, axis=2) * 255)


def test_sixteen_bits_are_scaled_not_clipped():
    wide = np.array([[0, 128, 129, 255], [256, 1000, 32767, 65535]], np.uint16)
    found = decoded(saved(Image.fromarray(wide)), channels=1)
    assert np.array_equal(found[..., 0], np.round(wide / 257))


def test_half_transparent_pixels_are_mixed_with_white():
    alpha = np.full(RGB.shape[:2], 51, np.uint8)
    expected = 255 + (RGB.astype(float) - 255) * 51 / 255
    assert np.abs(decoded(encode(np.dstack([RGB, alpha]))) - expected).max() <= 1
    grey = decoded(encode(np.dstack([RGB[..., 0], alpha])), channels=1)
    assert np.abs(grey[..., 0] - expected[..., 0]).max() <= 1


def test_a_transparent_colour_of_a_palette_is_white():
    picture = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8), "P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    found = decoded(saved(picture, transparency=1))
    assert found.tolist() == [[[10, 20, 30], [255, 255, 255]], [[70, 80, 90], [10, 20, 30]]]


def test_cmyk_becomes_rgb():
    """Pure inks of a print: cyan, magenta, yellow, black, and none."""
    inks = np.zeros((8, 40, 4), np.uint8)
    for ink in range(4):
        inks[:, 8 * ink : 8 * ink + 8, ink] = 255
    found = decoded(saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=100))
    expected = [[0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0], [255, 255, 255]]
    assert np.abs(found[4, 4::8].astype(int) - expected).max() <= 4


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda upright: upright),
        (2, np.fliplr),
        (3, lambda upright: np.rot90(upright, 2)),
        (4, np.flipud),
        (5, lambda upright: upright.transpose(1, 0, 2)),
        (6, np.rot90),
        (7, lambda upright: np.rot90(upright, 2).transpose(1, 0, 2)),
        (8, lambda upright: np.rot90(upright, -1)),
    ],
)
def test_all_orientations_of_a_camera_are_turned_upright(orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(np.ascontiguousarray(stored(RGB)), exif=exif)
    assert np.array_equal(decoded(content), RGB)


# Geometry


def test_the_crop_of_celeba_is_the_published_box():
    """CenterCrop(140) of 178x218 pixels: left 19, top 39."""
    image = np.random.default_rng(1).integers(0, 256, (218, 178, 3), dtype=np.uint8)
    assert np.array_equal(decoded(encode(image), crop=140), image[39:179, 19:159])


def test_the_largest_central_square():
    assert np.array_equal(decoded(encode(RGB), crop="square"), RGB[1:11])
    assert np.array_equal(
        decoded(encode(RGB.transpose(1, 0, 2).copy()), crop="square"), RGB[1:11].transpose(1, 0, 2)
    )


def test_odd_margins_are_halved_as_torchvision_does():
    """Its CenterCrop rounds half a pixel to the even one: 1.5 to 2, 2.5 to 2."""
    assert np.array_equal(decoded(encode(RGB[:, :9]), crop=6), RGB[3:9, 2:8])
    assert np.array_equal(decoded(encode(RGB[:11]), crop=6), RGB[2:8, 2:8])


def test_resizing_is_bilinear_after_the_crop():
    image = painting(3, 10, 40, np.random.default_rng(2))
    expected = Image.fromarray(image[5:35, 5:35]).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(decoded(encode(image), crop=30, resize=16), np.asarray(expected))


def test_bilinear_doubling_is_what_the_formula_gives():
    """A ramp along x: samples of the doubled image lie at (i + 0.5) / 2 - 0.5."""
    ramp = np.tile(np.array([0, 40, 80, 120], np.uint8), (4, 1))
    found = decoded(encode(ramp), resize=8, channels=1)[3, :, 0]
    assert found.tolist() == [0, 10, 30, 50, 70, 90, 110, 120]


def test_crop_that_does_not_fit():
    assert message_of(decoded, encode(RGB), crop=11) == "x.png: is 10x12 pixels, too small for source.crop 11"


def test_resizing_never_distorts():
    message = message_of(decoded, encode(RGB), resize=8)
    assert message.startswith("x.png: is 10x12 pixels, which source.resize 8 would distort")
    assert "`crop: square`" in message
    assert decoded(encode(RGB), crop="square", resize=8).shape == (8, 8, 3)


# Files that are not what they should be


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_truncated_images_are_named(kind, keep):
    content = encode(painting(0, 2, 64, np.random.default_rng(0)), kind)
    message = message_of(decoded, content[: int(keep * len(content))])
    assert message.startswith("x.png: ")


def test_damage_inside_an_image_is_named():
    content = bytearray(encode(painting(0, 2, 64, np.random.default_rng(0))))
    content[len(content) // 2] ^= 0xFF
    assert message_of(decoded, bytes(content)).startswith("x.png: damaged image (")


@pytest.mark.parametrize("content", [b"GIF89a", b"<html>not found</html>", b"\x80\x02}q\x01."])
def test_other_files_are_named(content):
    assert message_of(decoded, content) == "x.png: not a PNG, JPEG or WebP image"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(kind):
    assert message_of(decoded, encode(RGB, kind)) == "x.png: not a PNG, JPEG or WebP image"


def png_of_size(width: int, height: int) -> bytes:
    """The header of a PNG and a few of its pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch, recwarn):
    message = message_of(decoded, png_of_size(10_001, 10_000))
    assert message == "x.png: is 10001x10000 pixels, allowed are 100000000 in all"
    message = message_of(decoded, png_of_size(30_000, 30_000))  # which PIL refuses by a limit of its own
    assert message == "x.png: is 30000x30000 pixels, allowed are 100000000 in all"
    assert not recwarn.list
    monkeypatch.setattr(decoding, "MAX_PIXELS", 119)
    assert "x.png: is 10x12 pixels, allowed are 119" in message_of(decoded, encode(RGB))
