"""Sum up the Gauss-Newton kernel over one shard of the training images."""

import dataclasses
import json

from das import cli
from das.diffusion.shard_job import open_shard
from das.gradients import features, gauss_newton
from das.gradients.output_functions import PROBE
from das.jobs import resume


def run(arguments):
    settings = features.FeatureSettings(PROBE, normalise=False, **json.loads(arguments.settings))
    job = open_shard(arguments, dataclasses.asdict(settings), settings.precision)
    key = resume.job_key(job.identity, job.model.family, "sketch_kernel.py")
    with resume.job_state(arguments.resume, "kernel", key) as state:
        gradients = features.SplitGradients(
            job.model.network,
            job.model.schedule,
            settings,
            split="train",
            rows=arguments.rows,
            precision=job.dtype,
            section=f"kernels.{arguments.kernel}",
        )
        gauss_newton.sketch_kernel(
            gradients,
            job.images,
            job.indices,
            arguments.output,
            arguments.dataset,
            job.weights,
            job.dtype,
            state,
            arguments.checkpoint_seconds,
        )


options = cli.shard_options(cli.parser(__doc__))
options.add_argument("--kernel", required=True, help="its name in the configuration")
options.add_argument("--settings", required=True, help="JSON: timesteps, noise, projection, parameters")
options.add_argument("--checkpoint-seconds", type=float, default=60, help="between two saved states")
cli.main(run, options)
