"""Project the gradients along the sampling of one shard of the generated images into HDF5."""

import dataclasses
import json

from das import artifacts, cli, features, inputs, journey, models, resume
from das.generation import GenerationSettings
from das.precision import prepare_network


def run(arguments):
    settings = features.FeatureSettings(**json.loads(arguments.settings))
    generation = GenerationSettings(**json.loads(arguments.generation))
    device = cli.choose_device(arguments.device)
    model = models.load(arguments.model, device)
    weights = models.weights_sha256(arguments.model)
    images = inputs.read_inputs(arguments.inputs)
    model.require(images, arguments.inputs)
    indices = cli.shard_indices(arguments, len(images))

    dtype = prepare_network(model.network, settings.precision, device)
    identity = dataclasses.asdict(settings) | {
        "generation": dataclasses.asdict(generation),
        "dtype": str(dtype),
        "weights": weights,
        "inputs": artifacts.file_sha256(arguments.inputs),
        "indices": [indices.start, indices.stop],
    }
    section = f"features.{arguments.features}"
    key = resume.job_key(identity, "journeys", model.family)
    with resume.job_state(arguments.resume, "journeys", key) as state:
        gradients = journey.journey_gradients(model, settings, generation, arguments.rows, dtype, section)
        blocks = journey.project_journeys(gradients, model, images, indices, generation, state)
        features.write(
            arguments.output,
            arguments.dataset,
            weights,
            dtype,
            gradients,
            indices,
            blocks,
            queries="journey",
        )


options = cli.shard_options(cli.parser(__doc__))
options.add_argument("--features", required=True, help="their name in the configuration")
options.add_argument("--settings", required=True, help="JSON of das.features.FeatureSettings")
options.add_argument("--generation", required=True, help="JSON of das.generation.GenerationSettings")
cli.main(run, options)
