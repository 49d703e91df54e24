"""Per-image features of a shard of images: mean over timesteps and noise draws of projected gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from das.cli import progress
from das.diffusion import Schedule, TimestepStrategy, choose_timesteps, noise_rows
from das.errors import UserError
from das.gradients import ImageGradients
from das.inputs import Inputs
from das.memory import require_memory
from das.projection import make_projection, projection_dimension
from das.resume import compute_blocks, image_blocks

# Images between two saved states of unfinished work.
IMAGES_PER_BLOCK = 16


@dataclass(frozen=True)
class FeatureSettings:
    """What makes features. Published: `mean`, normalised, 10 uniform timesteps, k = 4096 for DAS."""

    output: str
    normalise: bool
    timesteps: int
    strategy: TimestepStrategy
    draws: int
    seed: int
    projection: str
    dimension: int
    projection_seed: int
    precision: dict[str, str] = field(default_factory=dict)


def project(
    unet: nn.Module,
    schedule: Schedule,
    inputs: Inputs,
    indices: range,
    settings: FeatureSettings,
    *,
    split: str,
    rows: int,
    state: Path,
    precision: torch.dtype = torch.float32,
) -> tuple[int, Iterator[NDArray[np.float32]]]:
    """Features of some images of a split.

    Args:
        inputs: the whole split.
        indices: which consecutive images of it.
        split: names the noise, so that no two splits share it.
        rows: how many (image, timestep) pairs to run at once; changes rounding only.
        state: folder for unfinished work.
        precision: of matrix products, for which the network is prepared.

    Returns:
        k, and an iterator over float32 [n, k], block after block in the order of the images.

    Raises:
        UserError: the features do not fit into memory, or a gradient is not finite.
    """
    device = next(unet.parameters()).device
    shapes = {name: tuple(p.shape) for name, p in unet.named_parameters() if p.requires_grad}
    dimension = projection_dimension(settings.projection, settings.dimension, shapes)
    name = "projection none" if settings.projection == "none" else f"dimension {settings.dimension}"
    require_memory(
        4 * dimension * (2 * rows + 2 * IMAGES_PER_BLOCK),  # the sketch adds into twice its width
        f"gradients: {name} with {rows} rows",
        "lower gradients.dimension or jobs.rows_per_batch",
    )
    projection = make_projection(
        settings.projection, settings.dimension, settings.projection_seed, shapes, device
    )
    gradients = ImageGradients(unet, schedule, settings.output, settings.normalise, projection, precision)
    timesteps = choose_timesteps(settings.strategy, settings.timesteps, len(schedule))

    def features(block: range) -> NDArray[np.float32]:
        clean, condition = inputs.clean(block).to(device), inputs.condition(block)
        total = torch.zeros(len(block), dimension, device=device)
        for draw in range(settings.draws):
            noise = noise_rows(
                f"gradients/{split}", settings.seed, timesteps, draw, block, tuple(clean.shape[1:])
            )
            try:
                total += gradients.features(clean, timesteps, noise.to(device), rows, condition)
            except UserError as error:  # it counts images from the start of the block
                raise UserError(f"{split}, images {block.start} and on: {error}") from error
        return (total / settings.draws).cpu().numpy()

    blocks = image_blocks(indices.start, indices.stop, IMAGES_PER_BLOCK)
    return dimension, compute_blocks(state, "features", progress(blocks, f"gradients {split}"), features)
