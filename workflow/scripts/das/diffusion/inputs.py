"""What a model sees of the images of one split: pixels, or latents and captions, whichever it works on.

A model on pixels reads the artifact "images" directly. A latent model reads "latents", in which a split has
been encoded once: by the published recipe training samples from the encoder's distribution, and everything
else takes its mode.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.data.noiseless import FLIPPED, LATENTS, PIXELS, PLAIN
from das.diffusion.process import to_model_space
from das.errors import UserError
from das.jobs import artifacts
from das.jobs.memory import require_memory

Indices = range | NDArray[np.int64]

# Row of the captions' embeddings that holds the empty caption.
EMPTY = 0


class Inputs(ABC):
    """The images of one split, in the space in which the model works.

    Attributes:
        shape: of one image, (C, H, W).
        encoders: sha256 of the models that encoded the images; "" for pixels.
    """

    shape: tuple[int, int, int]
    encoders: str = ""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def clean(self, indices: Indices) -> Tensor:
        """Images without noise, float32 [n, C, H, W], always the same: for gradients and errors."""

    @abstractmethod
    def sample(self, indices: Indices, flip: bool, random: np.random.Generator) -> Tensor:
        """Images for a training step, float32 [n, C, H, W]: half of them mirrored where `flip` is set."""

    def condition(self, indices: Indices, dropped: NDArray[np.bool_] | None = None) -> Tensor | None:
        """Embedded captions, float32 [n, L, D], with the empty one where `dropped`; None without captions."""
        return None

    def noise_keys(self, indices: range) -> range | Sequence[str]:
        """What decides the noise of images: their indices, or what they show, see `das.noise.image_noise`."""
        return indices


class PixelInputs(Inputs):
    """Pixels in [-1, 1] of uint8 images [N, H, W, C].

    Args:
        by_content: give an image the same noise whichever others lie beside it.
    """

    def __init__(self, images: NDArray[np.uint8], by_content: bool = False) -> None:
        self.images, self._by_content = images, by_content
        height, width, channels = images.shape[1:]
        self.shape = (channels, height, width)

    def __len__(self) -> int:
        return len(self.images)

    def clean(self, indices: Indices) -> Tensor:  # noqa: D102
        chosen = slice(indices.start, indices.stop) if isinstance(indices, range) else indices
        return to_model_space(self.images[chosen])

    def sample(self, indices: Indices, flip: bool, random: np.random.Generator) -> Tensor:  # noqa: D102
        clean = self.clean(indices)
        if flip:
            flipped = torch.from_numpy(random.random(len(indices)) < 0.5)
            clean[flipped] = clean[flipped].flip(-1)
        return clean

    def noise_keys(self, indices: range) -> range | Sequence[str]:  # noqa: D102
        if not self._by_content:
            return indices
        return [hashlib.sha256(self.images[index].tobytes()).hexdigest() for index in indices]


class LatentInputs(Inputs):
    """Encoded images and captions.

    Args:
        mean, std: of the encoder's distribution, scaled, float32 [N, V, C, h, w]; V is 1, or 2 with the
            mirror images, which are encoded on their own: mirrored latents are not their latents.
        text: embeddings of the distinct captions, float32 [U, L, D], the empty caption first.
        caption: which of them belongs to each image, int64 [N].
    """

    def __init__(
        self,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        text: NDArray[np.float32],
        caption: NDArray[np.int64],
        encoders: str = "",
    ) -> None:
        self._mean, self._std = torch.from_numpy(mean), torch.from_numpy(std)
        self._text, self._caption = torch.from_numpy(text), caption
        self.shape = tuple(mean.shape[2:])
        self.encoders = encoders

    def __len__(self) -> int:
        return len(self._mean)

    def clean(self, indices: Indices) -> Tensor:  # noqa: D102
        return self._mean[np.asarray(indices), PLAIN]

    def sample(self, indices: Indices, flip: bool, random: np.random.Generator) -> Tensor:  # noqa: D102
        version = np.full(len(indices), PLAIN)
        if flip:
            if self._mean.shape[1] <= FLIPPED:
                raise UserError("latents: hold no mirror images, which train.flip needs; make them again")
            version[random.random(len(indices)) < 0.5] = FLIPPED
        chosen = (torch.from_numpy(np.asarray(indices)), torch.from_numpy(version))
        noise = random.standard_normal((len(indices), *self.shape), dtype=np.float32)
        return self._mean[chosen] + self._std[chosen] * torch.from_numpy(noise)

    def condition(self, indices: Indices, dropped: NDArray[np.bool_] | None = None) -> Tensor:  # noqa: D102
        caption = self._caption[np.asarray(indices)]
        return self._text[caption if dropped is None else np.where(dropped, EMPTY, caption)]


def read_inputs(path: Path) -> Inputs:
    """The inputs in a file of images or latents.

    Raises:
        UserError: the file is neither, or its arrays do not belong together.
    """
    with artifacts.read(path, PIXELS, LATENTS) as artifact:
        if artifact.kind == PIXELS:
            size = math.prod(artifact.shape("images"))
            require_memory(size, f"{path}: reading images", "use fewer or smaller images")
            images = artifact.read("images", (None,) * 4, np.uint8)
            return PixelInputs(images, bool(artifact.attributes.get("noise_by_content", False)))
        shape = artifact.shape("mean")
        require_memory(
            4 * (2 * math.prod(shape) + math.prod(artifact.shape("text"))),
            f"{path}: reading latents and embedded captions",
            "use fewer images or captions that repeat",
        )
        mean = artifact.read("mean", (None,) * 5, np.float32)
        std = artifact.read("std", shape, np.float32)
        text = artifact.read("text", (None,) * 3, np.float32)
        caption = artifact.read("caption", shape[:1], np.int64)
        encoders = artifact.weights
    if not 0 <= caption.min() <= caption.max() < len(text):
        raise UserError(
            f"{path}: caption is {caption.min()} to {caption.max()}, expected 0 to {len(text) - 1}"
        )
    return LatentInputs(mean, std, text, caption, encoders)
