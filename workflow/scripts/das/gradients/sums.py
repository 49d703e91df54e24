"""Sums over the images of a shard, which a job that was killed continues."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from das.errors import UserError
from das.gradients.features import IMAGES_PER_BLOCK
from das.jobs import artifacts
from das.jobs.progress import progress
from das.jobs.resume import image_blocks

log = logging.getLogger(__name__)


def sum_images(
    totals: Mapping[str, Tensor],
    add: Callable[[range], None],
    indices: range,
    unfinished: Path,
    checkpoint_seconds: float,
    title: str,
    earlier_seconds: float = 0.0,
) -> float:
    """Sum something up over images, block by block.

    Args:
        totals: float64 zeros, by name.
        add: adds to them what the images of a block contribute.
        indices: which consecutive images.
        unfinished: artifact with the totals of the first of them, in the job's state.
        checkpoint_seconds: between two saved states.
        title: of the progress.
        earlier_seconds: what led to this sum, before this process.

    Returns:
        Seconds that earlier processes, and states that were saved, took: those before the running clock of
        `das.jobs.artifacts`.
    """
    start, seconds = indices.start, earlier_seconds
    if unfinished.exists():
        try:
            with artifacts.read(unfinished, "unfinished-sum") as artifact:
                read = {name: artifact.read(name, total.shape, np.float64) for name, total in totals.items()}
                start += int(artifact.attributes["count"])
                seconds = float(artifact.attributes["seconds"])
            for name, total in totals.items():
                total.copy_(torch.from_numpy(read[name]))
        except UserError as error:
            log.warning("%s; the %s is summed up from its beginning", error, title)
    saved_at = time.monotonic()
    for block in progress(image_blocks(start, indices.stop, IMAGES_PER_BLOCK), title):
        add(block)
        if block.stop < indices.stop and time.monotonic() - saved_at >= checkpoint_seconds:
            count = block.stop - indices.start
            with artifacts.write(
                unfinished, "unfinished-sum", "", {}, earlier_seconds=seconds, count=count
            ) as file:
                for name, total in totals.items():
                    file[name] = total.cpu().numpy()
            with artifacts.read(unfinished) as artifact:
                seconds = float(artifact.attributes["seconds"])
            saved_at = time.monotonic()
    return seconds
