"""Features of generated images along the way on which they were sampled: Journey-TRAK (arXiv 2312.06205).

At each step t of the sampler the model predicts the image x0 without noise. The feature of a query is the
mean over the steps of the projected gradients at add_noise(predicted x0, eps, t), with the settings of the
training features that it is compared with, but for the timesteps.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray
from torch import Tensor

from das.diffusion.inputs import Inputs
from das.diffusion.models import Model
from das.diffusion.process import predict_noise
from das.diffusion.sampling import GenerationSettings, image_seed
from das.errors import UserError
from das.gradients.features import IMAGES_PER_BLOCK, FeatureSettings, SplitGradients
from das.jobs.progress import progress
from das.jobs.resume import compute_together, image_blocks


def journey_gradients(
    model: Model,
    settings: FeatureSettings,
    generation: GenerationSettings,
    rows: int,
    precision: torch.dtype,
    section: str,
) -> SplitGradients:
    """Gradients of the generated images at the timesteps of the sampler, whatever the settings choose.

    Raises:
        UserError: the features keep their timesteps apart, or see `SplitGradients`.
    """
    if settings.by_timestep:
        raise UserError(f"{section}.by_timestep: found true, allowed is false: journeys have other timesteps")
    sampler = model.ddim
    sampler.set_timesteps(generation.steps)
    return SplitGradients(
        model.network,
        model.schedule,
        settings,
        split="gen",
        rows=rows,
        precision=precision,
        timesteps=sampler.timesteps.tolist(),
        section=section,
    )


def project_journeys(
    gradients: SplitGradients,
    model: Model,
    inputs: Inputs,
    indices: range,
    generation: GenerationSettings,
    state: Path,
) -> Iterator[list[NDArray[np.float32]]]:
    """Features of generated images, block after block of one float32 [n, k], in the order of the images.

    Args:
        gradients: made by `journey_gradients`.
        inputs: the generated images, whose captions the gradients are conditional on.
        indices: which consecutive images of them.
        state: folder for unfinished work.

    Raises:
        UserError: a gradient is not finite.
    """
    return compute_together(
        [state],
        "journeys",
        progress(image_blocks(indices.start, indices.stop, IMAGES_PER_BLOCK), "journeys"),
        lambda block, _: gradients.features(
            block,
            predict_journeys(model, inputs, block, generation),
            inputs.condition(block),
            inputs.noise_keys(block),
        ),
    )


@torch.no_grad()
def predict_journeys(model: Model, inputs: Inputs, indices: range, generation: GenerationSettings) -> Tensor:
    """The images without noise that the model predicts while it samples, as `das.diffusion.sampling` does.

    Returns:
        float32 [n, S, C, H, W] for the S steps of the sampler, as it uses them: guided, and clipped where the
        model's images are.
    """
    device = next(model.network.parameters()).device
    generators = [torch.Generator().manual_seed(image_seed(generation.seed, index)) for index in indices]
    x = randn_tensor((len(indices), *inputs.shape), generator=generators, device=device)
    captions = [inputs.condition(indices)]
    guidance = generation.guidance or 1
    if guidance > 1:
        captions.append(inputs.condition(indices, dropped=np.ones(len(indices), bool)))
    sampler, predicted = model.ddim, []
    sampler.set_timesteps(generation.steps)
    for t in sampler.timesteps:
        timesteps = t.to(device).expand(len(x))
        noise, *without = (
            predict_noise(model.network, x, timesteps, None if text is None else text.to(device))
            for text in captions
        )
        for unconditional in without:
            noise = unconditional + guidance * (noise - unconditional)
        step = sampler.step(noise, t, x)
        x = step.prev_sample
        predicted.append(step.pred_original_sample)
    return torch.stack(predicted, dim=1)
