"""A Gauss-Newton kernel: the second moment of gradients of random projections of the prediction.

With J the Jacobian of the noise prediction eps_theta(x_t, t) in the parameters, P the projection and v
standard normal, s = P J^T v is the projected gradient of <v, eps_theta(x_t, t)>, and

    H = E_{i,t,v} [s s^T] = P E_{i,t} [J^T J] P^T,

because E [v v^T] = 1: an unbiased estimate of the Gauss-Newton matrix of the denoising loss from one more
pass over the training images, with one v per image, timestep and noise draw. It is unbiased with any such v;
their independence makes its variance fall with the number of images. So every v is an image's own, also where
the noise of x_t is shared (setting `noise` of the kernel, whatever that of the features).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from das.diffusion.inputs import Inputs
from das.gradients.features import SplitGradients
from das.gradients.sums import sum_images
from das.jobs import artifacts
from das.jobs.memory import require_memory


def sketch_kernel(
    gradients: SplitGradients,
    inputs: Inputs,
    indices: range,
    output: Path,
    dataset: str,
    weights: str,
    precision: torch.dtype,
    state: Path,
    checkpoint_seconds: float,
) -> None:
    """Write the sum of s s^T over some training images, of which there is never more than one in memory.

    The artifact "kernel-sum" holds `sum` float64 [k, k], with the attributes `rows`, the number of s, and
    `first` and `count` of the images.

    Args:
        gradients: of the output function `das.gradients.output_functions.PROBE`, not normalised.
        inputs: the whole split.
        indices: which consecutive images of it.
        weights: sha256 of the model.
        state: folder for unfinished work.
        checkpoint_seconds: between two saved states.

    Raises:
        UserError: a gradient is not finite, or the kernel does not fit into memory.
    """
    k, settings = gradients.dimension, gradients.common
    require_memory(
        8 * k * (k + 2 * gradients.rows), f"a kernel with k = {k}", "lower dimension of features and kernel"
    )

    total = torch.zeros(k, k, dtype=torch.float64, device=gradients.device)
    earlier = sum_images(
        {"sum": total},
        lambda block: _add(total, gradients, inputs, block),
        indices,
        state / "sum.h5",
        checkpoint_seconds,
        "kernel",
    )
    with artifacts.write(
        output,
        "kernel-sum",
        dataset,
        dataclasses.asdict(settings),
        weights,
        precision=str(precision),
        rows=len(indices) * len(gradients.timesteps) * settings.draws,
        first=indices.start,
        count=len(indices),
        earlier_seconds=earlier,
    ) as file:
        file["sum"] = total.cpu().numpy()


def _add(total: Tensor, gradients: SplitGradients, inputs: Inputs, block: range) -> None:
    """Add s s^T of all rows of a block of images, batch by batch: float64 [k, k]."""
    for batch in probed(gradients, inputs, block):
        s = batch.double()
        total.addmm_(s.T, s)


def probed(gradients: SplitGradients, inputs: Inputs, block: range) -> Iterator[Tensor]:
    """The s of all rows of a block of images, float32 [R, k], batch by batch.

    Raises:
        UserError: a gradient is not finite.
    """
    clean, condition = inputs.clean(block).to(gradients.device), inputs.condition(block)
    for draw in range(gradients.common.draws):
        probes = gradients.keyed_noise(f"probes/{gradients.split}", draw, block, clean)
        yield from gradients.batches(block, clean, condition, draw, probes)
