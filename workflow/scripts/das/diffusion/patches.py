"""How much of a noised query the patches of each training image explain; knows nothing of the network.

After Nonparametric Data Attribution, arXiv 2510.14269. Of a query x at a timestep t,

    x_t = s x + sigma eps,   s = sqrt(abar_t),   sigma^2 = 1 - abar_t,

each patch is compared with all patches y of all training images. The weight of y, of sum 1 over them all, is
proportional to exp(-|patch(x_t) - s y|^2 / (2 sigma^2)): its probability to be the patch that the noise was
added to. Weighted by these, patches are the denoised image of a denoiser that sees no more than a patch.

A patch that reaches over the border is compared only with those that reach over it in the same way. What lies
beyond is 0 in both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from das.diffusion.inputs import Inputs
from das.diffusion.process import Schedule, noise_rows
from das.errors import UserError
from das.jobs.blocks import blocks
from das.jobs.progress import progress
from das.jobs.resume import compute_blocks, image_blocks

QUERIES_PER_BLOCK = 8


def compare_patches(
    train: Inputs,
    queries: Inputs,
    schedule: Schedule,
    settings: Mapping[str, Any],
    split: str,
    device: torch.device,
    state: Path,
) -> Iterator[NDArray[np.float32]]:
    """Weights of the training images for some queries after others, float32 [n, N].

    The sum of the weights of an image's patches, summed over the query's patches; the mean over timesteps,
    and over both scales where there are two.

    Args:
        settings: an entry of `patches` of the configuration: `timesteps`, which; `size` of a patch along a
            side; `halved`, the size of patches of a second scale, None for none; `seed` of the noise.
        split: that of the queries, which names their noise.
        state: folder with blocks of queries that are done.

    Raises:
        UserError: the schedule has no such timestep, or adds no noise there.
    """
    for timestep in settings["timesteps"]:
        if timestep >= len(schedule) or schedule.alphas_cumprod[timestep] == 1:
            raise UserError(
                f"patches: timesteps: found {timestep}, allowed are those of the model's {len(schedule)} "
                "at which there is noise"
            )

    def compared(block: range) -> NDArray[np.float32]:
        clean = queries.clean(block).to(device).double()
        parts = []
        for timestep in settings["timesteps"]:
            noise = noise_rows(
                f"patches/{split}", settings["seed"], [timestep], 0, queries.noise_keys(block), queries.shape
            )
            abar = schedule.alphas_cumprod[timestep].double().item()
            ratio = (abar / (1 - abar)) ** 0.5
            noised = ratio * clean + noise.to(device)  # x_t / sigma, for distances in units of the noise
            parts.append(patch_weights(noised, train, ratio, settings["size"]))
            if settings["halved"] is not None:
                halved = patch_weights(noised, train, ratio, settings["halved"], halve=True)
                parts[-1] = (parts[-1] + halved) / 2
        return torch.stack(parts).mean(0).float().cpu().numpy()

    cuts = image_blocks(0, len(queries), QUERIES_PER_BLOCK)
    return compute_blocks(state, "patches", progress(cuts, "comparing patches"), compared)


def patch_weights(noised: Tensor, train: Inputs, ratio: float, size: int, halve: bool = False) -> Tensor:
    """Weights of training images, summed over their patches and those of each query, float64 [Q, N].

    Squared distances are formed by matrix products, of as many patches at a time as fit. In float64: they are
    differences of numbers that are far larger where there is little noise.

    Args:
        noised: x_t / sigma, float64 [Q, C, H, W].
        ratio: s / sigma.
        size: of a patch along a side.
        halve: compare patches of half the size, see `cut_patches`.
    """
    _, height, width = train.shape
    weights = noised.new_zeros(len(noised), len(train))
    for rows, columns in itertools.product(border_classes(height, size), border_classes(width, size)):
        own = cut_patches(noised, size, rows, columns, halve)
        query = torch.arange(len(noised), device=noised.device).repeat_interleave(own.shape[1])
        places, own = own.shape[1], own.flatten(0, 1)
        for chosen in blocks(len(own), len(train)):
            some = own[chosen.start : chosen.stop]
            # Of each training image, the log of the sum over its places, but for what is common to all.
            logs = some.new_empty(len(some), len(train))
            for images in blocks(len(train), places * max(some.shape)):
                clean = ratio * train.clean(images).to(noised.device).double()
                theirs = cut_patches(clean, size, rows, columns, halve).flatten(0, 1)
                near = torch.addmm(-theirs.square().sum(1) / 2, some, theirs.T)
                logs[:, images.start : images.stop] = _log_sums(near.unflatten(1, (-1, places)))
            weights.index_add_(0, query[chosen.start : chosen.stop], logs.softmax(1))
    return weights


def _log_sums(logs: Tensor) -> Tensor:
    """`torch.logsumexp` over the last axis, in the place of what it is given: in half the time."""
    largest = logs.amax(-1, keepdim=True)
    return logs.sub_(largest).exp_().sum(-1).log_().add_(largest[..., 0])


def border_classes(side: int, size: int) -> list[range]:
    """Places along a side whose patches reach over the border in the same way.

    There is a patch around each pixel, or, where its size is even, around each gap between two. Of two that
    reach over a border, one reaches further: they are classes of their own.
    """
    before = (size - 1) // 2
    places, inner = side + 2 * before - size + 1, range(before, before + side - size + 1)
    alone = [range(place, place + 1) for place in range(places) if place not in inner]
    return [*alone, inner] if inner else alone


def cut_patches(images: Tensor, size: int, rows: range, columns: range, halve: bool) -> Tensor:
    """The patches of images [n, C, H, W] at some places, [n, places, d].

    Args:
        halve: to half the size: each square of four pixels becomes half their sum, so that noise that is
            independent from pixel to pixel stays so, with the same variance.
    """
    padded, extent, step = functional.pad(images, [(size - 1) // 2] * 4), size, 1
    if halve:
        rowwise, extent, step = padded[:, :, 1:] + padded[:, :, :-1], size - 1, 2
        padded = (rowwise[..., 1:] + rowwise[..., :-1]) / 2
    at = padded.unfold(2, extent, 1)[:, :, rows.start : rows.stop, :, ::step]
    at = at.unfold(3, extent, 1)[:, :, :, columns.start : columns.stop, :, ::step]
    return at.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)  # of [n, C, rows, columns, size, size]
