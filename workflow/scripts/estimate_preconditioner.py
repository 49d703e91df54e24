"""Estimate a preconditioner of gradients over the training images: eigenvectors and eigenvalues by EK-FAC."""

import json

from das import cli
from das.diffusion.shard_job import open_shard
from das.gradients import ekfac
from das.gradients.features import SplitGradients
from das.jobs import resume


def run(arguments):
    settings = json.loads(arguments.settings)
    job = open_shard(arguments, settings, settings["precision"])
    key = resume.job_key(job.identity, job.model.family, "estimate_preconditioner.py")

    def make_gradients(coordinates):
        return SplitGradients(
            job.model.network,
            job.model.schedule,
            ekfac.probe_settings(settings),
            split="train",
            rows=arguments.rows,
            precision=job.dtype,
            section=f"preconditioners.{arguments.preconditioner}",
            coordinates=coordinates,
        )

    with resume.job_state(arguments.resume, "preconditioner", key) as state:
        ekfac.estimate_preconditioner(
            job.model.network,
            make_gradients,
            settings,
            job.images,
            arguments.output,
            arguments.dataset,
            job.weights,
            job.dtype,
            state,
            arguments.checkpoint_seconds,
        )


options = cli.shard_options(cli.parser(__doc__))
options.add_argument("--preconditioner", required=True, help="its name in the configuration")
options.add_argument("--settings", required=True, help="JSON: timesteps, noise, parameters")
options.add_argument("--checkpoint-seconds", type=float, default=60, help="between two saved states")
cli.main(run, options)
