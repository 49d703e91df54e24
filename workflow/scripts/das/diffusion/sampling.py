"""Generated query images: DDIM, one random generator per image, as published (arXiv 2311.00500)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from das.diffusion.models import Model
from das.diffusion.process import to_pixels

# What a sampler makes at once.
IMAGES_PER_BATCH = 50


@dataclass(frozen=True)
class GenerationSettings:
    """What is generated: how many images, from which seed, in how many steps.

    A text-conditioned model makes the first images of the first of the `prompts`, each with its `count`.
    """

    count: int
    seed: int
    steps: int
    guidance: float | None = None
    prompts: Sequence[dict[str, Any]] = ()

    def captions(self) -> list[str] | None:
        """The prompt of every image; None without prompts."""
        if not self.prompts:
            return None
        return [part["prompt"] for part in self.prompts for _ in range(part["count"])]


def image_seed(seed: int, index: int) -> int:
    """Seed of the generator of one image, as published."""
    return seed * 1000 + index


@torch.no_grad()
def generate(model: Model, indices: range, settings: GenerationSettings) -> NDArray[np.uint8]:
    """Sample images with deterministic DDIM (eta 0).

    Every image starts from the noise of its own CPU generator, so that it does not depend on the batch
    in which it is made.

    Returns:
        uint8 [len(indices), H, W, C].
    """
    generators = [torch.Generator().manual_seed(image_seed(settings.seed, index)) for index in indices]
    captions = settings.captions()
    prompts = None if captions is None else captions[indices.start : indices.stop]
    images = model.sample(generators, settings.steps, prompts, settings.guidance)
    # Samplers return [0, 1]; pixels are rounded in one place.
    return to_pixels(torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1)
