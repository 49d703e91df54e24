"""Measure the model's denoising error on a shard of the training images: the residual of DAS."""

import json

import numpy as np

from das import artifacts, cli, diffusion, evaluation, inputs, models, resume
from das.precision import prepare_network


def run(arguments):
    settings = json.loads(arguments.settings)
    device = cli.choose_device(arguments.device)
    model = models.load(arguments.model, device)
    weights = models.weights_sha256(arguments.model)
    images = inputs.read_inputs(arguments.inputs)
    model.require(images, arguments.inputs)
    timesteps = diffusion.choose_timesteps("uniform", settings["timesteps"], len(model.schedule))
    indices = cli.shard_indices(arguments, len(images))
    dtype = prepare_network(model.network, settings["precision"], device)
    identity = settings | {
        "dtype": str(dtype),
        "weights": weights,
        "inputs": artifacts.file_sha256(arguments.inputs),
        "indices": [indices.start, indices.stop],
    }
    key = resume.job_key(identity, "errors", model.family)
    with resume.job_state(arguments.resume, "errors", key) as state:
        draws = [
            evaluation.measure_errors(
                model.network,
                model.schedule,
                images,
                indices,
                timesteps,
                purpose="errors/train",
                seed=settings["seed"],
                draw=draw,
                rows=arguments.rows,
                state=state,
                precision=dtype,
            )
            for draw in range(settings["draws"])
        ]
        with artifacts.write(
            arguments.output,
            "errors",
            arguments.dataset,
            settings,
            weights,
            precision=str(dtype),
            first=indices.start,
        ) as file:
            file["error"] = np.mean(draws, axis=0)
            file["timesteps"] = timesteps


options = cli.shard_options(cli.parser(__doc__))
options.add_argument("--settings", required=True, help="JSON: timesteps, draws, seed, precision")
cli.main(run, options)
