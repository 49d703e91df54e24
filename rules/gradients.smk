"""Projected per-image gradients, in shards.

Needs results/{dataset}/model/ and images/{split}.h5.
Makes results/{dataset}/gradients/{features}/{split}/shard-000.h5 and on.
"""


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


rule project_gradients:
    input:
        model=model_files("results/{dataset}/model"),
        images="results/{dataset}/images/{split}.h5",
        code=lib(
            "project_gradients.py",
            "das/features.py",
            "das/gradients.py",
            "das/projection.py",
            "das/diffusion.py",
            "das/noise.py",
        ),
    output:
        "results/{dataset}/gradients/{features}/{split}/shard-{shard}.h5",
    params:
        folder="results/{dataset}/model",
        settings=feature_settings,
        images_per_shard=setting("jobs", "images_per_shard"),
    log:
        "logs/{dataset}/project_gradients/{features}_{split}_{shard}.log",
    benchmark:
        "logs/{dataset}/project_gradients/{features}_{split}_{shard}.tsv"
    message:
        "{wildcards.dataset}: projecting gradients, {wildcards.features} of {wildcards.split}, shard {wildcards.shard}"
    resources:
        gpu=setting("jobs", "gpus"),
        rows=setting("jobs", "rows_per_batch"),
    shell:
        "{PYTHON} {SCRIPTS}/project_gradients.py --log {log} --threads {threads} {COMPUTE}"
        " --dataset {wildcards.dataset} --model {params.folder} --images {input.images}"
        " --split {wildcards.split} --settings {params.settings:q} --shard {wildcards.shard}"
        " --images-per-shard {params.images_per_shard} --rows {resources.rows} --output {output}"
