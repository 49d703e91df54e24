"""What the job of a rule asks a scheduler for, by its wildcards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from das.jobs.code import SCRIPTS
from das.plan import configuration
from das.plan.needs import JobNeeds, Needs
from das.plan.passes import pass_settings
from das.plan.plan import Plan, Wildcards
from das.plan.pools import counterfactual
from das.plan.shards import gradient_settings, gradients_of, patch_settings
from das.plan.work import Work

# Of docs/cost.md: a data set's own, and that of config/economical.yaml.
PROTOCOLS = ("published", "economical")


def needs(
    plan: Plan, wildcards: Wildcards, kind: str, models: int = 1, features: Sequence[str] = ()
) -> Needs:
    """What a job needs.

    Args:
        kind: of the job, see `das.plan.needs.JobNeeds`; "train" on all images, and the name of a pool on its
            subsets.
        models: that it trains, or evaluates.
        features: of a gradient pass that makes several.

    Raises:
        UserError: the size of the data set's network cannot be told.
    """
    settings = plan.dataset(wildcards)
    work, job = Work(settings), job_needs(plan, wildcards.dataset)
    if kind == "train":
        return job.train(work.images["train"], saved=1 + len(settings["train"]["checkpoints"]))
    if kind == "evaluate":
        return job.evaluate(models)
    if kind == "pilot":
        return job.pilot()
    if kind == "generate":
        return job.generate(work.longest_generation)
    if kind == "regenerate":
        return job.regenerate(counterfactual(plan, wildcards)["queries"])
    if kind == "encode":
        return job.encode(work.images["train"])
    if kind == "errors":
        return job.errors(work.longest_shard("train"))
    if kind == "gradients":
        together = pass_settings(plan, wildcards, features).values()
        return job.gradients(work.longest_shard(wildcards.split), *together)
    if kind == "journeys":
        return job.journeys(work.longest_shard("gen"), gradient_settings(plan, wildcards))
    if kind == "kernel":
        return job.kernel(work.longest_shard("train"), gradient_settings(plan, wildcards))
    if kind == "preconditioner":
        return job.preconditioner(gradient_settings(plan, wildcards))
    if kind == "join_kernel":
        return job.join_kernel(gradient_settings(plan, wildcards))
    if kind == "patches":
        return job.patches(work.images[wildcards.split], patch_settings(plan, wildcards))
    if kind == "gram":
        return job.gram(gradient_settings(plan, wildcards))
    if kind == "score":
        method = plan.method(wildcards)
        if method.features is None:
            return job.score(0)
        own = gradients_of(settings, plan.extended["features"][method.features])
        return job.score(method.dimension or own["dimension"])
    return job.train(work.members(kind), models)


@cache
def job_needs(plan: Plan, name: str) -> JobNeeds:
    """What the jobs of a data set need."""
    return JobNeeds(plan.datasets[name], plan.config["execution"])


def settings_json(plan: Plan, wildcards: Wildcards) -> str:
    """All settings of a data set as JSON."""
    return json.dumps(plan.dataset(wildcards))


def costed_json(plan: Plan, wildcards: Wildcards) -> str:
    """The sections of the configuration that decide what is made, as JSON."""
    costed = (
        "features",
        "kernels",
        "preconditioners",
        "patches",
        "clip",
        "methods",
        "attributions",
        "evaluation",
    )
    return json.dumps({name: plan.config[name] for name in costed})


def das_json(plan: Plan, wildcards: Wildcards) -> str:
    """The same for das alone."""
    costed = json.loads(costed_json(plan, wildcards))
    return json.dumps(costed | {"evaluation": costed["evaluation"] | {"methods": ["das"]}})


def protocol_json(plan: Plan, wildcards: Wildcards) -> str:
    """All settings of a data set as JSON, as published or with the changes of config/economical.yaml."""
    name, settings = wildcards.dataset, plan.dataset(wildcards)
    if wildcards.protocol == "published":
        return json.dumps(settings)
    home = SCRIPTS.parents[1]
    changes = configuration.load_yaml(home / "config/economical.yaml")["datasets"][name]
    given = {name: configuration.merge(plan.config["datasets"].get(name) or {}, changes)}
    schema = home / "workflow/schemas/dataset.schema.yaml"
    economical = configuration.load_dataset(name, home / "config/datasets", given, schema)
    return json.dumps(settings | {"lds": economical["lds"]})


def measured(plan: Plan, wildcards: Wildcards) -> str:
    """How many jobs of a data set have been measured, and when the last was: then its table is made anew."""
    files = list(Path("logs", wildcards.dataset).rglob("*.tsv"))
    return f"{len(files)} files, {max((file.stat().st_mtime for file in files), default=0):.0f}"


def gpu_model(plan: Plan, wildcards: Wildcards) -> str:
    """The type of GPU that a data set's jobs ask a cluster for; empty where any will do, or none."""
    return plan.config["execution"]["gpu_model"] if plan.dataset(wildcards)["jobs"]["gpus"] else ""


def sustained_tflops(plan: Plan, wildcards: Wildcards) -> str:
    """Assumed speed of the device that the data set's jobs run on, by precision, as JSON."""
    speeds = plan.config["execution"]["gpu_tflops"]
    if not plan.dataset(wildcards)["jobs"]["gpus"]:
        speeds = dict.fromkeys(speeds, plan.config["execution"]["cpu_tflops"])
    return json.dumps(speeds)
