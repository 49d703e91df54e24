"""Queries generated again by models that were trained on other images, and what has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.diffusion import models
from das.diffusion.clip import Clip
from das.diffusion.denoising_error import query_losses
from das.diffusion.inputs import Inputs
from das.diffusion.models import Model
from das.diffusion.sampling import GenerationSettings, generate
from das.jobs.progress import progress
from das.jobs.resume import compute_blocks


def regenerate(
    original: Model,
    folders: Sequence[Path],
    queries: NDArray[np.uint8],
    inputs: Inputs,
    generation: GenerationSettings,
    losses: Mapping[str, Any],
    timesteps: Path | None,
    rows: int,
    state: Path,
    clip: Clip | None,
) -> dict[str, NDArray[Any]]:
    """Generate each query by the model in its folder, from the noise that it had.

    Args:
        original: the model that generated the queries [Q, H, W, C].
        folders: of a model for each query.
        inputs: what a model sees of the queries.
        losses, timesteps: how losses are measured, see `query_losses`.
        rows: (image, timestep) pairs to run at once.
        state: folder for unfinished work.

    Returns:
        images uint8 [Q, H, W, C]. Of each query, [Q]: loss by the new model, loss_difference to that by the
        original, l2, which is its distance where the model measures it, and with CLIP clip_cosine.
    """
    device = next(original.network.parameters()).device
    outcomes: list[dict[str, Any]] = []
    for query, folder in enumerate(progress(folders, "regenerate")):
        model, block = models.load(folder, device), range(query, query + 1)
        sample = partial(generate, model, settings=generation)
        [images] = compute_blocks(state, "images", [block], sample)
        new, old = (
            query_losses(each, inputs, block, "gen", losses, timesteps, 0, rows, state / name).mean(
                dtype=np.float64
            )
            for name, each in (("new", model), ("old", original))
        )
        outcomes.append({"images": images[0], "loss": new, "loss_difference": new - old})
        outcomes[-1] |= _compare(original, clip, images[0], queries[query])
    return {name: np.stack([outcome[name] for outcome in outcomes]) for name in outcomes[0]}


def _compare(
    model: Model, clip: Clip | None, image: NDArray[np.uint8], other: NDArray[np.uint8]
) -> dict[str, Any]:
    """Distance of two images [H, W, C] where the model measures it; by CLIP, if any, the cosine."""
    both = np.stack([image, other])
    found: dict[str, Any] = {"l2": np.linalg.norm(np.subtract(*model.represent(both).astype(np.float64)))}
    if clip:
        a, b = clip.embed(both).astype(np.float64)
        found["clip_cosine"] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return found
