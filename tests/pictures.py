"""Pictures for tests: drawn, encoded, and as folders of files in many modes and formats."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode(image: NDArray, kind: str = "PNG", **options: Any) -> bytes:
    """An image file of an array."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def painting(label: int, classes: int, size: int, rng: np.random.Generator) -> NDArray:
    """An image uint8 [size, size, 3] with the colour of its class and its number of stripes, and noise."""
    y, x = np.mgrid[0:size, 0:size] / size
    angle = label * 2 * np.pi / classes
    colour = 128 + 60 * np.cos(angle + np.array([0.0, 2.1, 4.2]))
    stripes = np.sin(2 * np.pi * (1 + label % 3) * (x if label % 2 else y) + rng.uniform(0, 6))
    image = colour + 40 * stripes[..., None] + rng.normal(0, 10, 3) + rng.normal(0, 6, (size, size, 3))
    return image.clip(0, 255).astype(np.uint8)


def face(rng: np.random.Generator, height: int = 218, width: int = 178) -> NDArray:
    """A smooth oval on a smooth ground, uint8 [H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    centre, radius = rng.uniform(0.4, 0.6, 2) * (height, width), rng.uniform(0.25, 0.35, 2) * (height, width)
    inside = 1 / (1 + np.exp(8 * (np.hypot((y - centre[0]) / radius[0], (x - centre[1]) / radius[1]) - 1)))
    skin, ground = rng.uniform([150, 100, 80], [240, 190, 170]), rng.uniform(0, 255, 3)
    return (inside[..., None] * skin + (1 - inside[..., None]) * ground).astype(np.uint8)


def image_folder(folder: Path, per_class: int = 6, size: int = 32, seed: int = 0) -> dict[str, NDArray]:
    """Subfolders of two classes in the modes and formats that are found in the wild.

    Returns:
        the RGB pixels uint8 [size, size, 3] that each file was made of, upright and on white; of those
        with the suffix .jpg, whose compression changes pixels, nearly so.
    """
    rng = np.random.default_rng(seed)
    pixels = {}
    for label, name in enumerate(("cat", "wild dog")):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            kind = tuple(_FORMATS)[number % len(_FORMATS)]
            shown, content = _FORMATS[kind](painting(5 * label, 10, size, rng))
            pixels[f"{name}/{number}-{kind}"] = shown
            (folder / name / f"{number}-{kind}").write_bytes(content)
    return pixels


def _grey(image: NDArray) -> tuple[NDArray, bytes]:
    return np.repeat(image[..., :1], 3, axis=2), encode(np.ascontiguousarray(image[..., 0]))


def _transparent(image: NDArray) -> tuple[NDArray, bytes]:
    """The upper half cannot be seen."""
    alpha = np.full(image.shape[:2], 255, np.uint8)
    alpha[: len(image) // 2] = 0
    shown = np.where(alpha[..., None] > 0, image, 255).astype(np.uint8)
    return shown, encode(np.dstack([image, alpha]))


def _palette(image: NDArray) -> tuple[NDArray, bytes]:
    """Two colours: index 0 is dark red, 1 light blue."""
    colours = np.array([[120, 10, 10], [150, 180, 250]], np.uint8)
    index = (image[..., 0] > 128).astype(np.uint8)
    picture = Image.fromarray(index, "P")
    picture.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return colours[index], buffer.getvalue()


def _rotated(image: NDArray) -> tuple[NDArray, bytes]:
    """Stored lying on its side, with the orientation that a camera writes: 6, turn clockwise to view."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return image, encode(np.rot90(image).copy(), "PNG", exif=exif)


_FORMATS = {
    "rgb.png": lambda image: (image, encode(image)),
    "grey.PNG": _grey,
    "alpha.png": _transparent,
    "palette.png": _palette,
    "rotated.png": _rotated,
    "photo.jpg": lambda image: (image, encode(image, "JPEG", quality=95, subsampling=0)),
    "lossless.webp": lambda image: (image, encode(image, "WEBP", lossless=True)),
}
