"""What jobs ask a scheduler for, see workflow/scripts/das/cost/needs.py; makes nothing.

On one machine without a scheduler, only threads and GPUs count: Snakemake shares them out.
"""

from das.cost.needs import JobNeeds

# What starts a job on GPUs of its own. Ancient: no result depends on it.
LAUNCHER = ancient(lib("on_gpus.py"))


def gpu_model_of(name):
    """The type of GPU that a data set's jobs ask a cluster for; empty where any will do, or none."""
    return config["execution"]["gpu_model"] if DATASETS[name]["jobs"]["gpus"] else ""


def gpu_model(wildcards):
    """The same, as a resources function."""
    dataset(wildcards)  # refuses names that do not exist
    return gpu_model_of(wildcards.dataset)


def sustained_tflops(wildcards):
    """Assumed speed of the device that the data set's jobs run on, by precision, as JSON."""
    speeds = config["execution"]["gpu_tflops"]
    if not dataset(wildcards)["jobs"]["gpus"]:
        speeds = dict.fromkeys(speeds, config["execution"]["cpu_tflops"])
    return json.dumps(speeds)


@lru_cache
def needs(name):
    """What the jobs of a data set need."""
    try:
        return JobNeeds(DATASETS[name], config["execution"])
    except UserError as error:
        fail(error)


def training_threads(wildcards):
    """Of all processes that train one model together."""
    return dataset(wildcards)["jobs"]["threads"] * dataset(wildcards)["train"]["processes"]


def shard_size(wildcards):
    """Images in a shard of the split that a path names; errors and kernels are of the training images."""
    settings = dataset(wildcards)
    counts = settings["split"] | {"gen": settings["generate"]["count"]}
    images = counts[wildcards.get("split", "train")]
    return min(images, settings["jobs"]["images_per_shard"])


def training_needs(pool, name, models):
    """What the job needs that trains so many of a data set's retrained models."""

    def estimate(wildcards):
        images, removed = DATASETS[name]["split"]["train"], DATASETS[name]["counterfactual"].get("images", 0)
        images = {paths.REMOVE: images - removed, paths.KEEP: removed}.get(
            pool, int(DATASETS[name]["lds"]["fraction"] * images)
        )
        return needs(name).train(images, models)

    return estimate


def evaluation_needs(name, models):
    """What the job needs that measures the losses of so many of a data set's retrained models."""
    return lambda wildcards: needs(name).evaluate(models)


def whole_set_needs(wildcards):
    settings = dataset(wildcards)
    saved = 1 + len(settings["train"]["checkpoints"])
    return needs(wildcards.dataset).train(settings["split"]["train"], saved=saved)


def generation_needs(wildcards):
    settings = dataset(wildcards)
    return needs(wildcards.dataset).generate(
        min(settings["generate"]["count"], settings["jobs"]["generated_per_job"])
    )


def regeneration_needs(wildcards):
    return needs(wildcards.dataset).regenerate(counterfactual(wildcards)["queries"])


def encoding_needs(wildcards):
    return needs(wildcards.dataset).encode(dataset(wildcards)["split"]["train"])


def error_needs(wildcards):
    return needs(wildcards.dataset).errors(shard_size(wildcards))


def gradient_needs(wildcards):
    return needs(wildcards.dataset).gradients(shard_size(wildcards), json.loads(feature_settings(wildcards)))


def journey_needs(wildcards):
    images = min(dataset(wildcards)["generate"]["count"], dataset(wildcards)["jobs"]["images_per_shard"])
    return needs(wildcards.dataset).journeys(images, json.loads(feature_settings(wildcards)))


def kernel_needs(wildcards):
    return needs(wildcards.dataset).kernel(shard_size(wildcards), json.loads(kernel_settings(wildcards)))


def joining_needs(wildcards):
    return needs(wildcards.dataset).join_kernel(json.loads(kernel_settings(wildcards)))


def scoring_needs(wildcards):
    found = method(wildcards)
    if found.features is None:
        return needs(wildcards.dataset).score(0)
    features = dataset(wildcards)["gradients"] | EXTENDED["features"][found.features]
    return needs(wildcards.dataset).score(found.dimension or features["dimension"])


def ask(quantity, of):
    """A resources function: what a job asks for of a quantity of das.cost.needs.Needs, more at every attempt."""

    def amount(wildcards, attempt):
        return attempt * getattr(of(wildcards), quantity)

    return amount
