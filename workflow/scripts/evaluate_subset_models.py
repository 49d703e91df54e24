"""Measure the losses of retrained models on the query images, held-out and generated."""

import json
from pathlib import Path

from das import cli
from das.diffusion import denoising_error, inputs, models
from das.diffusion.precision import choose_precision
from das.jobs import artifacts, resume
from das.jobs.device import choose_device
from das.plan.paths import parse_model_name


def run(arguments):
    settings = json.loads(arguments.settings)
    device = choose_device(arguments.device)
    paths = {"val": arguments.val, "gen": arguments.gen}
    queries = {split: inputs.read_inputs(path) for split, path in paths.items()}
    names = {name: models.weights_sha256(arguments.models / name) for name in arguments.names}
    files = [artifacts.file_sha256(path) for path in paths.values()]
    identity = settings | {
        "models": names,
        "images": files,
        "chosen": choose_precision(settings["precision"], device),
    }
    if arguments.timesteps:
        identity["chosen_timesteps"] = artifacts.file_sha256(arguments.timesteps)
    family = models.family_of(arguments.models / arguments.names[0])
    key = resume.job_key(identity, family, "evaluate_subset_models.py")
    with resume.job_state(arguments.resume, "evaluate", key) as state:
        for name, weights in names.items():
            model = models.load(arguments.models / name, device)
            for split, images in queries.items():
                model.require(images, paths[split])
            subset, seed = parse_model_name(name)
            with artifacts.write(
                arguments.output / f"{name}.h5",
                "losses",
                arguments.dataset,
                settings,
                weights,
                subset=subset,
                seed=seed,
                training_seconds=models.training_seconds(arguments.models / name),
            ) as file:
                for split, images in queries.items():
                    file[split] = denoising_error.query_losses(
                        model,
                        images,
                        range(len(images)),
                        split,
                        settings,
                        arguments.timesteps,
                        seed if settings["noise"] == "by_seed" else 0,
                        arguments.rows,
                        state / name,
                    )


options = cli.compute_options(cli.parser(__doc__))
options.add_argument("--models", type=Path, required=True, help="folder of the models' folders")
options.add_argument("--names", nargs="+", required=True, help="which models, such as subset-07_seed-1")
options.add_argument("--val", type=Path, required=True, help="images, or their latents")
options.add_argument("--gen", type=Path, required=True)
options.add_argument("--settings", required=True, help="JSON: timesteps or budget, draws, noise, precision")
options.add_argument("--timesteps", type=Path, help="at which losses are measured; without it, uniform ones")
options.add_argument("--rows", type=int, default=128, help="(image, timestep) pairs to run at once")
options.add_argument("--output", type=Path, required=True, help="folder of one file per model")
cli.main(run, options)
