"""The denoising error of a model on images, which is both DAS's residual and what LDS predicts.

error[i, t] = mean over pixels, or latents, of (eps_theta(x_t, t) - eps)^2,  averaged over the noise draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from das.diffusion.inputs import Inputs
from das.diffusion.models import Model
from das.diffusion.precision import prepare_network
from das.diffusion.process import Schedule, choose_timesteps, noise_rows, predict_noise
from das.diffusion.strata import Sample
from das.errors import UserError
from das.jobs.progress import progress
from das.jobs.resume import compute_blocks, image_blocks
from das.noise import BLOCK


def query_losses(
    model: Model,
    inputs: Inputs,
    indices: range,
    split: str,
    settings: Mapping[str, Any],
    timesteps: Path | None,
    seed: int,
    rows: int,
    state: Path,
) -> NDArray[np.float32]:
    """Loss of some queries of a split, the mean of their errors over timesteps: float32 [draws, n].

    Args:
        settings: draws, precision and, where there is no file of timesteps, how many; as in the section `lds`
            of a data set.
        timesteps: at which, and their weights, see `das.diffusion.strata.Sample`; without it, uniform.
        seed: of the noise.
        rows, state: see `measure_errors`.
    """
    draws, steps = settings["draws"], len(model.schedule)
    sample = Sample.read(timesteps, draws, steps) if timesteps else None
    chosen = (
        sample.timesteps.tolist()
        if sample
        else [choose_timesteps("uniform", settings["timesteps"], steps)] * draws
    )
    errors = query_errors(
        model, inputs, indices, chosen, f"losses/{split}", seed, settings["precision"], rows, state
    )
    means = [e @ sample.weights if sample else e.mean(axis=1, dtype=np.float64) for e in errors]
    return np.stack(means).astype(np.float32)


def query_errors(
    model: Model,
    inputs: Inputs,
    indices: range,
    timesteps: Sequence[Sequence[int]],
    purpose: str,
    seed: int,
    precision: Mapping[str, str],
    rows: int,
    state: Path,
) -> Iterator[NDArray[np.float32]]:
    """Errors of some queries, float32 [n, T], for each noise draw at timesteps of its own.

    Args:
        precision: number format for each kind of device.
        purpose, seed, rows, state: see `measure_errors`.
    """
    dtype = prepare_network(model.network, precision, next(model.network.parameters()).device)
    for draw, chosen in enumerate(timesteps):
        yield measure_errors(
            model.network,
            model.schedule,
            inputs,
            indices,
            chosen,
            purpose=purpose,
            seed=seed,
            draw=draw,
            rows=rows,
            state=state,
            precision=dtype,
        )


def measure_errors(
    unet: nn.Module,
    schedule: Schedule,
    inputs: Inputs,
    indices: range,
    timesteps: Sequence[int],
    *,
    purpose: str,
    seed: int,
    draw: int,
    rows: int,
    state: Path,
    precision: torch.dtype = torch.float32,
) -> NDArray[np.float32]:
    """`denoising_errors` of many images, float32 [n, T], continuing from the blocks in `state`."""
    name = f"{purpose.replace('/', '-')}-{draw}"
    parts = compute_blocks(
        state,
        name,
        progress(image_blocks(indices.start, indices.stop, BLOCK), name),
        lambda block: denoising_errors(
            unet,
            schedule,
            inputs,
            block,
            timesteps,
            purpose=purpose,
            seed=seed,
            draw=draw,
            rows=rows,
            precision=precision,
        ),
    )
    return np.concatenate(list(parts))


@torch.no_grad()
def denoising_errors(
    unet: nn.Module,
    schedule: Schedule,
    inputs: Inputs,
    indices: range,
    timesteps: Sequence[int],
    *,
    purpose: str,
    seed: int,
    draw: int,
    rows: int,
    precision: torch.dtype = torch.float32,
) -> NDArray[np.float32]:
    """Error of every (image, timestep) pair for one noise draw.

    Args:
        inputs: the whole split.
        indices: which consecutive images of it to measure.
        purpose: names the noise, see `das.noise.image_noise`.
        rows: how many (image, timestep) pairs to run at once, at most; changes rounding only.
        precision: of matrix products; the error itself is a float32 mean.

    Returns:
        float32 [len(indices), T].

    Raises:
        UserError: an error is not finite; names image and timestep.
    """
    if len(indices) > rows:  # fewer rows than images: a few images at a time
        parts = [
            denoising_errors(
                unet,
                schedule,
                inputs,
                range(first, min(first + rows, indices.stop)),
                timesteps,
                purpose=purpose,
                seed=seed,
                draw=draw,
                rows=rows,
                precision=precision,
            )
            for first in range(indices.start, indices.stop, rows)
        ]
        return np.concatenate(parts)
    device = next(unet.parameters()).device
    clean, condition = inputs.clean(indices).to(device), inputs.condition(indices)
    condition = None if condition is None else condition.to(device)
    errors = np.empty((len(indices), len(timesteps)), dtype=np.float32)
    per_pass = max(1, rows // len(indices))
    for start in range(0, len(timesteps), per_pass):
        chosen = timesteps[start : start + per_pass]
        noise = noise_rows(purpose, seed, chosen, draw, inputs.noise_keys(indices), inputs.shape).to(device)
        row_timesteps = torch.tensor(chosen, device=device).repeat(len(indices))
        noisy = schedule.add_noise(clean.repeat_interleave(len(chosen), dim=0), noise, row_timesteps)
        captions = None if condition is None else condition.repeat_interleave(len(chosen), dim=0)
        prediction = predict_noise(unet, noisy, row_timesteps, captions, precision)
        squared = (prediction - noise).square().flatten(1).mean(1)
        errors[:, start : start + per_pass] = squared.reshape(len(indices), len(chosen)).cpu().numpy()
    if not np.isfinite(errors).all():
        image, timestep = np.argwhere(~np.isfinite(errors))[0]
        raise UserError(
            f"{purpose}: the error of image {indices.start + image} at timestep {timesteps[timestep]} "
            "is not finite; the model is broken"
        )
    return errors
