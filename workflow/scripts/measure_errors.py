"""Measure the model's denoising error on a shard of the training images: the residual of DAS."""

import json

import numpy as np

from das import cli
from das.diffusion import denoising_error, process
from das.diffusion.shard_job import open_shard
from das.jobs import artifacts, resume


def run(arguments):
    settings = json.loads(arguments.settings)
    job = open_shard(arguments, settings, settings["precision"])
    timesteps = process.choose_timesteps("uniform", settings["timesteps"], len(job.model.schedule))
    key = resume.job_key(job.identity, job.model.family, "measure_errors.py")
    with resume.job_state(arguments.resume, "errors", key) as state:
        draws = [
            denoising_error.measure_errors(
                job.model.network,
                job.model.schedule,
                job.images,
                job.indices,
                timesteps,
                purpose="errors/train",
                seed=settings["seed"],
                draw=draw,
                rows=arguments.rows,
                state=state,
                precision=job.dtype,
            )
            for draw in range(settings["draws"])
        ]
        with artifacts.write(
            arguments.output,
            "errors",
            arguments.dataset,
            settings,
            job.weights,
            precision=str(job.dtype),
            first=job.indices.start,
        ) as file:
            file["error"] = np.mean(draws, axis=0)
            file["timesteps"] = timesteps


options = cli.shard_options(cli.parser(__doc__))
options.add_argument("--settings", required=True, help="JSON: timesteps, draws, seed, precision")
cli.main(run, options)
