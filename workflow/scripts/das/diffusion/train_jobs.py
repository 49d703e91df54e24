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
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from numpy.typing import NDArray

from das.diffusion import models
from das.diffusion.inputs import Inputs, read_inputs
from das.diffusion.precision import choose_precision, prepare_network
from das.diffusion.training import (
    TrainSettings,
    check_shares,
    checkpoint_file,
    checkpoint_step,
    load_weights,
    read_seconds,
    total_steps,
    train,
)
from das.errors import UserError
from das.jobs.artifacts import file_sha256
from das.jobs.device import choose_device
from das.jobs.resume import job_key, job_state
from das.jobs.stop import Stopped
from das.plan.paths import checkpoint_folder


@dataclass(frozen=True)
class Training:
    """One model to train: its name, its images (indices into the training set), its seed, where it goes.

    `checkpoints` are percents of its steps after which it is saved too, in `checkpoint_folder`.
    """

    name: str
    members: NDArray[np.int64]
    seed: int
    folder: Path
    checkpoints: tuple[int, ...] = ()


def start_processes(count: int) -> bool:
    """Run the calling script in `count` processes; False where that has happened or one will do.

    Raises:
        UserError: one of the processes failed; its own message has been printed.
        Stopped: a signal came, which the processes were told of and have answered.
    """
    if count == 1 or "RANK" in os.environ:
        return False
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, rdzv_backend="c10d", rdzv_endpoint="localhost:0"
    )
    try:
        elastic_launch(config, sys.executable)(*sys.argv)
    except SignalException as error:
        raise Stopped(error.sigval) from error
    except ChildFailedError as error:
        raise UserError(f"one of the {count} training processes failed; see the line above") from error
    return True


def train_models(
    images: Inputs,
    trainings: Sequence[Training],
    model: dict[str, Any],
    settings: TrainSettings,
    provenance: dict[str, Any],
    *,
    device: str,
    resume: Path,
    checkpoint_seconds: float,
    tracking: str,
) -> None:
    """Train models and save each, and its checkpoints.

    Args:
        images: what all of them are trained on, or on a part of.
        model: what the family's `resolve` returned.
        provenance: what is stored beside each model, with its seed, the settings and the seconds that its
            training took added; it has to tell the images from others.
        resume: folder for unfinished work; a job that was killed continues there.

    Raises:
        UserError: see `das.diffusion.training.train`.
    """
    tracker = "tensorboard" if tracking == "tensorboard" else None
    chosen_device = choose_device(device)
    precision = choose_precision(settings.precision, chosen_device)
    accelerator = Accelerator(
        cpu=chosen_device.type == "cpu",
        mixed_precision="no" if precision == "fp32" else precision,
        log_with=tracker,
        project_dir="logs/tensorboard",
        # Processes wait for the one that waits for an orphan of an earlier run, however long.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=30))],
    )
    if tracker:
        # Named by where the first model goes, since models of one name are trained for several ends.
        accelerator.init_trackers("-".join(trainings[0].folder.parts[1:]))
    family = models.family(model["family"])
    recipe = {"train": dataclasses.asdict(settings), "model": model, "precision": precision, **provenance}
    identity = [
        (t.name, t.seed, hashlib.sha256(t.members.tobytes()).hexdigest(), t.checkpoints) for t in trainings
    ]
    key = job_key(recipe | {"trainings": identity}, family.family, "das/diffusion/train_jobs.py")
    state = resume / f"train-{key}"
    with job_state(resume, "train", key) if accelerator.is_main_process else nullcontext():
        accelerator.wait_for_everyone()
        scale = accelerator.scaler.state_dict() if accelerator.scaler else None
        for job in trainings:
            if scale is not None:  # of fp16: no training inherits that of the one before
                accelerator.scaler.load_state_dict(scale)
            started, file = family.initial(model, job.seed), state / f"{job.name}.safetensors"
            steps = total_steps(len(job.members), settings)
            checkpoints = {percent: checkpoint_step(percent, steps) for percent in job.checkpoints}
            prepare_network(started.network, settings.precision, chosen_device)
            started.network = train(
                accelerator,
                started.network,
                started.schedule,
                images,
                job.members,
                settings,
                job.seed,
                file,
                name=job.name,
                checkpoints=checkpoints.values(),
                checkpoint_seconds=checkpoint_seconds,
            )
            if accelerator.is_main_process:
                origin = recipe | {"seed": job.seed}
                started.save(job.folder, origin | {"seconds": read_seconds(file)})
                for percent, step in checkpoints.items():
                    kept = checkpoint_file(file, step)
                    load_weights(kept, started.network)
                    origin["checkpoint"] = {"percent": percent, "step": step, "steps": steps}
                    folder = Path(checkpoint_folder(str(job.folder), percent))
                    started.save(folder, origin | {"seconds": read_seconds(kept)})
        accelerator.wait_for_everyone()
    accelerator.end_training()


def run(arguments: argparse.Namespace, choose: Callable[[int], list[Training]]) -> None:
    """What the scripts that train models do, with the options of `das.cli.training_options`.

    Args:
        choose: the trainings, given the number of training images.
    """
    settings = TrainSettings(**json.loads(arguments.settings))
    images = read_inputs(arguments.inputs)
    model = json.loads(arguments.model)
    model = models.family(model["family"]).resolve(model, images)
    trainings = choose(len(images))
    for job in trainings:
        check_shares(len(job.members), settings)
        for percent in job.checkpoints:
            checkpoint_step(percent, total_steps(len(job.members), settings))
    if start_processes(settings.processes):
        return
    train_models(
        images,
        trainings,
        model,
        settings,
        {"dataset": arguments.dataset, "inputs": file_sha256(arguments.inputs)},
        device=arguments.device,
        resume=arguments.resume,
        checkpoint_seconds=arguments.checkpoint_seconds,
        tracking=arguments.tracking,
    )
