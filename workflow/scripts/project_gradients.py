"""Project the per-image gradients of one shard of a split into HDF5."""

import dataclasses
import json

from das import artifacts, cli, features, inputs, models, resume
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
        dimension, blocks = features.project(
            model.network,
            model.schedule,
            images,
            indices,
            settings,
            split=arguments.split,
            rows=arguments.rows,
            state=state,
            precision=dtype,
        )
        with artifacts.write(
            arguments.output,
            "features",
            arguments.dataset,
            dataclasses.asdict(settings),
            weights,
            precision=str(dtype),
            split=arguments.split,
            first=indices.start,
            count=len(indices),
        ) as file:
            array = file.create_dataset("features", (len(indices), dimension), "float32")
            row = 0
            for block in blocks:
                array[row : row + len(block)] = block
                row += len(block)


options = cli.shard_options(cli.parser(__doc__))
options.add_argument("--split", required=True, help="train, val or gen")
options.add_argument("--settings", required=True, help="JSON of das.features.FeatureSettings")
cli.main(run, options)
