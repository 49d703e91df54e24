"""Generate each query again with a model that was trained on other images, and measure what has changed."""

import json
from pathlib import Path

from das import cli
from das.counterfactual.outcomes import KIND
from das.counterfactual.regeneration import regenerate
from das.data import subsets
from das.data.images import read_images
from das.diffusion import inputs, models
from das.diffusion.clip import Clip
from das.diffusion.precision import choose_precision
from das.diffusion.sampling import GenerationSettings
from das.jobs import artifacts, resume
from das.jobs.device import choose_device
from das.plan.paths import model_name


def run(arguments):
    device = choose_device(arguments.device)
    settings, generated = json.loads(arguments.settings), json.loads(arguments.generation)
    queries, seen = read_images(arguments.queries), inputs.read_inputs(arguments.inputs)
    clip = Clip(arguments.clip, device) if arguments.clip else None
    original, weights = models.load(arguments.model, device), models.weights_sha256(arguments.model)
    original.require(seen, arguments.inputs)
    with artifacts.read(arguments.subsets, subsets.KIND) as artifact:
        removal, count = artifact.settings, artifact.shape("membership")[0]
    folders = [arguments.models / model_name(query, arguments.seed) for query in range(count)]
    identity = settings | {
        "generation": generated,
        "models": [weights, *map(models.weights_sha256, folders)],
        "images": artifacts.file_sha256(arguments.inputs),
        "chosen": choose_precision(settings["precision"], device),
    }
    if arguments.timesteps:
        identity["chosen_timesteps"] = artifacts.file_sha256(arguments.timesteps)
    key = resume.job_key(identity, original.family, "regenerate_images.py")
    with resume.job_state(arguments.resume, "regenerate", key) as state:
        sampling = GenerationSettings(**generated)
        outcomes = regenerate(
            original,
            folders,
            queries,
            seen,
            sampling,
            settings,
            arguments.timesteps,
            arguments.rows,
            state,
            clip,
        )
        with artifacts.write(
            arguments.output,
            KIND,
            arguments.dataset,
            {"losses": settings, "generation": generated, "removal": removal},
            weights,
            training_seconds=sum(map(models.training_seconds, folders)),
        ) as file:
            for name, values in outcomes.items():
                file[name] = values


options = cli.compute_options(cli.parser(__doc__))
options.add_argument("--model", type=Path, required=True, help="folder of the model trained on all images")
options.add_argument("--models", type=Path, required=True, help="folder of the retrained models' folders")
options.add_argument("--seed", type=int, required=True, help="that they were trained with")
options.add_argument(
    "--subsets", type=Path, required=True, help="what the model of each query was trained on"
)
options.add_argument("--queries", type=Path, required=True, help="generated images")
options.add_argument("--inputs", type=Path, required=True, help="the same, or their latents")
options.add_argument("--generation", required=True, help="JSON of das.diffusion.sampling.GenerationSettings")
options.add_argument("--settings", required=True, help="JSON: timesteps or budget, draws, precision")
options.add_argument("--timesteps", type=Path, help="at which losses are measured; without it, uniform ones")
options.add_argument("--rows", type=int, default=128, help="(image, timestep) pairs to run at once")
options.add_argument("--clip", type=Path, help="folder of a CLIP model, to compare embeddings too")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
