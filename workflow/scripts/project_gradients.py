"""Project the per-image gradients of one shard of a split into HDF5, of several features in one pass."""

import dataclasses
import json
from contextlib import ExitStack
from pathlib import Path

from das import cli
from das.diffusion import models
from das.diffusion.shard_job import open_shard
from das.gradients import ekfac, features
from das.jobs import resume
from das.jobs.artifacts import file_sha256
from das.plan.paths import is_member


def run(arguments):
    entries = json.loads(arguments.settings)
    if arguments.preconditioner:
        for entry in entries.values():
            entry["preconditioner"]["sha256"] = file_sha256(arguments.preconditioner)
    named = {name: features.FeatureSettings(**entry) for name, entry in entries.items()}
    settings = tuple(named.values())
    job = open_shard(arguments, {"split": arguments.split}, settings[0].precision)
    # Of each feature alone: it continues in whatever company it is in next time.
    keys = [
        resume.job_key(dataclasses.asdict(each) | job.identity, job.model.family, "project_gradients.py")
        for each in settings
    ]
    with ExitStack() as held:
        # In one order, lest two jobs wait for each other.
        states = {
            key: held.enter_context(resume.job_state(arguments.resume, "gradients", key))
            for key in sorted(set(keys))
        }
        gradients = features.SplitGradients(
            job.model.network,
            job.model.schedule,
            *settings,
            split=arguments.split,
            rows=arguments.rows,
            precision=job.dtype,
            section=f"features.{next(iter(named))}",
            coordinates=coordinates(arguments, job, settings[0]),
        )
        blocks = features.project(gradients, job.images, job.indices, *(states[key] for key in keys))
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


def coordinates(arguments, job, settings):
    if not arguments.preconditioner:
        return None
    return ekfac.read_preconditioner(
        arguments.preconditioner,
        settings.preconditioner["damping"],
        job.model.network,
        settings.parameters,
        arguments.dataset,
        job.weights,
    )


options = cli.shard_options(cli.parser(__doc__), outputs="+")
options.add_argument("--split", required=True, help="train, val or gen")
options.add_argument("--preconditioner", type=Path, help="of features that have one")
options.add_argument(
    "--settings", required=True, help="JSON: name and das.gradients.features.FeatureSettings of each output"
)
cli.main(run, options)
