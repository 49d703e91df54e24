"""Models retrained on subsets, and their losses on the queries: what attributions are judged by.

Needs results/{dataset}/images/*.h5, or latents/*.h5, and subsets.h5; and lds/timesteps.h5 where there is a
budget of timesteps.
Makes results/{dataset}/lds/models/subset-07_seed-1/ and lds/losses/subset-07_seed-1.h5, the same under
retrain/, from retrain/subsets.h5, for methods that learn from retrained models, and models under counterfactual/,
which rules/counterfactual.smk needs.

The outputs of a job depend on how many models it trains, which no wildcard expresses. Where a job trains one
model, data sets share a rule; each job that trains several has its own.
"""

for job in pools.pool_jobs(PLAN, (*pools.DRAWN, *pools.CHOSEN)):

    rule:
        name:
            f"train_{job.name}"
        input:
            inputs=planned(shards.inputs, "train"),
            subsets=job.pool.subsets,
            unet=planned(models.network_file),
            base=planned(models.base_model),
            schedule=planned(models.own_schedule),
            launcher=LAUNCHER,
            script=script_file("train_subset_models.py"),
        output:
            # A temporary file that is gone makes nothing run again, unless what is made of it must be made again.
            job.files if job.kept else temp(job.files),
        log:
            f"logs/{{dataset}}/train_{job.log}.log",
        benchmark:
            f"logs/{{dataset}}/train_{job.log}.tsv"
        wildcard_constraints:
            dataset=job.datasets,
        priority: job.priority
        conda:
            ENVIRONMENT
        threads: planned(models.training_threads)
        resources:
            **on_device(job.pool.name, len(job.models)),
            **TRAINING,
            # Not params: models in other company are the same models.
            models=list_of(job.models),
        params:
            code=code_of("train_subset_models.py"),
            model=planned(section, "model"),
            content=planned(models.retraining_content),
            settings=planned(section, "train", "seed", "checkpoints"),
            folder=lambda wildcards, output: os.path.dirname(os.path.dirname(output[0])),
        message:
            f"{{wildcards.dataset}}: training for {job.pool.folder.replace('{', '{wildcards.')}, {{resources.models}}"
        shell:
            "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
            " --threads {threads} --device {resources.device}"
            " --checkpoint-seconds {resources.checkpoint_seconds} --tracking {resources.tracking}"
            " --dataset {wildcards.dataset} --inputs {input.inputs} --subsets {input.subsets}"
            " --model {params.model:q} --settings {params.settings:q} --models {resources.models}"
            " --output {params.folder}"


for job in pools.pool_jobs(PLAN, pools.DRAWN):

    rule:
        name:
            f"evaluate_{job.name}"
        input:
            models=job.files,
            val=planned(shards.inputs, "val"),
            gen=planned(shards.inputs, "gen"),
            timesteps=planned(importance.timesteps),
            launcher=LAUNCHER,
            script=script_file("evaluate_subset_models.py"),
        output:
            job.losses,
        log:
            f"logs/{{dataset}}/evaluate_{job.log}.log",
        benchmark:
            f"logs/{{dataset}}/evaluate_{job.log}.tsv"
        wildcard_constraints:
            dataset=job.datasets,
        # Before further trainings: models that are not kept go when they are evaluated.
        priority: 3
        conda:
            ENVIRONMENT
        threads: planned(setting, "jobs", "threads")
        resources:
            **on_device("evaluate", len(job.models)),
            **ROWS,
            models=list_of(job.models),
        params:
            code=code_of("evaluate_subset_models.py"),
            settings=planned(pools.loss_settings),
            timesteps=unwatched(importance.timesteps_option),
            models_folder=lambda wildcards, input: os.path.dirname(os.path.dirname(input.models[0])),
            losses_folder=lambda wildcards, output: os.path.dirname(output[0]),
        message:
            f"{{wildcards.dataset}}: measuring the losses for {job.pool.name} of {{resources.models}}"
        shell:
            "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
            " --threads {threads} --device {resources.device}"
            " --dataset {wildcards.dataset} --models {params.models_folder} --names {resources.models}"
            " --val {input.val} --gen {input.gen} --settings {params.settings:q} {params.timesteps}"
            " --rows {resources.rows} --output {params.losses_folder}"
