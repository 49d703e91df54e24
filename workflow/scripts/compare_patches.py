"""Weigh training images by how much their patches explain those of a split's noised queries."""

import json
from pathlib import Path

import numpy as np
from diffusers import DDPMScheduler

from das import cli
from das.diffusion.inputs import read_inputs
from das.diffusion.patches import compare_patches
from das.diffusion.process import Schedule
from das.errors import UserError
from das.jobs import artifacts, resume
from das.jobs.device import choose_device
from das.pipelines.weight_files import read_json


def run(arguments):
    settings = json.loads(arguments.settings)
    train, queries = read_inputs(arguments.train), read_inputs(arguments.queries)
    if queries.shape != train.shape:
        raise UserError(
            f"{arguments.queries}: images have shape {queries.shape}, but those of {arguments.train} have "
            f"{train.shape}"
        )
    schedule = Schedule.of(DDPMScheduler.from_config(read_json(arguments.schedule)))
    files = (arguments.train, arguments.queries, arguments.schedule)
    identity = settings | {"split": arguments.split, "files": [artifacts.file_sha256(file) for file in files]}
    key = resume.job_key(identity, "", "compare_patches.py")
    device = choose_device(arguments.device)
    with resume.job_state(arguments.resume, "patches", key) as state:
        parts = compare_patches(train, queries, schedule, settings, arguments.split, device, state)
        with artifacts.write(arguments.output, "patches", arguments.dataset, settings) as file:
            # By training images, of which methods read some at a time.
            weights = file.create_dataset("weights", (len(train), len(queries)), np.float32)
            done = 0
            for part in parts:
                weights[:, done : done + len(part)] = part.T
                done += len(part)


options = cli.compute_options(cli.parser(__doc__))
options.add_argument("--train", type=Path, required=True, help="training images, or their latents")
options.add_argument("--queries", type=Path, required=True, help="query images, or their latents")
options.add_argument("--split", required=True, help="which the queries are, val or gen")
options.add_argument("--schedule", type=Path, required=True, help="noise schedule of the model, in JSON")
options.add_argument("--settings", required=True, help="JSON: timesteps, size, halved, seed")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
