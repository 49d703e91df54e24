"""Sheets of images, to look at. The same input gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from das.jobs.artifacts import replacing

_GAP = 3  # pixels between images
_SMALL = 96  # images are enlarged, by a whole factor, up to about this size


def contact_sheet(images: NDArray[np.uint8], path: Path, columns: int = 10, scale: int | None = None) -> None:
    """Save images [N, H, W, C], C 1 or 3, as one PNG, in rows of `columns`.

    Args:
        scale: whole factor by which each pixel is enlarged; by default what brings small images to about
            96 pixels.
    """
    if scale is None:
        scale = max(1, _SMALL // max(images.shape[1:3]))
    tiles = images.repeat(scale, axis=1).repeat(scale, axis=2)
    n, height, width, channels = tiles.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    size = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, channels)
    sheet = np.full(size, 255, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        top = _GAP + index // columns * (height + _GAP)
        left = _GAP + index % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = tile
    with replacing(path) as beside:
        Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet).save(beside, format="PNG")
