"""Generated query images: DDIM, one random generator per image, as published (arXiv 2311.00500)."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline
from numpy.typing import NDArray

from das.diffusion import to_pixels


def image_seed(seed: int, index: int) -> int:
    """Seed of the generator of one image, as published."""
    return seed * 1000 + index


@torch.no_grad()
def generate(pipeline: DDPMPipeline, indices: range, seed: int, steps: int) -> NDArray[np.uint8]:
    """Sample images with deterministic DDIM (eta 0).

    Every image starts from the noise of its own CPU generator, so that it does not depend on the batch
    in which it is made.

    Returns:
        uint8 [len(indices), H, W, C].
    """
    sampler = DDIMPipeline(pipeline.unet, DDIMScheduler.from_config(pipeline.scheduler.config))
    sampler.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(image_seed(seed, index)) for index in indices]
    images = sampler(
        batch_size=len(indices), generator=generators, eta=0.0, num_inference_steps=steps, output_type="np"
    ).images
    # The pipeline returns float [0, 1]; pixels are rounded in one place.
    return to_pixels(torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1)
