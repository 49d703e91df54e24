"""Project the per-image gradients of one shard of a split into HDF5."""

import dataclasses
import json

from das import cli
from das.diffusion import models
from das.diffusion.shard_job import open_shard
from das.gradients import features
from das.jobs import resume
from das.plan.paths import is_member


def run(arguments):
    settings = features.FeatureSettings(**json.loads(arguments.settings))
    identity = dataclasses.asdict(settings) | {"split": arguments.split}
    job = open_shard(arguments, identity, settings.precision)
    key = resume.job_key(job.identity, job.model.family, "project_gradients.py")
    with resume.job_state(arguments.resume, "gradients", key) as state:
        gradients = features.SplitGradients(
            job.model.network,
            job.model.schedule,
            settings,
            split=arguments.split,
            rows=arguments.rows,
            precision=job.dtype,
            section=f"features.{arguments.features}",
        )
        blocks = features.project(gradients, job.images, job.indices, state)
        features.write(
            arguments.output,
            arguments.dataset,
            job.weights,
            job.dtype,
            gradients,
            job.indices,
            blocks,
            training_seconds=models.training_seconds(arguments.model) if is_member(arguments.model) else 0.0,
        )


options = cli.shard_options(cli.parser(__doc__))
options.add_argument("--features", required=True, help="their name in the configuration")
options.add_argument("--split", required=True, help="train, val or gen")
options.add_argument("--settings", required=True, help="JSON of das.gradients.features.FeatureSettings")
cli.main(run, options)
