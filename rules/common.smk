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
        Path(workflow.basedir, "config", "datasets"),
        config["datasets"],
        schemas / "dataset.schema.yaml",
    )
    for settings in DATASETS.values():
        settings["unet"] = os.path.relpath(Path(workflow.basedir, settings["unet"]))
except UserError as error:
    fail(error)

if not workflow.deployment_settings.deployment_method:
    # Scripts run in this environment, whether or not it has been activated.
    shell.prefix(f"export PATH={os.path.dirname(sys.executable)}:$PATH; ")


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
    if not os.path.exists(DATASETS[name]["unet"]):
        fail(f"{name}: unet: no file {DATASETS[name]['unet']!r}, expected a UNet's configuration in JSON")
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
    """Scripts and modules that a result depends on: when they change, it is made again."""
    return [f"{SCRIPTS}/{name}" for name in names]


def model_files(folder):
    """The files of a saved model."""
    return [f"{folder}/{name}" for name in paths.MODEL_FILES]


# Where the archive of CIFAR-10 is downloaded to.
CIFAR10 = "data/cifar-10-binary.tar.gz"


def archive(wildcards):
    """The archive that a data set is read from; none for an embedded one."""
    source = dataset(wildcards)["source"]
    if source["kind"] == "digits":
        return []
    if "path" in source and not os.path.exists(source["path"]):
        fail(f"{wildcards.dataset}: source.path: no file {source['path']!r}, expected cifar-10-binary.tar.gz")
    return source.get("path", CIFAR10)


def shards(features, split):
    """An input function: the shards of some features of a split."""

    def files(wildcards):
        settings = dataset(wildcards)
        counts = settings["split"] | {"gen": settings["generate"]["count"]}
        chosen = split.format(**wildcards)
        number = -(-counts[chosen] // settings["jobs"]["images_per_shard"])
        folder = f"results/{wildcards.dataset}/gradients/{features(wildcards)}/{chosen}"
        return [f"{folder}/shard-{shard:03d}.h5" for shard in range(number)]

    return files


def feature_settings(wildcards):
    """What makes features: output function and normalisation, timesteps, noise and projection, as JSON."""
    if wildcards.features not in config["features"]:
        fail(f"features: no {wildcards.features!r}, known are {', '.join(config['features'])}")
    return json.dumps(config["features"][wildcards.features] | dataset(wildcards)["gradients"])


def subset_model_names(settings):
    """Names of all subset models of a data set."""
    return [
        paths.model_name(subset, seed)
        for seed in settings["lds"]["train_seeds"]
        for subset in range(settings["lds"]["subsets"])
    ]


def subset_model_jobs():
    """(data set, suffix of the rules' names, models of a job) for every job of rules/subset_models.smk."""
    for name, settings in DATASETS.items():
        size, models = settings["jobs"]["models_per_job"], subset_model_names(settings)
        if size == 1:
            yield name, name, ["subset-{subset}_seed-{seed}"]
        else:
            for job, first in enumerate(range(0, len(models), size)):
                yield name, f"{name}_{job}", models[first : first + size]


def method(wildcards):
    """The configuration of the method that a path names."""
    if wildcards.method not in config["methods"]:
        fail(f"methods: no {wildcards.method!r}, known are {', '.join(config['methods'])}")
    return config["methods"][wildcards.method]


def features_of(wildcards):
    """The features that a method uses."""
    return method(wildcards)["features"]


def scoring_inputs(wildcards):
    """Files that a method's scores are computed from, by name."""
    score = METHODS[method(wildcards)["score"]]
    folder = f"results/{wildcards.dataset}"
    home = score.score.__module__.replace(".", "/")
    files = {"code": lib("das/scoring.py", "das/kernel.py", f"{home}.py")}
    if "features" in score.inputs:
        files["train_features"] = shards(features_of, "train")(wildcards)
        files["query_features"] = shards(features_of, "{split}")(wildcards)
    if "errors" in score.inputs:
        files["train_errors"] = f"{folder}/errors/train.h5"
    if "images" in score.inputs:
        files["train_images"] = f"{folder}/images/train.h5"
        files["query_images"] = f"{folder}/images/{wildcards.split}.h5"
    return files


def scoring_options(wildcards, input):
    """Command line options for those files."""
    names = (
        "train_features",
        "query_features",
        "train_errors",
        "train_images",
        "query_images",
    )
    return " ".join(f"--{n.replace('_', '-')} {input[n]}" for n in names if n in input.keys())
