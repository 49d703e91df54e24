"""Decoding one image file to the pixels of a data set."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from das.data.git_lfs import refuse_pointer
from das.data.sources import metadata
from das.errors import UserError

MAX_PIXELS = 100_000_000  # of one image before it is decoded: 300 MB of RGB

# By what a file begins with, and no others: PIL has readers of many formats, some of which run programs.
_READERS: dict[bytes, Callable[[io.BytesIO], ImageFile]] = {
    metadata.PNG: PngImageFile,
    metadata.JPEG: JpegImageFile,
    metadata.RIFF: WebPImageFile,
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TO_8_BITS = ((np.arange(65536) + 128) // 257).astype(np.uint8)


@dataclass(frozen=True)
class Geometry:
    """What becomes of a decoded image: first cropped, then resized."""

    crop: int | Literal["square"] | None = None
    """Side of the central square, in pixels, or "square" for the largest one; None: all of it."""
    resize: int | None = None
    """Side of the result; None: as it is."""
    channels: int = 3
    """3 for RGB, 1 for grey."""

    def __post_init__(self) -> None:
        if self.crop is not None and self.crop != "square" and not _is_side(self.crop):
            raise UserError(f"source.crop: found {self.crop!r}, allowed are a number from 1 and square")
        if self.resize is not None and not _is_side(self.resize):
            raise UserError(f"source.resize: found {self.resize!r}, allowed is a number from 1")
        if self.channels not in (1, 3):
            raise UserError(f"source.channels: found {self.channels!r}, allowed are 1 and 3")


def decode(content: bytes, name: str, geometry: Geometry) -> NDArray[np.uint8]:
    """Pixels of an encoded image, uint8 [H, W, C]; of an animation, those of its first picture.

    Turned upright by its EXIF or XMP orientation, with transparent parts on white, and 16 bits scaled to 8.

    Args:
        content: of a PNG, JPEG or WebP file.
        name: used in messages.

    Raises:
        UserError: the image cannot be decoded, is too large, or does not fit crop and resize.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL's, of what is odd and changes no pixel
            pixels = _in_channels(_upright(content, name), geometry.channels)
            fitted = _resized(_cropped(pixels, name, geometry.crop), name, geometry.resize)
            return np.array(fitted, np.uint8).reshape(fitted.height, fitted.width, geometry.channels)
    except UserError:
        raise
    except Image.DecompressionBombError as error:  # which PIL's reader of WebP raises before we can look
        raise UserError(f"{name}: too many pixels ({error})") from error
    except MemoryError as error:
        raise UserError(f"{name}: there is not enough memory to decode it") from error
    except Exception as error:  # a damaged file makes PIL's readers raise anything, not OSError alone
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name}: damaged image ({reason})") from error


def _upright(content: bytes, name: str) -> Image.Image:
    """The decoded image, turned as its orientation says."""
    parts = metadata.take_apart(content)
    if parts is None:
        refuse_pointer(content, name)
        what = "not a PNG, JPEG or WebP image" if content else "is empty, expected a PNG, JPEG or WebP image"
        raise UserError(f"{name}: {what}")
    reader = next(reader for start, reader in _READERS.items() if content.startswith(start))
    with reader(io.BytesIO(parts.pixels)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f"{name}: is {_size(image)} pixels, allowed are {MAX_PIXELS} in all")
        decoded = _with_its_transparency(image, parts.pixels)
    turn = _TURNS.get(parts.orientation)
    return decoded if turn is None else decoded.transpose(turn)


def _with_its_transparency(image: ImageFile, content: bytes) -> Image.Image:
    """The image, decoded, in 8 bits a sample.

    A PNG may name one colour that is transparent, in the bits of its samples. PIL compares it with 8 bits,
    and so does not find it in images of 2, 4 or 16.
    """
    kind, transparent = image.tile[0][3] if image.tile else None, image.info.get("transparency")
    image.load()
    if kind == "I;16B":
        wide = np.asarray(image)
        grey = Image.fromarray(_TO_8_BITS[wide])
        if transparent is not None:
            grey.putalpha(Image.fromarray(wide != transparent).convert("L"))
        return grey
    if transparent is not None and kind in ("L;2", "L;4"):
        image.info["transparency"] = transparent * {"L;2": 85, "L;4": 17}[kind]
    elif transparent is not None and kind == "RGB;16B":
        low = PngImageFile(io.BytesIO(content))
        low.tile = [low.tile[0]._replace(args="RGB;16L")]  # the second byte of each sample, as if the first
        high = np.asarray(image)
        seen = (high * np.uint16(256) + np.asarray(low) != transparent).any(axis=2)
        return Image.fromarray(np.dstack([high, np.where(seen, 255, 0).astype(np.uint8)]))
    return image


def _in_channels(image: Image.Image, channels: int) -> Image.Image:
    """The image on white, in RGB or grey."""
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return image.convert("RGB" if channels == 3 else "L")


def _cropped(image: Image.Image, name: str, crop: int | Literal["square"] | None) -> Image.Image:
    """The central square; an odd margin is halved as torchvision's CenterCrop does."""
    if crop is None:
        return image
    side = min(image.size) if crop == "square" else crop
    if side > min(image.size):
        raise UserError(f"{name}: is {_size(image)} pixels, too small for source.crop {side}")
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def _resized(image: Image.Image, name: str, side: int | None) -> Image.Image:
    if side is None:
        return image
    if image.width != image.height:
        raise UserError(
            f"{name}: is {_size(image)} pixels, which source.resize {side} would distort; "
            "set `crop: square` to cut out the central square first"
        )
    return image.resize((side, side), Image.Resampling.BILINEAR)


def _size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
