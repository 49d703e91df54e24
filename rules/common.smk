"""Configuration and small helpers for the other rule files.

Needs config/config.yaml and config/datasets/*.yaml; makes nothing. Never imports torch, so that a dry
run stays fast.
"""

import hashlib
import itertools
import json
import os
import re
import shlex
import sys
from functools import lru_cache
from typing import NamedTuple

# Not by the path that Snakemake was called with: through a link, it would name other files than without.
HOME = os.path.realpath(workflow.basedir)
sys.path.insert(0, f"{HOME}/workflow/scripts")

from das import ablation, configuration, content, methods, own, paths
from das.attribution import JOURNEY, attributions, evaluated
from das.code import code_of
from das.errors import UserError
from das.sources.locate import locate
from das.sources.published import PUBLISHED, published_files

SCRIPTS = paths.nameable(os.path.relpath(f"{HOME}/workflow/scripts"))


def literally(text):
    """The text as Snakemake formats it to itself, whatever braces it holds."""
    return text.replace("{", "{{").replace("}", "}}")


ENVIRONMENT = literally(f"{HOME}/envs/das.yaml")


def fail(message):
    """End with one line and status 1; used for mistakes in the configuration or the command line."""
    sys.exit(f"error: {message}")


def errors_of_jobs(logs):
    """What failed jobs said, by logs of Snakemake."""
    text = "".join(Path(log).read_text() for log in logs)
    for path in dict.fromkeys(re.findall(r"^ +log: (.+) \(check log file", text, re.MULTILINE)):
        if os.path.exists(path):
            # Logs go on from one attempt to the next; the last line is of this one.
            yield from re.findall(r"error: .+(?=\n\Z)", Path(path).read_text())


try:
    schemas = Path(HOME, "workflow", "schemas")
    config = configuration.mark_texts(config, dict(workflow.config_settings.config))
    config = configuration.validate(config, schemas / "config.schema.yaml", "config/config.yaml")
    for module in config["method_modules"]:
        methods.load(module)
    # What lds.csv holds, and what ablation.csv holds besides.
    MAIN_METHODS = attributions(config)
    if paths.RANDOM in MAIN_METHODS:
        raise UserError(f"methods.{paths.RANDOM}: the name is that of random images, choose another")
    for key, name in (
        ("attributions.method", config["attributions"]["method"]),
        *(("evaluation.methods", name) for name in config["evaluation"]["methods"]),
        *(("report.methods", name) for name in config["report"]["methods"]),
        *(("counterfactual.methods", name) for name in config["counterfactual"]["methods"]),
    ):
        if name not in MAIN_METHODS:
            raise UserError(f"{key}: found {name!r}, allowed are {', '.join(MAIN_METHODS)}")
    ABLATION = ablation.changes(config)
    EXTENDED = ablation.extended(config)
    METHODS = attributions(EXTENDED)
except UserError as error:
    fail(error)

# Settings of the data sets, and mistakes in those of some, which stop only what needs these.
DATASETS, MISTAKES = {}, {}
for name in configuration.dataset_names(Path(HOME, "config/datasets"), config["datasets"]):
    try:
        settings = configuration.load_dataset(
            name, Path(HOME, "config/datasets"), config["datasets"], schemas / "dataset.schema.yaml"
        )
    except UserError as error:
        MISTAKES[name] = error
    else:
        DATASETS[name] = settings
        unet, own_network = settings["model"]["unet"], "path" in settings["model"]
        if not os.path.isabs(unet) and (not own_network or unet == own.STABLE_DIFFUSION):
            settings["model"]["unet"] = os.path.relpath(Path(HOME, unet))

# By name where a target names one: it may have a name that no rule matches, or be known to none.
for argument in sys.argv[1:]:
    if (named := re.match("results/([^/]+)/", argument)) and named[1] in MISTAKES:
        fail(MISTAKES[named[1]])

# Data sets with a model, or with queries, of the user's own; the others train, and generate.
OWN_MODELS = [name for name, settings in DATASETS.items() if "path" in settings["model"]]
OWN_QUERIES = [name for name, settings in DATASETS.items() if "folder" in settings["queries"]]
GENERATING = "|".join(name for name in DATASETS if name not in OWN_QUERIES)

if not workflow.deployment_settings.deployment_method:
    # Scripts run in this environment, whether or not it has been activated.
    shell.prefix(literally(f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; "))
# For jobs: glibc gives freed memory back, and a step of training on a CPU then waits for the same pages again.
# Either setting alone makes that worse. What a user has set stays.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 * 1024**2))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(256 * 1024**2))


wildcard_constraints:
    dataset=r"\w+",
    features=r"\w+",
    kernel=r"\w+",
    request="[0-9a-f]{12}",
    method=r"\w+",
    split="train|val|gen",
    test="|".join(paths.TESTS),
    variant=r"(@(checkpoint|seed)-\d+)?",
    shard=r"\d{3}",
    subset=r"\d\d+",
    seed=r"\d+",


def dataset(wildcards):
    """The settings of the data set that a path names."""
    name = wildcards.dataset
    if name in MISTAKES:
        fail(MISTAKES[name])
    if name not in DATASETS:
        fail(f"results/{name}: no data set {name!r}, known are {', '.join(DATASETS)}")
    require_usable(name)
    return DATASETS[name]


@lru_cache
def require_usable(name):
    """End with one line where files that a data set's settings name are missing or not supported."""
    try:
        own.require(DATASETS[name])
    except UserError as error:
        fail(f"{name}: {error}")
    unet = DATASETS[name]["model"]["unet"]
    if not os.path.exists(unet):
        fail(f"{name}: model.unet: no file {unet!r}, expected a UNet's configuration in JSON")


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


def shown(file, caption, category, name):
    """An output that Snakemake's own report shows (`snakemake --report`)."""
    return report(
        file,
        caption=f"../workflow/report/{caption}.rst",
        category=category,
        labels={"data set": "{dataset}", "what": name},
    )


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
        return paths.model_paths(folder.format(**wildcards), dataset(wildcards)["model"]["family"])

    return files


def variant_files(wildcards):
    """The files of the model that the variant of features or errors names."""
    kind, _, number = wildcards.variant.removeprefix("@").partition("-")
    saved = dataset(wildcards)["train"]["checkpoints"]
    if kind == "checkpoint" and int(number) not in saved:
        known = ", ".join(map(str, saved)) or "none"
        fail(f"{wildcards.dataset}: train.checkpoints: no {number}, known are {known}")
    return model_files(f"results/{{dataset}}/{paths.variant_folder(wildcards.variant)}")(wildcards)


def whole_set_trainings():
    """Rules that train on all images: the model with its checkpoints, and members of the ensemble with none.

    Yields name, name of the log, data sets as a regular expression, family, checkpoints, folder of the model.
    """
    model, member, kinds, families = "results/{dataset}/model", "results/{dataset}/model/seeds/{seed}", {}, {}
    for name, settings in DATASETS.items():
        if name in OWN_MODELS:
            continue
        family, checkpoints = settings["model"]["family"], tuple(settings["train"]["checkpoints"])
        kinds.setdefault((family, checkpoints), []).append(name)
        families.setdefault(family, []).append(name)
    for (family, checkpoints), names in kinds.items():
        rule_name = "_".join(["train_model", family, *map(str, checkpoints)])
        yield rule_name, "train_model", "|".join(names), family, checkpoints, model
    for family, names in families.items():
        yield f"train_ensemble_{family}", "train_ensemble/{seed}", "|".join(names), family, (), member


def training_seed(wildcards):
    """The seed of the model, or of the member of its ensemble, that a path names."""
    settings = dataset(wildcards)
    if "seed" not in wildcards.keys():
        return settings["train"]["seed"]
    seeds = settings["ensemble"]["seeds"]
    if wildcards.seed not in map(str, seeds):
        known = ", ".join(map(str, seeds)) or "none"
        fail(f"{wildcards.dataset}: ensemble.seeds: no {wildcards.seed}, known are {known}")
    return int(wildcards.seed)


def network(wildcards):
    """An input function: the file that describes a data set's UNet."""
    return paths.nameable(dataset(wildcards)["model"]["unet"])


def network_content(wildcards):
    """A params function: a hash of that file."""
    return content_of_files(network(wildcards))


def source_files(wildcards):
    """The files that a data set's images are read from, besides those in a folder of images."""
    source = dataset(wildcards)["source"]
    try:
        published_files(source["kind"], source.get("files", {}))  # refuses names that do not exist
        return locate(source["kind"], source.get("path"), source.get("table"))
    except UserError as error:
        fail(f"{wildcards.dataset}: {error}")


def located(wildcards):
    """The same, as an input function."""
    return [paths.nameable(file) for file in source_files(wildcards)]


def files_option(wildcards):
    """Command line option for the same."""
    # A path that begins with a dash would be an option.
    files = [f"./{file}" if file.startswith("-") else file for file in source_files(wildcards)]
    return f"--files {shlex.join(files)}" if files else ""


# Modules that read each kind of source, besides those that all share.
SOURCE_CODE = {
    "digits": (),
    "cifar10": ("originals", "cifar10_hub", "encoded", "containers"),
    "artbench": ("originals", "encoded", "containers", "tables"),
    "celeba": ("originals", "encoded", "containers"),
    "folder": ("encoded", "containers", "tables", "listing"),
}


# Modules that decide scores, besides the one with the scoring rule.
SCORING_CODE = (
    "scoring",
    "scorer",
    "providers",
    "kernel",
    "shards",
    "projection",
    "losses",
    "clean",
    "methods/base",
    "methods/similarity",
)


def own_model_path(wildcards):
    """The folder of a model of the user's own, or the file of its adapters."""
    model = dataset(wildcards)["model"]
    return str(own.adapter_file(model["path"])) if "base" in model else model["path"]


def base_option(wildcards):
    """Command line option for the base model of adapters of the user's own."""
    base = dataset(wildcards)["model"].get("base")
    return f"--base={shlex.quote(base)}" if base else ""


def own_model_files(wildcards):
    """The files of a model of the user's own that are read."""
    return [paths.nameable(file) for file in own.model_files(dataset(wildcards)["model"])]


def taken_model(wildcards):
    """The files of a model of the user's own before they take their place."""
    model = dataset(wildcards)["model"]
    # Another model may come with older files, for example by another link.
    content = content_of_files(*own_model_files(wildcards))
    asked = request(own_model_path(wildcards), model.get("base"), content)
    return paths.model_paths(f"results/{wildcards.dataset}/model.{asked}", model["family"])


def own_schedule(name):
    """The noise schedule of the user's own by which models are retrained; none where it is the workflow's."""
    model = DATASETS[name]["model"]
    if "path" not in model or model["family"] != "unet":
        return []
    return [paths.nameable(str(own.schedule_file(model["path"])))]


def source_code(wildcards):
    """The modules that read a data set's kind of source."""
    kind = dataset(wildcards)["source"]["kind"]
    hub = any(name.endswith(".parquet") for name in source_files(wildcards))
    names = ("base", "decoding", "metadata", kind, *SOURCE_CODE[kind], *(("parquet",) if hub else ()))
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
    return f"--folder={shlex.quote(source['path'])}" if source["kind"] == "folder" else ""


def model_side(wildcards):
    """Command line option for the side of the images that a model of the user's own works on."""
    model = dataset(wildcards)["model"]
    if "path" not in model or model["family"] != "unet":
        return ""
    return f"--side {own.read_network(model['path'])['sample_size']}"


@lru_cache
def content_of(folder, table=None):
    """A hash of the images in a folder, or of those that a table in it lists."""
    try:
        return content.hash_images(folder, table)
    except UserError as error:
        fail(error)


@lru_cache
def content_of_files(*files):
    """A hash of what files hold. Parameters that take `input` are no reason for Snakemake to run a job again."""
    try:
        return content.hash_files(files)
    except UserError as error:
        fail(error)


def listing(wildcards):
    """A hash of what a data set is read from, where that is the user's; empty where it is published or embedded."""
    source = dataset(wildcards)["source"]
    if source["kind"] == "folder":
        return content_of(source["path"], source.get("table"))
    return content_of_files(*source_files(wildcards)) if "path" in source else ""


def request(*settings):
    """A hash of what is asked for, in the names of files that are prepared."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def prepared(split):
    """An input function: images of the source before they take their place."""

    def file(wildcards):
        asked = request(section("source", "path")(wildcards), section("split")(wildcards), listing(wildcards))
        return f"results/{wildcards.dataset}/images/{split}.{asked}.h5"

    return file


def taken(suffix):
    """An input function: pictures of the user's own before they take their place."""

    def file(wildcards):
        folder = dataset(wildcards)["queries"]["folder"]
        return f"results/{wildcards.dataset}/images/gen.{request(folder, content_of(folder))}.{suffix}"

    return file


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
    return [paths.nameable(index)]


def base_model(wildcards):
    """The same, as an input function."""
    return base_model_of(wildcards.dataset)


def base_model_content(wildcards):
    """A params function: a hash of the files of a base model, which may have been downloaded when the job starts."""
    base_model(wildcards)  # refuses one that is not there
    return content_of_files(*own.base_model_files(dataset(wildcards)["model"]))


def clip_folder(wildcards):
    """The folder of the CLIP model; of one on the hub, where it is downloaded to."""
    return paths.base_model_folder(config["clip"]["model"])


def clip_model(wildcards):
    """An input function: the files of the CLIP model; of one on the hub, the one that stands for them."""
    folder = clip_folder(wildcards)
    if folder == config["clip"]["model"]:
        for name in paths.CLIP_FILES:
            if not os.path.exists(f"{folder}/{name}"):
                fail(
                    f"clip.model: no file {f'{folder}/{name}'!r}, expected a folder with "
                    f"{', '.join(paths.CLIP_FILES)}, or the name of a CLIP model on the Hugging Face hub"
                )
        return [paths.nameable(f"{folder}/{name}") for name in paths.CLIP_FILES]
    return [f"{folder}/{paths.CLIP_FILES[0]}"]


def clip_content(wildcards):
    """A params function: a hash of the files of the CLIP model, likewise."""
    return content_of_files(
        *filter(os.path.exists, (f"{clip_folder(wildcards)}/{n}" for n in paths.CLIP_FILES))
    )


def train_images(section, key):
    """An input function: the training images, no fewer than a setting lists for each query."""

    def file(wildcards):
        found, most = config[section][key], dataset(wildcards)["split"]["train"]
        if found > most:
            fail(
                f"{section}.{key}: found {found}, allowed is at most {most}, the training images of "
                f"{wildcards.dataset}"
            )
        return f"results/{wildcards.dataset}/images/train.h5"

    return file


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
        where = folder.format(**wildcards)
        return [
            f"results/{wildcards.dataset}/{where}/{chosen}/{name}" for name in shard_names(wildcards, chosen)
        ]

    return files


def generated_shards(wildcards):
    """The files in which the query images are generated."""
    settings = dataset(wildcards)
    number = -(-settings["generate"]["count"] // settings["jobs"]["generated_per_job"])
    return [f"results/{wildcards.dataset}/images/gen/shard-{shard:03d}.h5" for shard in range(number)]


def kernel_shards(wildcards):
    """The shards of the kernel that a path names."""
    folder = "results/{dataset}/kernels/{kernel}{variant}".format(**wildcards)
    return [f"{folder}/{name}" for name in shard_names(wildcards, "train")]


def feature_settings(wildcards):
    """What makes features: output function and normalisation, timesteps, noise and projection, as JSON."""
    if wildcards.features not in EXTENDED["features"]:
        fail(f"features: no {wildcards.features!r}, known are {', '.join(config['features'])}")
    return json.dumps(dataset(wildcards)["gradients"] | EXTENDED["features"][wildcards.features])


def kernel_settings(wildcards):
    """What makes a kernel: timesteps, noise and projection, as JSON."""
    if wildcards.kernel not in config["kernels"]:
        fail(f"kernels: no {wildcards.kernel!r}, known are {', '.join(config['kernels'])}")
    return json.dumps(dataset(wildcards)["gradients"] | config["kernels"][wildcards.kernel])


class Pool(NamedTuple):
    """Models retrained on subsets."""

    models: str  # what rules that train and evaluate call the models
    folder: str  # where in that of the data set they lie
    subsets: str  # the file of the subsets
    draw: str = ""  # name of the rule that draws the subsets at random


# Models that judge attributions, models that some methods learn from, which must be others, by their sections of a
# data set's settings; and by the test for each query a model without the images that a method names, or with them alone.
POOLS = {
    "lds": Pool("subset_models", "lds", "results/{dataset}/subsets.h5", "draw_subsets"),
    "retrain": Pool(
        "retrain_models", "retrain", "results/{dataset}/retrain/subsets.h5", "draw_retrain_subsets"
    ),
    **{
        test: Pool(
            f"counterfactual_{test}",
            f"counterfactual/{test}/{{method}}",
            f"results/{{dataset}}/counterfactual/{test}/{{method}}/subsets.h5",
        )
        for test in paths.TESTS
    },
}
DRAWN = [name for name, pool in POOLS.items() if pool.draw]


def subset_model_names(settings, pool="lds"):
    """Names of all subset models of a data set in a pool."""
    if pool in paths.TESTS:  # with the seed of the model itself
        queries = settings["counterfactual"]["queries"]
        return [paths.model_name(query, settings["train"]["seed"]) for query in range(queries)]
    return [
        paths.model_name(subset, seed)
        for seed in settings[pool]["train_seeds"]
        for subset in range(settings[pool]["subsets"])
    ]


def losses_of(wildcards, pool="lds"):
    """The losses of all retrained models of a pool."""
    if not dataset(wildcards)[pool]["subsets"]:
        fail(f"{wildcards.dataset}: {pool}.subsets: not set; an LDS needs 8 or more subsets to retrain on")
    return [
        f"results/{wildcards.dataset}/{pool}/losses/{model}.h5"
        for model in subset_model_names(dataset(wildcards), pool)
    ]


def list_of(models):
    """A resources function: names of models, with wildcards filled in."""
    return lambda wildcards: " ".join(models).format(**wildcards)


def subset_model_jobs(pools):
    """(pool, data set, suffix of the rules' names, models) for every job that retrains, or evaluates, models."""
    for pool, (name, settings) in itertools.product(pools, DATASETS.items()):
        size, models = settings["jobs"]["models_per_job"], subset_model_names(settings, pool)
        if models and size == 1:
            yield pool, name, name, ["subset-{subset}_seed-{seed}"]
        else:
            for job, first in enumerate(range(0, len(models), size)):
                yield pool, name, f"{name}_{job}", models[first : first + size]


def subset_model_files(pool, name, models):
    """The files of retrained models of a data set."""
    folder, family = f"results/{name}/{POOLS[pool].folder}/models", DATASETS[name]["model"]["family"]
    return [file for model in models for file in paths.model_paths(f"{folder}/{model}", family)]


def pool_folders(keep):
    """Folders of the retrained models of data sets that keep them, or do not."""
    return [
        str(folder)
        for pool, (name, settings) in itertools.product(POOLS.values(), DATASETS.items())
        if settings["jobs"]["keep_models"] == keep
        for folder in sorted(Path("results", name).glob(re.sub("{.*?}", "*", pool.folder)))
    ]


def counterfactual(wildcards):
    """The section of that name of a data set's settings, which has to ask for something that can be made."""
    try:
        return configuration.require_counterfactual(dataset(wildcards), wildcards.dataset)
    except UserError as error:
        fail(error)


def removal_scores(wildcards):
    """The scores by which images are removed, or kept; none where they are drawn at random."""
    if wildcards.method == paths.RANDOM:
        return []
    method(wildcards)  # refuses names that do not exist
    return [f"results/{wildcards.dataset}/scores/{wildcards.method}/gen.h5"]


def counterfactual_models(wildcards):
    """The files of the models of all queries that a test and a method have."""
    counterfactual(wildcards)
    models = subset_model_names(dataset(wildcards), wildcards.test)
    return expand(subset_model_files(wildcards.test, wildcards.dataset, models), **wildcards)


def outcomes(wildcards):
    """What was measured, a file for every test and method."""
    counterfactual(wildcards)
    return expand(
        f"results/{wildcards.dataset}/counterfactual/{{test}}/{{method}}/outcomes.h5",
        test=paths.TESTS,
        method=[*config["counterfactual"]["methods"], paths.RANDOM],
    )


def loss_settings(wildcards):
    """How the loss of a query is measured, as JSON."""
    return loss_settings_of(wildcards.dataset)


def loss_settings_of(name):
    """The same of a data set."""
    return json.dumps({key: DATASETS[name]["lds"][key] for key in ("timesteps", "draws", "precision")})


def measured(wildcards):
    """How many jobs of a data set have been measured, and when the last was: then its table is made anew."""
    files = list(Path("logs", wildcards.dataset).rglob("*.tsv"))
    return f"{len(files)} files, {max((file.stat().st_mtime for file in files), default=0):.0f}"


def method(wildcards):
    """The configured method that a path names."""
    if wildcards.method not in METHODS:
        fail(f"methods: no {wildcards.method!r}, known are {', '.join(MAIN_METHODS)}")
    found = METHODS[wildcards.method]
    missing = found.missing(EXTENDED, dataset(wildcards))
    if missing:
        fail(f"{wildcards.dataset}: {found.name} needs {missing}")
    split = getattr(wildcards, "split", None)
    if split not in (None, *found.splits):
        fail(
            f"{wildcards.dataset}: {found.name} scores generated queries alone, for only they have a sampling "
            f"trajectory; found split {split}, allowed is {', '.join(found.splits)}"
        )
    if split == "val" and not dataset(wildcards)["split"]["val"]:
        fail(
            f"{wildcards.dataset}: split.val: found 0: there are no held-out images to score; the scores of "
            "pictures are in gen.h5"
        )
    return found


def splits_of(wildcards):
    """The splits of queries that a method scores."""
    return list(method(wildcards).splits)


def of_evaluated_methods(file):
    """An input function: a file of each method of the table; see `das.attribution.evaluated`."""

    def files(wildcards):
        names = evaluated(config, dataset(wildcards))
        return expand(f"results/{wildcards.dataset}/{file}", method=names)

    return files


def of_report(file):
    """An input function: a file on the LDS of each of the page's methods; none where no models are retrained."""

    def files(wildcards):
        if not dataset(wildcards)["lds"]["subsets"]:
            return []
        return expand(f"results/{wildcards.dataset}/{file}", method=config["report"]["methods"])

    return files


def report_counterfactual(wildcards):
    """Table and plot of the counterfactual evaluation, where the page shows it."""
    if not config["report"]["counterfactual"]:
        return []
    counterfactual(wildcards)
    return [f"results/{wildcards.dataset}/counterfactual.{suffix}" for suffix in ("csv", "png")]


def report_outcomes(wildcards):
    """What was generated in the counterfactual evaluation, where the page shows it."""
    return outcomes(wildcards) if config["report"]["counterfactual"] else []


def of_ablation(file):
    """An input function: a file of the base method of the ablation and of each of its changes."""
    names = [config["ablation"]["base"], *(change.method for change in ABLATION)]
    return lambda wildcards: expand(f"results/{wildcards.dataset}/{file}", method=names)


def rule_file(wildcards):
    """The file that defines a method's scoring rule."""
    return paths.nameable(os.path.relpath(method(wildcards).rule.score.__code__.co_filename))


def rule_content(wildcards):
    """A params function: a hash of that file."""
    return content_of_files(rule_file(wildcards))


def score_damping(wildcards):
    """How the damping of scores is chosen: held_out, gcv or a number."""
    setting, found = config["scores"]["damping"], method(wildcards)
    if setting == "auto":
        setting = "held_out" if dataset(wildcards)["lds"]["subsets"] else found.damping or "gcv"
    if setting == "gcv" and found.rule.damped and ("errors" not in found.inputs or found.kernel):
        fail(
            f"methods.{found.name}.damping: not set, and gcv needs residuals and the features' own kernel, which "
            f"{found.rule.name} lacks; name a damping, such as 0.1, there or as scores.damping"
        )
    return setting


def lds_table(wildcards):
    """The table that says which damping was chosen on held-out subsets; none where it is chosen otherwise."""
    if score_damping(wildcards) != "held_out" or not method(wildcards).rule.damped:
        return []
    return [f"results/{wildcards.dataset}/lds_{wildcards.method}.csv"]


def predictions_of(wildcards):
    """Predictions of a method, by split."""
    folder = f"results/{wildcards.dataset}/predictions/{wildcards.method}"
    return {split: f"{folder}/{split}.h5" for split in splits_of(wildcards)}


def scoring_inputs(wildcards):
    """Files that a method's scores are computed from, by name; of several parts, one part after another."""
    found, folder = method(wildcards), f"results/{wildcards.dataset}"
    variants, inputs = found.variants(dataset(wildcards)), found.inputs
    files = {
        "code": lib(*(f"das/{name}.py" for name in SCORING_CODE)),
        "rule": rule_file(wildcards),
    }
    if found.features:
        journey = JOURNEY if found.queries == "journey" else ""
        for name, split, suffix in (("train", "train", ""), ("query", "{split}", journey)):
            files[f"{name}_features"] = [
                file
                for variant in variants
                for file in shard_files(f"gradients/{found.features}{variant}{suffix}", split)(wildcards)
            ]
    if found.kernel:
        files["kernels"] = [f"{folder}/kernels/{found.kernel}{variant}.h5" for variant in variants]
    if "errors" in inputs:
        files["train_errors"] = [f"{folder}/errors{variant}/train.h5" for variant in variants]
    if {"images", "image_kernel"} & inputs:
        files["train_images"] = inputs_of("train")(wildcards)
        files["query_images"] = inputs_of("{split}")(wildcards)
    if "embeddings" in inputs:
        files["train_embeddings"] = f"{folder}/embeddings/clip/train.h5"
        files["query_embeddings"] = f"{folder}/embeddings/clip/{{split}}.h5".format(**wildcards)
    if "retraining" in inputs:
        files["retrained_subsets"] = f"{folder}/retrain/subsets.h5"
        files["retrained_losses"] = losses_of(wildcards, "retrain")
    return files


def method_options(wildcards):
    """Command line options for how a method scores, which decide its result whatever files it reads."""
    found = method(wildcards)
    options = [f"--score {found.rule.name} --split {wildcards.split}"]
    if found.over == "timesteps":
        options.append("--by-timestep")
    if found.dimension:
        options.append(f"--dimension {found.dimension}")
    if found.candidates:
        options.append(f"--candidates-by {found.candidates.by} --candidates {found.candidates.count}")
    return " ".join(options)


def damping_grid(wildcards):
    """Dampings for which a method predicts losses."""
    return config["evaluation"]["dampings"] if method(wildcards).rule.damped else []


def module_options(wildcards, input):
    """Command line option for the files with further scoring rules; no reason to score anew."""
    files = " ".join(map(shlex.quote, config["method_modules"]))
    return f"--modules {files}" if files else ""


def scoring_files(wildcards, input):
    """Command line options for the files that a method scores from."""
    parts = len(method(wildcards).variants(dataset(wildcards)))
    options = [module_options(wildcards, input)]
    for name in input.keys():
        flag = f"--{name.replace('_', '-')}"
        if name in ("train_features", "query_features"):
            files, size = list(input[name]), len(input[name]) // parts
            options += [
                f"{flag} {' '.join(files[first : first + size])}" for first in range(0, len(files), size)
            ]
        elif name.startswith(("train_", "query_", "retrained_", "kernels")):
            options.append(f"{flag} {input[name]}")
    return " ".join(options)
