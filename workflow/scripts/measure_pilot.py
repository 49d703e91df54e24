"""Measure where a few retrained models err: their errors on some queries at timesteps spread over all."""

import json
from pathlib import Path

import numpy as np

from das import cli
from das.diffusion import denoising_error, inputs, models, pilot, process
from das.diffusion.precision import choose_precision
from das.jobs import artifacts, resume
from das.jobs.device import choose_device


def run(arguments):
    settings = json.loads(arguments.settings)
    device = choose_device(arguments.device)
    paths = {"val": arguments.val, "gen": arguments.gen}
    queries = {split: inputs.read_inputs(path) for split, path in paths.items()}
    weights = {name: models.weights_sha256(arguments.models / name) for name in arguments.names}
    identity = settings | {
        "models": weights,
        "images": [artifacts.file_sha256(path) for path in paths.values()],
        "chosen": choose_precision(settings["precision"], device),
    }
    family = models.family_of(arguments.models / arguments.names[0])
    key = resume.job_key(identity, family, "measure_pilot.py")
    with resume.job_state(arguments.resume, "pilot", key) as state:
        errors = {split: [] for split in paths}
        for name in weights:
            model = models.load(arguments.models / name, device)
            steps = len(model.schedule)
            timesteps = process.choose_timesteps("uniform", min(settings["timesteps"], steps), steps)
            for split, images in queries.items():
                model.require(images, paths[split])
                draws = denoising_error.query_errors(
                    model,
                    images,
                    range(min(settings["queries"], len(images))),
                    [timesteps] * settings["draws"],
                    f"pilot/{split}",
                    0,
                    settings["precision"],
                    arguments.rows,
                    state / name,
                )
                errors[split].append(np.stack(list(draws)))
        with artifacts.write(
            arguments.output,
            pilot.KIND,
            arguments.dataset,
            settings,
            models=list(weights),
            model_weights=list(weights.values()),
            steps=steps,
        ) as file:
            file["timesteps"] = timesteps
            for split, of_models in errors.items():
                file[split] = np.stack(of_models)


options = cli.compute_options(cli.parser(__doc__))
options.add_argument("--models", type=Path, required=True, help="folder of the models' folders")
options.add_argument("--names", nargs="+", required=True, help="which models, such as subset-07_seed-1")
options.add_argument("--val", type=Path, required=True, help="images, or their latents")
options.add_argument("--gen", type=Path, required=True)
options.add_argument("--settings", required=True, help="JSON: queries, timesteps, draws, precision")
options.add_argument("--rows", type=int, default=128, help="(image, timestep) pairs to run at once")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
