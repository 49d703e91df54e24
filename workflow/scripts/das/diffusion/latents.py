"""Encoding the images and captions of a split once, for models that work on latents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from das.data.images import read_texts
from das.data.noiseless import LATENTS
from das.diffusion.inputs import EMPTY
from das.diffusion.models.stable_diffusion import Encoders
from das.errors import UserError
from das.jobs import artifacts
from das.jobs.progress import progress
from das.jobs.resume import compute_blocks, image_blocks

IMAGES_PER_BLOCK = 16
CAPTIONS_PER_BATCH = 64


def encode(
    encoders: Encoders,
    encoders_sha256: str,
    images: Path,
    output: Path,
    dataset: str,
    settings: dict[str, Any],
    state: Path,
) -> None:
    """Write the latents of a split; memory does not grow with the number of images.

    The artifact "latents" holds `mean` and `std` float32 [N, V, C, h, w], scaled as the model takes them,
    `text` float32 [U, L, D] and `caption` int64 [N], see
    `das.diffusion.inputs.LatentInputs`. Its attribute `weights` is the hash of the encoders.

    Args:
        settings: `flip`, whether to encode mirror images too.
        state: folder for unfinished work.

    Raises:
        UserError: the images have no captions, or do not fit the autoencoder.
    """
    captions = read_texts(images, "captions")
    if captions is None:
        raise UserError(
            f"{images}: has no captions, a text-conditioned model needs them; set source.captions"
        )
    distinct = _distinct(captions)
    with artifacts.read(images, "images") as artifact:
        count, height, width, channels = artifact.shape("images")
        _require_size(encoders, height, width, channels, images)

        def latents(block: range) -> np.ndarray:
            pixels = artifact.read("images", (None,) * 4, np.uint8, slice(block.start, block.stop))
            versions = [pixels, pixels[:, :, ::-1]] if settings["flip"] else [pixels]
            encoded = np.stack([encoders.encode(np.ascontiguousarray(v)) for v in versions], axis=2)
            if not np.isfinite(encoded).all():
                raise UserError(f"{images}: latents of images {block.start} and on are not finite")
            return encoded  # [n, mean and std, V, C, h, w]

        blocks = image_blocks(0, count, IMAGES_PER_BLOCK)
        parts = compute_blocks(state, "latents", progress(blocks, "encode"), latents)
        with artifacts.write(output, LATENTS, dataset, settings, encoders_sha256) as file:
            row = 0
            for part in parts:
                if row == 0:
                    mean, std = (_create(file, name, count, part.shape[2:]) for name in ("mean", "std"))
                mean[row : row + len(part)], std[row : row + len(part)] = part[:, 0], part[:, 1]
                row += len(part)
            _embed(encoders, distinct, file)
            number = {caption: i for i, caption in enumerate(distinct)}
            file["caption"] = np.array([number[caption] for caption in captions], np.int64)


def _distinct(captions: Sequence[str]) -> list[str]:
    """The empty caption, and then every other once."""
    distinct = ["", *sorted(set(captions) - {""})]
    assert distinct[EMPTY] == ""
    return distinct


def _embed(encoders: Encoders, captions: Sequence[str], file: h5py.File) -> None:
    for start in range(0, len(captions), CAPTIONS_PER_BATCH):
        embedded = encoders.embed(captions[start : start + CAPTIONS_PER_BATCH])
        if start == 0:
            text = _create(file, "text", len(captions), embedded.shape[1:])
        text[start : start + len(embedded)] = embedded


def _create(file: h5py.File, name: str, count: int, shape: tuple[int, ...]) -> h5py.Dataset:
    return file.create_dataset(name, (count, *shape), np.float32, chunks=(1, *shape))


def _require_size(encoders: Encoders, height: int, width: int, channels: int, path: Path) -> None:
    config = encoders.vae.config
    factor = 2 ** (len(config.block_out_channels) - 1)
    if channels != config.in_channels or height % factor or width % factor:
        raise UserError(
            f"{path}: images are {height}x{width} with {channels} channels, the autoencoder takes "
            f"{config.in_channels} channels and multiples of {factor} pixels"
        )
