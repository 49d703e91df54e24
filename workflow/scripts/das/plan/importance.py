"""Losses at timesteps by importance: the pilot that says which matter, and what they are chosen by."""

from __future__ import annotations

import json

from das.errors import UserError
from das.plan.paths import model_paths
from das.plan.plan import Plan, Wildcards
from das.plan.pools import pool_models
from das.plan.resources import job_needs
from das.plan.work import PILOT, PILOT_MODELS, Work


def pilot_models(plan: Plan, wildcards: Wildcards) -> list[str]:
    """Names of the models of the pilot, the first of those that judge."""
    settings = plan.dataset(wildcards)
    if "budget" not in settings["lds"]:
        raise UserError(f"{wildcards.dataset}: lds.budget: not set; losses are measured at uniform timesteps")
    return pool_models(settings, "lds")[:PILOT_MODELS]


def pilot_files(plan: Plan, wildcards: Wildcards) -> list[str]:
    """Their files."""
    family = plan.dataset(wildcards)["model"]["family"]
    folder = f"results/{wildcards.dataset}/lds/models"
    return [
        file for model in pilot_models(plan, wildcards) for file in model_paths(f"{folder}/{model}", family)
    ]


def pilot_settings(plan: Plan, wildcards: Wildcards) -> str:
    """What the pilot measures, as JSON."""
    return json.dumps(PILOT | {"precision": plan.dataset(wildcards)["lds"]["precision"]})


def timesteps(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The file of the timesteps at which losses are measured; none where they are uniform."""
    chosen = "budget" in plan.dataset(wildcards)["lds"]
    return [f"results/{wildcards.dataset}/lds/timesteps.h5"] * chosen


def timesteps_option(plan: Plan, wildcards: Wildcards) -> str:
    """The command line option for it."""
    return " ".join(f"--timesteps {file}" for file in timesteps(plan, wildcards))


def costs(plan: Plan, wildcards: Wildcards) -> str:
    """Command line options for what each timestep costs: rows of all models that judge, and assumed hours."""
    settings = plan.dataset(wildcards)
    work = Work(settings)
    rows = work.models("lds") * work.queries * settings["lds"]["draws"]
    hours = job_needs(plan, wildcards.dataset).hours_of_losses(rows)
    return f"--rows {rows} --hours {hours:.3g}"
