"""Configuration and small helpers for the other rule files.

Needs config/config.yaml and config/datasets/*.yaml; makes nothing. Never imports torch, so that a dry
run stays fast.
"""

import json
import os
import re
import shlex
import sys

SCRIPTS = os.path.relpath(f"{workflow.basedir}/workflow/scripts")
sys.path.insert(0, SCRIPTS)

from das import configuration, paths
from das.code import code_of
from das.errors import UserError
from das.methods import METHODS
from das.sources.locate import fingerprint, locate
from das.sources.published import PUBLISHED, published_files


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
        if not os.path.isabs(settings["model"]["unet"]):
            settings["model"]["unet"] = os.path.relpath(Path(workflow.basedir, settings["model"]["unet"]))
except UserError as error:
    fail(error)

if not workflow.deployment_settings.deployment_method:
    # Scripts run in this environment, whether or not it has been activated.
    shell.prefix(f"export PATH={os.path.dirname(sys.executable)}:$PATH; ")


wildcard_constraints:
    dataset=r"\w+",
    features=r"\w+",
    kernel=r"\w+",
    method=r"\w+",
    split="train|val|gen",
    variant=r"(@(checkpoint|seed)-\d+)?",
    shard=r"\d{3}",
    subset=r"\d\d+",
    seed=r"\d+",


def dataset(wildcards):
    """The settings of the data set that a path names."""
    name = wildcards.dataset
    if name not in DATASETS:
        fail(f"results/{name}: no data set {name!r}, known are {', '.join(DATASETS)}")
    unet = DATASETS[name]["model"]["unet"]
    if not os.path.exists(unet):
        fail(f"{name}: model.unet: no file {unet!r}, expected a UNet's configuration in JSON")
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


def code(job):
    """An input function: the modules that decide the result of a kind of job."""
    return lambda wildcards: lib(
        *(f"das/{name}" for name in code_of(job, dataset(wildcards)["model"]["family"]))
    )


def model_files(folder):
    """An input function: the files of a saved model, which its family decides."""

    def files(wildcards):
        names = paths.MODEL_FILES[dataset(wildcards)["model"]["family"]]
        return [f"{folder}/{name}".format(**wildcards) for name in names]

    return files


def variant_files(wildcards):
    """The files of the model that the variant of features or errors names."""
    return model_files(f"results/{{dataset}}/{paths.variant_folder(wildcards.variant)}")(wildcards)


def datasets_of(family):
    """Names of the data sets with a model of a family, as a regular expression."""
    return "|".join(n for n, settings in DATASETS.items() if settings["model"]["family"] == family)


def located(wildcards):
    """The files that a data set's images are read from, besides those in a folder of images."""
    source = dataset(wildcards)["source"]
    try:
        published_files(source["kind"], source.get("files", {}))  # refuses names that do not exist
        return locate(source["kind"], source.get("path"), source.get("table"))
    except UserError as error:
        fail(f"{wildcards.dataset}: {error}")


# Modules that read each kind of source, besides those that all share.
SOURCE_CODE = {
    "digits": (),
    "cifar10": ("originals", "cifar10_hub", "encoded", "containers"),
    "artbench": ("originals", "encoded", "containers", "tables"),
    "celeba": ("originals", "encoded", "containers"),
    "folder": ("encoded", "containers", "tables", "locate"),
}


def source_code(wildcards):
    """The modules that read a data set's kind of source."""
    kind = dataset(wildcards)["source"]["kind"]
    hub = any(name.endswith(".parquet") for name in located(wildcards))
    names = ("base", "decoding", kind, *SOURCE_CODE[kind], *(("parquet",) if hub else ()))
    return lib(*(f"das/sources/{name}.py" for name in names))


def published_overrides(wildcards):
    """What data sets say of a published file in place of what is published, as JSON."""
    found = {}
    for name, settings in DATASETS.items():
        override = settings["source"].get("files", {}).get(wildcards.name)
        if override is not None and found.setdefault(wildcards.name, override) != override:
            fail(f"{name}: source.files.{wildcards.name}: another data set says otherwise; set source.path")
    return json.dumps(found)


def image_folder(wildcards):
    """Command line option for a folder of images."""
    source = dataset(wildcards)["source"]
    return f"--folder {shlex.quote(source['path'])}" if source["kind"] == "folder" else ""


def listing(wildcards):
    """Names and sizes of the images in a folder, hashed, so that other images are prepared anew."""
    source = dataset(wildcards)["source"]
    return fingerprint(source["path"]) if source["kind"] == "folder" else ""


def base_model_of(name):
    """The file that stands for the base model of a data set; none where there is no base model."""
    base = DATASETS[name]["model"].get("base")
    if base is None:
        return []
    folder = paths.base_model_folder(base)
    index = f"{folder}/model_index.json"
    if folder == base and not os.path.exists(index):
        fail(
            f"{name}: model.base: no file {index!r}, expected a Stable Diffusion 1 model in diffusers' "
            "format, or the name of one on the Hugging Face hub"
        )
    return [index]


def base_model(wildcards):
    """The same, as an input function."""
    return base_model_of(wildcards.dataset)


def inputs_folder(settings):
    """Where what the model sees of the images lies: they themselves, or their latents."""
    return "images" if settings["model"]["family"] == "unet" else "latents"


def inputs_of(split):
    """An input function: what the model sees of a split."""

    def file(wildcards):
        folder = inputs_folder(dataset(wildcards))
        return f"results/{wildcards.dataset}/{folder}/{split}.h5".format(**wildcards)

    return file


def shard_names(wildcards, split):
    """Names of the files in which the images of a split are worked on."""
    settings = dataset(wildcards)
    counts = settings["split"] | {"gen": settings["generate"]["count"]}
    number = -(-counts[split] // settings["jobs"]["images_per_shard"])
    return [f"shard-{shard:03d}.h5" for shard in range(number)]


def shard_files(folder, split):
    """An input function: the shards of a split in a folder."""

    def files(wildcards):
        chosen = split.format(**wildcards)
        where = folder(wildcards) if callable(folder) else folder.format(**wildcards)
        return [
            f"results/{wildcards.dataset}/{where}/{chosen}/{name}" for name in shard_names(wildcards, chosen)
        ]

    return files


def kernel_shards(wildcards):
    """The shards of the kernel that a path names."""
    folder = "results/{dataset}/kernels/{kernel}{variant}".format(**wildcards)
    return [f"{folder}/{name}" for name in shard_names(wildcards, "train")]


def feature_settings(wildcards):
    """What makes features: output function and normalisation, timesteps, noise and projection, as JSON."""
    if wildcards.features not in config["features"]:
        fail(f"features: no {wildcards.features!r}, known are {', '.join(config['features'])}")
    return json.dumps(dataset(wildcards)["gradients"] | config["features"][wildcards.features])


def kernel_settings(wildcards):
    """What makes a kernel: timesteps, noise and projection, as JSON."""
    if wildcards.kernel not in config["kernels"]:
        fail(f"kernels: no {wildcards.kernel!r}, known are {', '.join(config['kernels'])}")
    return json.dumps(dataset(wildcards)["gradients"] | config["kernels"][wildcards.kernel])


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
    """The folder of the features that a method uses."""
    return f"gradients/{method(wildcards)['features']}"


def scoring_inputs(wildcards):
    """Files that a method's scores are computed from, by name."""
    score = METHODS[method(wildcards)["score"]]
    folder = f"results/{wildcards.dataset}"
    home = score.score.__module__.replace(".", "/")
    files = {"code": lib("das/scoring.py", "das/kernel.py", "das/clean.py", f"{home}.py")}
    if "features" in score.inputs:
        files["train_features"] = shard_files(features_of, "train")(wildcards)
        files["query_features"] = shard_files(features_of, "{split}")(wildcards)
    if "errors" in score.inputs:
        files["train_errors"] = f"{folder}/errors/train.h5"
    if "images" in score.inputs:
        files["train_images"] = inputs_of("train")(wildcards)
        files["query_images"] = inputs_of("{split}")(wildcards)
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
