"""Models retrained on subsets, and their losses on the queries: what attributions are judged by.

Needs results/{dataset}/images/*.h5 and subsets.h5.
Makes results/{dataset}/lds/models/subset-07_seed-1/ and lds/losses/subset-07_seed-1.h5.

The outputs of a job depend on how many models it trains, which no wildcard expresses. So each data set
has its own rules: one with wildcards where a job trains one model, one for each job where it trains several.
"""


def subset_model_names(settings):
    """Names of all subset models of a data set."""
    return [
        paths.model_name(subset, seed)
        for seed in settings["lds"]["train_seeds"]
        for subset in range(settings["lds"]["subsets"])
    ]


def subset_model_jobs():
    """(data set, suffix of the rules' names, models of a job) for every pair of rules below."""
    for name, settings in DATASETS.items():
        size, models = settings["jobs"]["models_per_job"], subset_model_names(settings)
        if size == 1:
            yield name, name, ["subset-{subset}_seed-{seed}"]
        else:
            for job, first in enumerate(range(0, len(models), size)):
                yield name, f"{name}_{job}", models[first : first + size]


for name, suffix, models in subset_model_jobs():

    rule:
        name:
            f"train_subset_models_{suffix}"
        input:
            images=f"results/{name}/images/train.h5",
            subsets=f"results/{name}/subsets.h5",
            unet=DATASETS[name]["unet"],
            code=lib("train_subset_models.py", "das/subsets.py", *TRAINING_CODE),
        output:
            [f"results/{name}/lds/models/{model}/{file}" for model in models for file in paths.MODEL_FILES],
        params:
            dataset=name,
            settings=as_json({k: v for k, v in DATASETS[name]["train"].items() if k != "seed"}),
            models=" ".join(models),
            folder=f"results/{name}/lds/models",
        log:
            f"logs/{name}/train_subset_models/{models[0]}.log",
        benchmark:
            f"logs/{name}/train_subset_models/{models[0]}.tsv"
        message:
            f"{name}: training subset models, {models[0]} and on"
        resources:
            gpu=DATASETS[name]["jobs"]["gpus"],
        shell:
            "{PYTHON} {SCRIPTS}/train_subset_models.py --log {log} --threads {threads} {TRAINING}"
            " --dataset {params.dataset} --images {input.images} --subsets {input.subsets}"
            " --unet {input.unet} --settings {params.settings:q} --models {params.models}"
            " --output {params.folder}"

    rule:
        name:
            f"evaluate_subset_models_{suffix}"
        input:
            models=[f"results/{name}/lds/models/{model}/{file}" for model in models for file in paths.MODEL_FILES],
            val=f"results/{name}/images/val.h5",
            gen=f"results/{name}/images/gen.h5",
            code=lib("evaluate_subset_models.py", "das/evaluation.py", "das/diffusion.py", "das/noise.py"),
        output:
            [f"results/{name}/lds/losses/{model}.h5" for model in models],
        params:
            dataset=name,
            settings=as_json({k: DATASETS[name]["lds"][k] for k in ("timesteps", "draws")}),
            models=" ".join(models),
            folder=f"results/{name}/lds",
        log:
            f"logs/{name}/evaluate_subset_models/{models[0]}.log",
        benchmark:
            f"logs/{name}/evaluate_subset_models/{models[0]}.tsv"
        message:
            f"{name}: measuring the losses of subset models, {models[0]} and on"
        resources:
            gpu=DATASETS[name]["jobs"]["gpus"],
            rows=DATASETS[name]["jobs"]["rows_per_batch"],
        shell:
            "{PYTHON} {SCRIPTS}/evaluate_subset_models.py --log {log} --threads {threads} {COMPUTE}"
            " --dataset {params.dataset} --models {params.folder}/models --names {params.models}"
            " --val {input.val} --gen {input.gen} --settings {params.settings:q} --rows {resources.rows}"
            " --output {params.folder}/losses"
