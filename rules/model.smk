"""The model whose training images are attributed, what it generates and where it errs.

Needs results/{dataset}/images/train.h5, or latents/train.h5.
Makes results/{dataset}/model/, its checkpoints, model/seeds/7/ (the same with another seed), images/gen/,
images/gen.h5, images/gen.png and errors{variant}/train.h5, the variant as in rules/gradients.smk.

The files of a model depend on its family and its checkpoints, and wildcards cannot express that: each
combination has its own rule.
"""

for rule_name, job, names, family, checkpoints, folder in whole_set_trainings():

    rule:
        name:
            rule_name
        input:
            inputs=inputs_of("train"),
            unet=network,
            base=base_model,
            launcher=LAUNCHER,
            script=lib("train_model.py"),
            code=code("train"),
        output:
            paths.model_paths(folder, family, checkpoints),
        log:
            f"logs/{{dataset}}/{job}.log",
        benchmark:
            f"logs/{{dataset}}/{job}.tsv"
        wildcard_constraints:
            dataset=names,
        # Everything but the subset models waits for this one.
        priority: 10
        conda:
            ENVIRONMENT
        threads: training_threads
        resources:
            gpu=setting("jobs", "gpus"),
            gpu_model=gpu_model,
            mem_mb=ask("mem_mb", whole_set_needs),
            runtime=ask("runtime", whole_set_needs),
            disk_mb=ask("disk_mb", whole_set_needs),
            device=config["execution"]["device"],
            checkpoint_seconds=str(config["execution"]["checkpoint_seconds"]),
            tracking=config["execution"]["tracking"],
        params:
            model=section("model"),
            network=network_content,
            settings=section("train", "seed", "checkpoints"),
            seed=training_seed,
            checkpoints=" ".join(map(str, checkpoints)),
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
        model=model_files("results/{dataset}/model"),
        launcher=LAUNCHER,
        script=lib("generate_images.py"),
        code=code("generate"),
    output:
        "results/{dataset}/images/gen/shard-{shard}.h5",
    log:
        "logs/{dataset}/generate_images/{shard}.log",
    benchmark:
        "logs/{dataset}/generate_images/{shard}.tsv"
    wildcard_constraints:
        dataset=GENERATING,
    priority: 10
    conda:
        ENVIRONMENT
    threads: setting("jobs", "threads")
    resources:
        gpu=setting("jobs", "gpus"),
        gpu_model=gpu_model,
        mem_mb=ask("mem_mb", generation_needs),
        runtime=ask("runtime", generation_needs),
        disk_mb=ask("disk_mb", generation_needs),
        device=config["execution"]["device"],
    params:
        folder=lambda wildcards, input: os.path.dirname(input.model[0]),
        settings=section("generate"),
        images_per_shard=setting("jobs", "generated_per_job"),
    message:
        "{wildcards.dataset}: generating images, shard {wildcards.shard}"
    shell:
        "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
        " --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --model {params.folder} --settings {params.settings:q}"
        " --shard {wildcards.shard} --images-per-shard {params.images_per_shard} --output {output}"


rule join_images:
    input:
        shards=generated_shards,
        script=lib("join_images.py"),
        code=lib("das/images.py", "das/shards.py", "das/sheet.py"),
    output:
        images="results/{dataset}/images/gen.h5",
        sheet=shown("results/{dataset}/images/gen.png", "generated", "Which images mattered", "pictures"),
    log:
        "logs/{dataset}/join_images.log",
    wildcard_constraints:
        dataset=GENERATING,
    priority: 10
    conda:
        ENVIRONMENT
    message:
        "{wildcards.dataset}: joining the generated images"
    shell:
        "python {input.script:q} --log {log} --shards {input.shards}"
        " --output {output.images} --sheet {output.sheet}"


rule measure_errors:
    input:
        model=variant_files,
        inputs=inputs_of("train"),
        launcher=LAUNCHER,
        script=lib("measure_errors.py"),
        code=code("errors"),
    output:
        "results/{dataset}/errors{variant}/train/shard-{shard}.h5",
    log:
        "logs/{dataset}/measure_errors{variant}/{shard}.log",
    benchmark:
        "logs/{dataset}/measure_errors{variant}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: setting("jobs", "threads")
    resources:
        gpu=setting("jobs", "gpus"),
        gpu_model=gpu_model,
        mem_mb=ask("mem_mb", error_needs),
        runtime=ask("runtime", error_needs),
        disk_mb=ask("disk_mb", error_needs),
        device=config["execution"]["device"],
        rows=setting("jobs", "rows_per_batch"),
    params:
        folder=lambda wildcards, input: os.path.dirname(input.model[0]),
        settings=section("errors"),
        images_per_shard=setting("jobs", "images_per_shard"),
    message:
        "{wildcards.dataset}: measuring the errors{wildcards.variant} of the training images, shard {wildcards.shard}"
    shell:
        "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
        " --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --model {params.folder} --inputs {input.inputs}"
        " --settings {params.settings:q} --shard {wildcards.shard}"
        " --images-per-shard {params.images_per_shard} --rows {resources.rows} --output {output}"


rule join_errors:
    input:
        shards=shard_files("errors{variant}", "train"),
        script=lib("join_errors.py"),
        code=lib("das/shards.py"),
    output:
        "results/{dataset}/errors{variant}/train.h5",
    log:
        "logs/{dataset}/join_errors{variant}.log",
    conda:
        ENVIRONMENT
    message:
        "{wildcards.dataset}: joining the errors{wildcards.variant} of the training images"
    shell:
        "python {input.script:q} --log {log} --shards {input.shards} --output {output}"
