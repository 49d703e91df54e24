"""Decoding one image file to the pixels of a data set."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from das.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 100_000_000  # of one image before it is decoded: 300 MB of RGB

# What PIL's readers raise on damaged files, beside OSError.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error)


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
    """Pixels of an encoded image, uint8 [H, W, C].

    Turned upright by its EXIF orientation, with transparent parts on white, and 16 bits scaled to 8.

    Args:
        content: of a PNG, JPEG or WebP file.
        name: used in messages.

    Raises:
        UserError: the image cannot be decoded, is too large, or does not fit crop and resize.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is said by name
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _require_moderate(image, name)
                upright = ImageOps.exif_transpose(image)
                pixels = _in_channels(upright, geometry.channels)
        except UnidentifiedImageError as error:
            raise UserError(f"{name}: not a PNG, JPEG or WebP image") from error
        except Image.DecompressionBombError as error:  # PIL's own, higher limit
            raise UserError(f"{name}: too many pixels: {error}") from error
        except _DAMAGED as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{name}: damaged image ({reason})") from error
    fitted = _resized(_cropped(pixels, name, geometry.crop), name, geometry.resize)
    return np.array(fitted, np.uint8).reshape(fitted.height, fitted.width, geometry.channels)


def _require_moderate(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise UserError(f"{name}: is {image.width}x{image.height} pixels, allowed are {MAX_PIXELS} in all")


def _in_channels(image: Image.Image, channels: int) -> Image.Image:
    """The image in RGB or grey; decodes it."""
    if image.mode.startswith("I"):  # 16-bit grey, which PIL's own conversion would clip
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
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
