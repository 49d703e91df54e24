"""Sum up the Gauss-Newton kernel over one shard of the training images."""

import dataclasses
import json

from das import artifacts, cli, features, gauss_newton, inputs, models, resume
from das.outputs import PROBE
from das.precision import prepare_network


def run(arguments):
    settings = features.FeatureSettings(PROBE, normalise=False, **json.loads(arguments.settings))
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
        "indices": [indices.start, indices.stop],
    }
    key = resume.job_key(identity, "kernels", model.family)
    with resume.job_state(arguments.resume, "kernel", key) as state:
        gradients = features.SplitGradients(
            model.network,
            model.schedule,
            settings,
            split="train",
            rows=arguments.rows,
            precision=dtype,
            section=f"kernels.{arguments.kernel}",
        )
        gauss_newton.sketch_kernel(
            gradients,
            images,
            indices,
            arguments.output,
            arguments.dataset,
            weights,
            dtype,
            state,
            arguments.checkpoint_seconds,
        )


options = cli.shard_options(cli.parser(__doc__))
options.add_argument("--kernel", required=True, help="its name in the configuration")
options.add_argument("--settings", required=True, help="JSON: timesteps, noise, projection, parameters")
options.add_argument("--checkpoint-seconds", type=float, default=60, help="between two saved states")
cli.main(run, options)
