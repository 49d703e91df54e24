"""Configuration and small helpers for the other rule files.

Needs config/config.yaml and config/datasets/*.yaml; makes nothing. Never imports torch, so that a dry
run stays fast.
"""

import json
import os
import sys

SCRIPTS = os.path.relpath(f"{workflow.basedir}/workflow/scripts")
sys.path.insert(0, SCRIPTS)

from das import configuration, paths
from das.errors import UserError
from das.methods import METHODS


def fail(message):
    """End with one line and status 1; used for mistakes in the configuration or the command line."""
    sys.exit(f"error: {message}")


try:
    schemas = Path(workflow.basedir, "workflow", "schemas")
    config = configuration.validate(config, schemas / "config.schema.yaml", "config/config.yaml")
    configuration.check_methods(config, {name: method.inputs for name, method in METHODS.items()})
    DATASETS = configuration.load_datasets(
        Path(workflow.basedir, "config", "datasets"), config["datasets"], schemas / "dataset.schema.yaml"
    )
    for settings in DATASETS.values():
        settings["unet"] = os.path.relpath(Path(workflow.basedir, settings["unet"]))
except UserError as error:
    fail(error)

# The interpreter of this environment, so that the scripts find their packages without activating it.
PYTHON = sys.executable
# How to run is no parameter of a rule: changing it must not make anything run again.
COMPUTE = f"--device {config['execution']['device']}"
TRAINING = (
    f"{COMPUTE} --checkpoint-seconds {config['execution']['checkpoint_seconds']} "
    f"--tracking {config['execution']['tracking']}"
)


wildcard_constraints:
    dataset=r"\w+",
    features=r"\w+",
    method=r"\w+",
    split="train|val|gen",
    shard=r"\d{3}",
    subset=r"\d\d+",
    seed=r"\d+",


def dataset(wildcards):
    """The settings of the data set that a path names."""
    name = wildcards.dataset
    if name not in DATASETS:
        fail(f"results/{name}: no data set {name!r}, known are {', '.join(DATASETS)}")
    return DATASETS[name]


def as_json(values):
    """A params function that returns the values as JSON, whose braces Snakemake must not read as wildcards."""
    return lambda wildcards: json.dumps(values)


def section(name, *without):
    """A params function: one section of the data set's settings as JSON, `without` some keys."""

    def as_json(wildcards):
        return json.dumps({k: v for k, v in dataset(wildcards)[name].items() if k not in without})

    return as_json


def setting(*keys):
    """A params or resources function: one value of the data set's settings."""

    def value(wildcards):
        found = dataset(wildcards)
        for key in keys:
            found = found[key]
        return found

    return value


def lib(*names):
    """Scripts and modules whose change makes a rule run again: those that its result depends on."""
    return [f"{SCRIPTS}/{name}" for name in names]


def model_files(folder):
    """The files of a saved model."""
    return [f"{folder}/{name}" for name in paths.MODEL_FILES]
