"""The forward process of a diffusion model and the points on it at which models are measured.

Notation: x is an image in [-1, 1], abar_t the cumulative product of 1 - beta, eps standard normal noise,

    x_t = sqrt(abar_t) x + sqrt(1 - abar_t) eps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from diffusers import DDPMScheduler
from numpy.typing import NDArray
from torch import Tensor, nn

from das.errors import UserError
from das.noise import image_noise

TimestepStrategy = Literal["uniform", "cumulative"]
TimestepWeights = Literal["uniform", "signal"]


@dataclass(frozen=True)
class Schedule:
    """The noise schedule of a model: `betas` and `alphas_cumprod` (abar), float32 [steps]."""

    betas: Tensor
    alphas_cumprod: Tensor

    @classmethod
    def of(cls, scheduler: DDPMScheduler) -> Schedule:
        """The schedule of a diffusers scheduler; refuses models that do not predict the noise."""
        prediction = scheduler.config.prediction_type
        if prediction != "epsilon":
            raise UserError(f"scheduler: prediction_type is {prediction!r}, allowed is 'epsilon'")
        return cls(scheduler.betas, scheduler.alphas_cumprod)

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def add_noise(self, images: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t for rows of images [R, C, H, W], noise of the same shape and integer timesteps [R]."""
        abar = self.alphas_cumprod.to(images.device)[timesteps].to(images.dtype)[:, None, None, None]
        return abar.sqrt() * images + (1 - abar).sqrt() * noise


def choose_timesteps(strategy: TimestepStrategy, count: int, steps: int = 1000) -> list[int]:
    """`count` of the `steps` timesteps: "uniform" spreads them evenly from 0, "cumulative" takes the first.

    Uniform is range(0, 1000, 1000/T) of the published protocol wherever T divides 1000.
    """
    if not 1 <= count <= steps:
        raise UserError(f"timesteps: found {count}, allowed is 1 to {steps}")
    if strategy == "cumulative":
        return list(range(count))
    return [i * steps // count for i in range(count)]


def timestep_weights(kind: TimestepWeights, schedule: Schedule, timesteps: Sequence[int]) -> Tensor:
    """Weights of timesteps in a mean over them: equal, or as abar_t, the share of the image in x_t.

    Where x_t is mostly noise the prediction depends little on what was trained on, and its error is small. A
    gradient that is divided by its norm counts as much there as anywhere; with the weight abar_t it counts
    about as much as the error, as in Eq. 16 of DAS, where the residual of each timestep multiplies its term.

    Returns:
        float32 [T], of sum 1.
    """
    if kind == "uniform":
        return torch.ones(len(timesteps)) / len(timesteps)
    abar = schedule.alphas_cumprod.cpu().double()[list(timesteps)]
    return (abar / abar.sum()).float()


def predict_noise(
    network: nn.Module,
    noisy: Tensor,
    timesteps: Tensor,
    condition: Tensor | None,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """eps_theta(x_t, t), or eps_theta(x_t, t, condition), for rows [R, C, H, W]; the same shape.

    Args:
        network: a UNet of diffusers, or any module of the same call.
        condition: embedded captions [R, L, D], None for an unconditional model.
        precision: of matrix products; others than float32 by autocast.
    """
    more = () if condition is None else (condition,)
    if precision == torch.float32:
        prediction: Tensor = network(noisy, timesteps, *more).sample
        return prediction
    with torch.autocast(noisy.device.type, dtype=precision):
        return network(noisy, timesteps, *more).sample.float()


def to_model_space(images: NDArray[np.uint8]) -> Tensor:
    """uint8 images [N, H, W, C] as float32 [N, C, H, W] in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Images [N, C, H, W] in [-1, 1] as uint8 [N, H, W, C]."""
    pixels = ((images.float() + 1) * 127.5).round().clamp(0, 255)
    return pixels.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()


def noise_rows(
    purpose: str,
    seed: int,
    timesteps: Sequence[int],
    draw: int,
    images: range | Sequence[str],
    shape: tuple[int, ...],
) -> Tensor:
    """Noise for every (image, timestep) pair of some images, image-major.

    Returns:
        float32 [len(images) * len(timesteps), C, H, W]; see `das.noise.image_noise` for the key.
    """
    per_timestep = [image_noise(purpose, seed, t, draw, images, shape) for t in timesteps]
    return torch.from_numpy(np.stack(per_timestep, axis=1)).flatten(0, 1)
