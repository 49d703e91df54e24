"""Models retrained on subsets, and their losses on the queries: what attributions are judged by.

Needs results/{dataset}/images/*.h5, or latents/*.h5, and subsets.h5.
Makes results/{dataset}/lds/models/subset-07_seed-1/ and lds/losses/subset-07_seed-1.h5, the same under
retrain/, from retrain/subsets.h5, for methods that learn from retrained models, and models under counterfactual/,
which rules/counterfactual.smk needs.

The outputs of a job depend on how many models it trains, which no wildcard expresses. So each data set
has its own rules: one with wildcards where a job trains one model, one for each job where it trains several.
"""

for pool, name, suffix, models in subset_model_jobs(POOLS):
    family, space = DATASETS[name]["model"]["family"], f"results/{name}/{inputs_folder(DATASETS[name])}"
    files = subset_model_files(pool, name, models)
    within = "{method}/" if pool in paths.TESTS else ""  # one of several sets of models
    # A temporary file that is gone makes nothing run again, unless what is made of it must be made again.
    kept = files if DATASETS[name]["jobs"]["keep_models"] else temp(files)
    train_needs = training_needs(pool, name, len(models))

    rule:
        name:
            f"train_{POOLS[pool].models}_{suffix}"
        input:
            inputs=f"{space}/train.h5",
            subsets=POOLS[pool].subsets.replace("{dataset}", name),
            unet=paths.nameable(DATASETS[name]["model"]["unet"]),
            base=lambda wildcards, name=name: base_model_of(name),
            schedule=own_schedule(name),
            launcher=LAUNCHER,
            script=lib("train_subset_models.py"),
            code=lib("das/subsets.py", *(f"das/{file}" for file in code_of("train", family))),
        output:
            kept,
        log:
            f"logs/{name}/train_{POOLS[pool].models}/{within}{models[0]}.log",
        benchmark:
            f"logs/{name}/train_{POOLS[pool].models}/{within}{models[0]}.tsv"
        # Those that take longest first, lest one of them runs alone at the end.
        priority: int(pool == paths.REMOVE)
        conda:
            ENVIRONMENT
        threads: DATASETS[name]["jobs"]["threads"] * DATASETS[name]["train"]["processes"]
        resources:
            gpu=DATASETS[name]["jobs"]["gpus"],
            gpu_model=gpu_model_of(name),
            mem_mb=ask("mem_mb", train_needs),
            runtime=ask("runtime", train_needs),
            disk_mb=ask("disk_mb", train_needs),
            device=config["execution"]["device"],
            checkpoint_seconds=str(config["execution"]["checkpoint_seconds"]),
            tracking=config["execution"]["tracking"],
            # Not params: models in other company are the same models.
            models=list_of(models),
        params:
            dataset=name,
            model=as_json(DATASETS[name]["model"]),
            network=lambda wildcards, name=name: content_of_files(
                paths.nameable(DATASETS[name]["model"]["unet"]), *own_schedule(name)
            ),
            settings=as_json(
                {k: v for k, v in DATASETS[name]["train"].items() if k not in ("seed", "checkpoints")}
            ),
            folder=lambda wildcards, output: os.path.dirname(os.path.dirname(output[0])),
        message:
            f"{name}: training for {POOLS[pool].folder.replace('{', '{wildcards.')}, {{resources.models}}"
        shell:
            """
            python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log} \
                --threads {threads} --device {resources.device} \
                --checkpoint-seconds {resources.checkpoint_seconds} --tracking {resources.tracking} \
                --dataset {params.dataset} --inputs {input.inputs} --subsets {input.subsets} \
                --model {params.model:q} --settings {params.settings:q} --models {resources.models} \
                --output {params.folder}
            """


for pool, name, suffix, models in subset_model_jobs(DRAWN):
    family, space = DATASETS[name]["model"]["family"], f"results/{name}/{inputs_folder(DATASETS[name])}"
    evaluate_needs = evaluation_needs(name, len(models))

    rule:
        name:
            f"evaluate_{POOLS[pool].models}_{suffix}"
        input:
            models=subset_model_files(pool, name, models),
            val=f"{space}/val.h5",
            gen=f"{space}/gen.h5",
            launcher=LAUNCHER,
            script=lib("evaluate_subset_models.py"),
            code=lib(*(f"das/{file}" for file in code_of("errors", family))),
        output:
            [f"results/{name}/{pool}/losses/{model}.h5" for model in models],
        log:
            f"logs/{name}/evaluate_{POOLS[pool].models}/{models[0]}.log",
        benchmark:
            f"logs/{name}/evaluate_{POOLS[pool].models}/{models[0]}.tsv"
        conda:
            ENVIRONMENT
        threads: DATASETS[name]["jobs"]["threads"]
        resources:
            gpu=DATASETS[name]["jobs"]["gpus"],
            gpu_model=gpu_model_of(name),
            mem_mb=ask("mem_mb", evaluate_needs),
            runtime=ask("runtime", evaluate_needs),
            disk_mb=ask("disk_mb", evaluate_needs),
            device=config["execution"]["device"],
            rows=DATASETS[name]["jobs"]["rows_per_batch"],
            models=list_of(models),
        params:
            dataset=name,
            settings=lambda wildcards, name=name: loss_settings_of(name),
            models_folder=lambda wildcards, input: os.path.dirname(os.path.dirname(input.models[0])),
            losses_folder=lambda wildcards, output: os.path.dirname(output[0]),
        message:
            f"{name}: measuring the losses for {pool} of {{resources.models}}"
        shell:
            """
            python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log} \
                --threads {threads} --device {resources.device} \
                --dataset {params.dataset} --models {params.models_folder} --names {resources.models} \
                --val {input.val} --gen {input.gen} --settings {params.settings:q} --rows {resources.rows} \
                --output {params.losses_folder}
            """
