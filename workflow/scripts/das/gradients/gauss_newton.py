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
import logging
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from das.diffusion.inputs import Inputs
from das.errors import UserError
from das.gradients.features import IMAGES_PER_BLOCK, SplitGradients
from das.jobs import artifacts
from das.jobs.memory import require_memory
from das.jobs.progress import progress
from das.jobs.resume import image_blocks

log = logging.getLogger(__name__)


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
    `first` and `count` of the images. Unfinished work is such a file, too, of fewer images.

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

    seconds = 0.0

    def save(path: Path, total: Tensor, stop: int) -> None:
        nonlocal seconds
        count = stop - indices.start
        with artifacts.write(
            path,
            "kernel-sum",
            dataset,
            dataclasses.asdict(settings),
            weights,
            precision=str(precision),
            rows=count * len(gradients.timesteps) * settings.draws,
            first=indices.start,
            count=count,
            earlier_seconds=seconds,
        ) as file:
            file["sum"] = total.cpu().numpy()
        with artifacts.read(path, "kernel-sum") as artifact:
            seconds = float(artifact.attributes["seconds"])

    unfinished = state / "sum.h5"
    start, total = indices.start, torch.zeros(k, k, dtype=torch.float64)
    if unfinished.exists():
        try:
            with artifacts.read(unfinished, "kernel-sum") as artifact:
                read = torch.from_numpy(artifact.read("sum", (k, k), np.float64))
                total, start = read, start + int(artifact.attributes["count"])
                seconds = float(artifact.attributes["seconds"])
        except UserError as error:
            log.warning("%s; the kernel is summed up from its beginning", error)
    total = total.to(gradients.device)
    saved_at = time.monotonic()
    for block in progress(image_blocks(start, indices.stop, IMAGES_PER_BLOCK), "kernel"):
        _add(total, gradients, inputs, block)
        if block.stop < indices.stop and time.monotonic() - saved_at >= checkpoint_seconds:
            save(unfinished, total, block.stop)
            saved_at = time.monotonic()
    save(output, total, indices.stop)


def _add(total: Tensor, gradients: SplitGradients, inputs: Inputs, block: range) -> None:
    """Add s s^T of all rows of a block of images, batch by batch: float64 [k, k]."""
    clean, condition = inputs.clean(block).to(gradients.device), inputs.condition(block)
    for draw in range(gradients.common.draws):
        probes = gradients.keyed_noise(f"probes/{gradients.split}", draw, block, clean)
        for batch in gradients.batches(block, clean, condition, draw, probes):
            s = batch.double()
            total.addmm_(s.T, s)
