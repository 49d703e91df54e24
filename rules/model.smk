"""The model whose training images are attributed, what it generates and where it errs.

Needs results/{dataset}/images/train.h5.
Makes results/{dataset}/model/, images/gen.h5, images/gen.png and errors/train.h5.
"""

TRAINING_CODE = (
    "das/train_jobs.py",
    "das/training.py",
    "das/models.py",
    "das/diffusion.py",
    "das/noise.py",
)


rule train_model:
    input:
        images="results/{dataset}/images/train.h5",
        unet=setting("unet"),
        script=lib("train_model.py"),
        code=lib(*TRAINING_CODE),
    output:
        model_files("results/{dataset}/model"),
    log:
        "logs/{dataset}/train_model.log",
    benchmark:
        "logs/{dataset}/train_model.tsv"
    # Everything but the subset models waits for this one.
    priority: 10
    conda:
        "../envs/das.yaml"
    resources:
        gpu=setting("jobs", "gpus"),
        device=config["execution"]["device"],
        checkpoint_seconds=str(config["execution"]["checkpoint_seconds"]),
        tracking=config["execution"]["tracking"],
    params:
        settings=section("train", "seed"),
        seed=setting("train", "seed"),
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    message:
        "{wildcards.dataset}: training the model"
    shell:
        "python {input.script} --log {log} --threads {threads} --device {resources.device}"
        " --checkpoint-seconds {resources.checkpoint_seconds} --tracking {resources.tracking}"
        " --dataset {wildcards.dataset} --images {input.images} --unet {input.unet}"
        " --settings {params.settings:q} --seed {params.seed} --output {params.folder}"


rule generate_images:
    input:
        model=model_files("results/{dataset}/model"),
        script=lib("generate_images.py"),
        code=lib("das/generation.py"),
    output:
        images="results/{dataset}/images/gen.h5",
        sheet="results/{dataset}/images/gen.png",
    log:
        "logs/{dataset}/generate_images.log",
    benchmark:
        "logs/{dataset}/generate_images.tsv"
    priority: 10
    conda:
        "../envs/das.yaml"
    resources:
        gpu=setting("jobs", "gpus"),
        device=config["execution"]["device"],
    params:
        folder=lambda wildcards, input: os.path.dirname(input.model[0]),
        images=setting("generate", "count"),
        seed=setting("generate", "seed"),
        steps=setting("generate", "steps"),
    message:
        "{wildcards.dataset}: generating {params.images} images"
    shell:
        "python {input.script} --log {log} --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --model {params.folder} --count {params.images}"
        " --seed {params.seed} --steps {params.steps} --output {output.images} --sheet {output.sheet}"


rule measure_errors:
    input:
        model=model_files("results/{dataset}/model"),
        images="results/{dataset}/images/train.h5",
        script=lib("measure_errors.py"),
        code=lib("das/evaluation.py", "das/diffusion.py", "das/noise.py"),
    output:
        "results/{dataset}/errors/train.h5",
    log:
        "logs/{dataset}/measure_errors.log",
    benchmark:
        "logs/{dataset}/measure_errors.tsv"
    conda:
        "../envs/das.yaml"
    resources:
        gpu=setting("jobs", "gpus"),
        device=config["execution"]["device"],
        rows=setting("jobs", "rows_per_batch"),
    params:
        folder=lambda wildcards, input: os.path.dirname(input.model[0]),
        settings=section("errors"),
    message:
        "{wildcards.dataset}: measuring the errors of the training images"
    shell:
        "python {input.script} --log {log} --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --model {params.folder} --images {input.images}"
        " --settings {params.settings:q} --rows {resources.rows} --output {output}"
