"""Images without noise in the space in which a model works, as the raw methods compare them.

They lie in the artifact "images", or in "latents" for latent models. Does not need torch, which takes
seconds to load.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from das.jobs.artifacts import Artifact

# Kinds of artifacts.
PIXELS, LATENTS = "images", "latents"
# Second axis of the arrays of latents: the image as it is and, for training, its mirror image.
PLAIN, FLIPPED = 0, 1


def noiseless_shape(artifact: Artifact) -> tuple[int, ...]:
    """Number of images in an artifact, and the shape of one without noise."""
    if artifact.kind == PIXELS:
        return artifact.shape("images")
    count, _, *shape = artifact.shape("mean")
    return (count, *shape)


def read_noiseless(artifact: Artifact, rows: range) -> NDArray[np.float32]:
    """Some images of an artifact without noise, flat, float32 [len(rows), d], reading no others."""
    chosen = slice(rows.start, rows.stop)
    if artifact.kind == PIXELS:
        pixels = artifact.read("images", (None,) * 4, np.uint8, chosen)
        return pixels.reshape(len(rows), -1).astype(np.float32) / 127.5 - 1
    return artifact.read("mean", (None,) * 5, np.float32, chosen)[:, PLAIN].reshape(len(rows), -1)
