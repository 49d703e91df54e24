"""The model whose training images are attributed, and what it generates.

Needs results/{dataset}/images/train.h5, or latents/train.h5.
Makes results/{dataset}/model/, its checkpoints, model/seeds/7/ (trained with another seed), images/gen/,
images/gen.h5 and images/gen.png.

The files of a model depend on its family and its checkpoints, and wildcards cannot express that: each
combination has its own rule.
"""

for training in models.trainings(PLAN):

    rule:
        name:
            training.rule
        input:
            inputs=planned(shards.inputs, "train"),
            unet=planned(models.network_file),
            base=planned(models.base_model),
            launcher=LAUNCHER,
            script=script_file("train_model.py"),
        output:
            training.files,
        log:
            f"logs/{{dataset}}/{training.log}.log",
        benchmark:
            f"logs/{{dataset}}/{training.log}.tsv"
        wildcard_constraints:
            dataset=training.datasets,
        # Everything but the subset models waits for this one.
        priority: 10
        conda:
            ENVIRONMENT
        threads: planned(models.training_threads)
        resources:
            **on_device("train"),
            **TRAINING,
        params:
            code=code_of("train_model.py"),
            model=planned(section, "model"),
            network=planned(models.network_content),
            settings=planned(section, "train", "seed", "checkpoints"),
            seed=planned(models.training_seed),
            checkpoints=" ".join(map(str, training.checkpoints)),
            folder=lambda wildcards, output: os.path.dirname(output[0]),
        message:
            "{wildcards.dataset}: training the model, seed {params.seed}"
        shell:
            "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
            " --threads {threads} --device {resources.device}"
            " --checkpoint-seconds {resources.checkpoint_seconds} --tracking {resources.tracking}"
            " --dataset {wildcards.dataset} --inputs {input.inputs} --model {params.model:q}"
            " --settings {params.settings:q} --seed {params.seed} --checkpoints {params.checkpoints}"
            " --output {params.folder}"


rule generate_images:
    input:
        model=planned(models.model_files),
        launcher=LAUNCHER,
        script=script_file("generate_images.py"),
    output:
        "results/{dataset}/images/gen/shard-{shard}.h5",
    log:
        "logs/{dataset}/generate_images/{shard}.log",
    benchmark:
        "logs/{dataset}/generate_images/{shard}.tsv"
    wildcard_constraints:
        dataset=PLAN.named(False, "queries", "folder"),
    priority: 10
    conda:
        ENVIRONMENT
    threads: planned(setting, "jobs", "threads")
    resources:
        **on_device("generate"),
    params:
        code=code_of("generate_images.py"),
        folder=lambda wildcards, input: os.path.dirname(input.model[0]),
        settings=planned(section, "generate"),
        images_per_shard=planned(setting, "jobs", "generated_per_job"),
    message:
        "{wildcards.dataset}: generating images, shard {wildcards.shard}"
    shell:
        "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
        " --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --model {params.folder} --settings {params.settings:q}"
        " --shard {wildcards.shard} --images-per-shard {params.images_per_shard} --output {output}"


rule join_images:
    input:
        shards=planned(shards.generated_shards),
        script=script_file("join_images.py"),
    output:
        images="results/{dataset}/images/gen.h5",
        sheet=shown("results/{dataset}/images/gen.png", "generated", "Which images mattered", "pictures"),
    log:
        "logs/{dataset}/join_images.log",
    wildcard_constraints:
        dataset=PLAN.named(False, "queries", "folder"),
    priority: 10
    conda:
        ENVIRONMENT
    params:
        code=code_of("join_images.py"),
    message:
        "{wildcards.dataset}: joining the generated images"
    shell:
        "python {input.script:q} --log {log} --shards {input.shards}"
        " --output {output.images} --sheet {output.sheet}"
