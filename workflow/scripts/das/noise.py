"""All random numbers, keyed by what they are for and never by when or where they are drawn.

Numbers come from NumPy's Philox generator, whose streams are the same on every machine, and not from
torch's, whose CPU normals depend on the instruction set and whose CUDA normals on the device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Images share one stream per block, so that starting a generator is not paid for every image.
BLOCK = 64


def generator(*key: object) -> np.random.Generator:
    """A generator that is a function of its key alone, for example `generator("order", seed, epoch)`."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], dtype=np.uint64)))


def image_noise(
    purpose: str,
    seed: int,
    timestep: int,
    draw: int,
    images: range | Sequence[str],
    shape: tuple[int, ...],
) -> NDArray[np.float32]:
    """Standard normal noise for some images of a split.

    Args:
        purpose: the use and the split, for example "gradients/train".
        images: consecutive indices in the split, or names that stand for the images wherever they lie.
        shape: shape of one image, (C, H, W).

    Returns:
        float32 [len(images), C, H, W]; each image's noise is a function of (purpose, seed, timestep,
        draw, its index or name) and does not depend on which other images are asked for.
    """
    if not isinstance(images, range):
        streams = (generator(purpose, seed, timestep, draw, name) for name in images)
        return np.stack([stream.standard_normal(shape, dtype=np.float32) for stream in streams])
    first, last = images.start // BLOCK, (images.stop - 1) // BLOCK
    blocks = [_block(purpose, seed, timestep, draw, block, shape) for block in range(first, last + 1)]
    return np.concatenate(blocks)[images.start - first * BLOCK : images.stop - first * BLOCK]


@lru_cache(maxsize=32)
def _block(
    purpose: str, seed: int, timestep: int, draw: int, block: int, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    stream = generator(purpose, seed, timestep, draw, block)
    noise = stream.standard_normal((BLOCK, *shape), dtype=np.float32)
    noise.flags.writeable = False
    return noise
