"""Measure the model's denoising error on every training image and timestep: the residual of DAS."""

import json
from pathlib import Path

import numpy as np

from das import artifacts, cli, evaluation, models, noise, resume
from das.diffusion import Schedule, choose_timesteps
from das.images import read_images


def run(arguments):
    settings = json.loads(arguments.settings)
    pipeline = models.load_pipeline(arguments.model, cli.choose_device(arguments.device))
    weights = models.weights_sha256(arguments.model)
    schedule = Schedule.of(pipeline.scheduler)
    timesteps = choose_timesteps("uniform", settings["timesteps"], len(schedule))
    identity = settings | {"weights": weights, "images": artifacts.file_sha256(arguments.images)}
    key = resume.job_key(identity, code=(evaluation, noise))
    with resume.job_state(arguments.resume, "errors", key) as state:
        draws = [
            evaluation.measure_errors(
                pipeline.unet,
                schedule,
                read_images(arguments.images),
                timesteps,
                purpose="errors/train",
                seed=settings["seed"],
                draw=draw,
                rows=arguments.rows,
                state=state,
            )
            for draw in range(settings["draws"])
        ]
        with artifacts.write(arguments.output, "errors", arguments.dataset, settings, weights) as file:
            file["error"] = np.mean(draws, axis=0)
            file["timesteps"] = timesteps


options = cli.compute_options(cli.parser(__doc__))
options.add_argument("--model", type=Path, required=True, help="pipeline folder")
options.add_argument("--images", type=Path, required=True)
options.add_argument("--settings", required=True, help="JSON: timesteps, draws, seed")
options.add_argument("--rows", type=int, default=128, help="(image, timestep) pairs to run at once")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
