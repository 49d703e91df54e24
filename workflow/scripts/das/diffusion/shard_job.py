"""What the jobs that run a saved model on one shard of a split have in common."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from das.diffusion import models
from das.diffusion.inputs import Inputs, read_inputs
from das.diffusion.models import Model
from das.diffusion.precision import prepare_network
from das.jobs.artifacts import file_sha256
from das.jobs.device import choose_device


@dataclass(frozen=True)
class ShardJob:
    """A model, ready to run, and the images of a shard.

    Attributes:
        weights: sha256 of the model.
        images: the whole split.
        indices: which consecutive images of it are the shard.
        dtype: of matrix products, for which the network is prepared.
        identity: the settings and all of this, for the key of unfinished work.
    """

    model: Model
    weights: str
    images: Inputs
    indices: range
    dtype: torch.dtype
    identity: dict[str, Any]


def open_shard(
    arguments: argparse.Namespace, settings: Mapping[str, Any], precision: Mapping[str, str]
) -> ShardJob:
    """Open what the options of `das.cli.shard_options` name.

    Args:
        settings: of the job, all that decides its result besides model and images.
        precision: number format for each kind of device.

    Raises:
        UserError: the model or the images cannot be read, or do not go together.
    """
    device = choose_device(arguments.device)
    model = models.load(arguments.model, device)
    weights = models.weights_sha256(arguments.model)
    images = read_inputs(arguments.inputs)
    model.require(images, arguments.inputs)
    first = arguments.shard * arguments.images_per_shard
    indices = range(first, min(first + arguments.images_per_shard, len(images)))
    dtype = prepare_network(model.network, precision, device)
    identity = {
        **settings,
        "dtype": str(dtype),
        "weights": weights,
        "inputs": file_sha256(arguments.inputs),
        "indices": [indices.start, indices.stop],
    }
    return ShardJob(model, weights, images, indices, dtype, identity)
