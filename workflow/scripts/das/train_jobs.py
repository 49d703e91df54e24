"""Jobs that train models: one or several in a row, in one process or in a group of them.

Small models are trained several to a job, because starting Python with torch and diffusers takes seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from das import diffusion, models, noise, training
from das.cli import choose_device
from das.diffusion import Schedule
from das.errors import UserError
from das.images import read_images
from das.models import build_unet, load_unet_config, noise_scheduler, save_pipeline
from das.resume import job_key, job_state
from das.training import TrainSettings, check_shares, train


@dataclass(frozen=True)
class Training:
    """One model to train: its name, its images (indices into the training set), its seed, where it goes."""

    name: str
    members: NDArray[np.int64]
    seed: int
    folder: Path


def start_processes(count: int) -> bool:
    """Run the calling script in `count` processes; False where that has happened or one will do.

    Raises:
        UserError: one of the processes failed; its own message has been printed.
    """
    if count == 1 or "RANK" in os.environ:
        return False
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, rdzv_backend="c10d", rdzv_endpoint="localhost:0"
    )
    try:
        elastic_launch(config, sys.executable)(*sys.argv)
    except ChildFailedError as error:
        raise UserError(f"one of the {count} training processes failed; see the line above") from error
    return True


def train_models(
    images: NDArray[np.uint8],
    trainings: Sequence[Training],
    unet_config: dict[str, Any],
    settings: TrainSettings,
    provenance: dict[str, Any],
    *,
    device: str,
    resume: Path,
    checkpoint_seconds: float,
    tracking: str,
) -> None:
    """Train models on images [N, H, W, C] and save each as a pipeline folder.

    Args:
        provenance: what is stored beside each model, with its seed and the settings added.
        resume: folder for unfinished work; a job that was killed continues there.

    Raises:
        UserError: see `das.training.train`.
    """
    tracker = "tensorboard" if tracking == "tensorboard" else None
    accelerator = Accelerator(
        cpu=choose_device(device).type == "cpu", log_with=tracker, project_dir="logs/tensorboard"
    )
    if tracker:
        accelerator.init_trackers("-".join([provenance["dataset"], trainings[0].name]))
    recipe = {"train": dataclasses.asdict(settings), "unet": unet_config, **provenance}
    inputs = {
        "images": hashlib.sha256(images.tobytes()).hexdigest(),
        "trainings": [(t.name, t.seed, hashlib.sha256(t.members.tobytes()).hexdigest()) for t in trainings],
    }
    key = job_key(recipe | inputs, code=(training, models, noise, diffusion))
    state = resume / f"train-{key}"
    with job_state(resume, "train", key) if accelerator.is_main_process else nullcontext():
        accelerator.wait_for_everyone()
        for job in trainings:
            unet = train(
                accelerator,
                build_unet(unet_config, job.seed),
                Schedule.of(noise_scheduler()),
                images[job.members],
                settings,
                job.seed,
                state / f"{job.name}.safetensors",
                name=job.name,
                checkpoint_seconds=checkpoint_seconds,
            )
            if accelerator.is_main_process:
                save_pipeline(job.folder, unet, recipe | {"seed": job.seed})
        accelerator.wait_for_everyone()
    accelerator.end_training()


def run(arguments: argparse.Namespace, choose: Callable[[int], list[Training]]) -> None:
    """What the scripts that train models do, with the options of `das.cli.training_options`.

    Args:
        choose: the trainings, given the number of training images.
    """
    settings = TrainSettings(**json.loads(arguments.settings))
    images = read_images(arguments.images)
    unet_config = load_unet_config(arguments.unet, images.shape[1:])
    trainings = choose(len(images))
    for job in trainings:
        check_shares(len(job.members), settings)
    if start_processes(settings.processes):
        return
    train_models(
        images,
        trainings,
        unet_config,
        settings,
        {"dataset": arguments.dataset},
        device=arguments.device,
        resume=arguments.resume,
        checkpoint_seconds=arguments.checkpoint_seconds,
        tracking=arguments.tracking,
    )
