"""Project the gradients along the sampling of one shard of the generated images into HDF5."""

import dataclasses
import json

from das import cli
from das.diffusion.sampling import GenerationSettings
from das.diffusion.shard_job import open_shard
from das.gradients import features, journey
from das.jobs import resume


def run(arguments):
    settings = features.FeatureSettings(**json.loads(arguments.settings))
    generation = GenerationSettings(**json.loads(arguments.generation))
    identity = dataclasses.asdict(settings) | {"generation": dataclasses.asdict(generation)}
    job = open_shard(arguments, identity, settings.precision)
    section = f"features.{arguments.features}"
    key = resume.job_key(job.identity, job.model.family, "project_journeys.py")
    with resume.job_state(arguments.resume, "journeys", key) as state:
        gradients = journey.journey_gradients(
            job.model, settings, generation, arguments.rows, job.dtype, section
        )
        blocks = journey.project_journeys(gradients, job.model, job.images, job.indices, generation, state)
        features.write(
            [arguments.output],
            arguments.dataset,
            job.weights,
            job.dtype,
            gradients,
            job.indices,
            blocks,
            queries="journey",
        )


options = cli.shard_options(cli.parser(__doc__))
options.add_argument("--features", required=True, help="their name in the configuration")
options.add_argument("--settings", required=True, help="JSON of das.gradients.features.FeatureSettings")
options.add_argument("--generation", required=True, help="JSON of das.diffusion.sampling.GenerationSettings")
cli.main(run, options)
