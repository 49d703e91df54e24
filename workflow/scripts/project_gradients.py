"""Project the per-image gradients of one shard of a split into HDF5."""

import dataclasses
import json

from das import artifacts, cli, features, inputs, models, resume
from das.paths import is_member
from das.precision import prepare_network


def run(arguments):
    settings = features.FeatureSettings(**json.loads(arguments.settings))
    device = cli.choose_device(arguments.device)
    model = models.load(arguments.model, device)
    weights = models.weights_sha256(arguments.model)
    images = inputs.read_inputs(arguments.inputs)
    model.require(images, arguments.inputs)
    indices = cli.shard_indices(arguments, len(images))

    dtype = prepare_network(model.network, settings.precision, device)
    identity = dataclasses.asdict(settings) | {
        "dtype": str(dtype),
        "weights": weights,
        "inputs": artifacts.file_sha256(arguments.inputs),
        "split": arguments.split,
        "indices": [indices.start, indices.stop],
    }
    key = resume.job_key(identity, "gradients", model.family)
    with resume.job_state(arguments.resume, "gradients", key) as state:
        gradients = features.SplitGradients(
            model.network,
            model.schedule,
            settings,
            split=arguments.split,
            rows=arguments.rows,
            precision=dtype,
            section=f"features.{arguments.features}",
        )
        blocks = features.project(gradients, images, indices, state)
        features.write(
            arguments.output,
            arguments.dataset,
            weights,
            dtype,
            gradients,
            indices,
            blocks,
            training_seconds=models.training_seconds(arguments.model) if is_member(arguments.model) else 0.0,
        )


options = cli.shard_options(cli.parser(__doc__))
options.add_argument("--features", required=True, help="their name in the configuration")
options.add_argument("--split", required=True, help="train, val or gen")
options.add_argument("--settings", required=True, help="JSON of das.features.FeatureSettings")
cli.main(run, options)
