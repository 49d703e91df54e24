"""Scripts that jobs run, and the modules that decide their results, as Snakemake takes them for inputs."""

from __future__ import annotations

import os

from das.jobs.code import SCRIPTS, code_of
from das.plan.paths import nameable
from das.plan.plan import Plan, Wildcards


def script_file(name: str) -> str:
    """A script, or a module, seen from the working folder."""
    return f"{nameable(os.path.relpath(SCRIPTS))}/{name}"


def script_code(plan: Plan, wildcards: Wildcards, name: str) -> list[str]:
    """The modules that decide the result of a script, for the data set that a path names."""
    settings = plan.datasets.get(wildcards.get("dataset"), {"model": {}, "source": {}})
    family, source = settings["model"].get("family"), settings["source"].get("kind")
    return [script_file(file) for file in code_of(name, family=family, source=source)]
