"""The model whose training images are attributed, what it generates and where it errs.

Needs results/{dataset}/images/train.h5.
Makes results/{dataset}/model/, images/gen.h5, images/gen.png and errors/train.h5.
"""

TRAINING_CODE = ("das/train_jobs.py", "das/training.py", "das/models.py", "das/diffusion.py", "das/noise.py")


rule train_model:
    input:
        images="results/{dataset}/images/train.h5",
        unet=setting("unet"),
        code=lib("train_model.py", *TRAINING_CODE),
    output:
        model_files("results/{dataset}/model"),
    params:
        settings=section("train", "seed"),
        seed=setting("train", "seed"),
        folder="results/{dataset}/model",
    log:
        "logs/{dataset}/train_model.log",
    benchmark:
        "logs/{dataset}/train_model.tsv"
    message:
        "{wildcards.dataset}: training the model"
    # Everything but the subset models waits for this one.
    priority: 10
    resources:
        gpu=setting("jobs", "gpus"),
    shell:
        "{PYTHON} {SCRIPTS}/train_model.py --log {log} --threads {threads} {TRAINING}"
        " --dataset {wildcards.dataset} --images {input.images} --unet {input.unet}"
        " --settings {params.settings:q} --seed {params.seed} --output {params.folder}"


rule generate_images:
    input:
        model=model_files("results/{dataset}/model"),
        code=lib("generate_images.py", "das/generation.py"),
    output:
        images="results/{dataset}/images/gen.h5",
        sheet="results/{dataset}/images/gen.png",
    params:
        folder="results/{dataset}/model",
        images=setting("generate", "count"),
        seed=setting("generate", "seed"),
        steps=setting("generate", "steps"),
    log:
        "logs/{dataset}/generate_images.log",
    benchmark:
        "logs/{dataset}/generate_images.tsv"
    message:
        "{wildcards.dataset}: generating {params.images} images"
    priority: 10
    resources:
        gpu=setting("jobs", "gpus"),
    shell:
        "{PYTHON} {SCRIPTS}/generate_images.py --log {log} --threads {threads} {COMPUTE}"
        " --dataset {wildcards.dataset} --model {params.folder} --count {params.images}"
        " --seed {params.seed} --steps {params.steps} --output {output.images} --sheet {output.sheet}"


rule measure_errors:
    input:
        model=model_files("results/{dataset}/model"),
        images="results/{dataset}/images/train.h5",
        code=lib("measure_errors.py", "das/evaluation.py", "das/diffusion.py", "das/noise.py"),
    output:
        "results/{dataset}/errors/train.h5",
    params:
        folder="results/{dataset}/model",
        settings=section("errors"),
    log:
        "logs/{dataset}/measure_errors.log",
    benchmark:
        "logs/{dataset}/measure_errors.tsv"
    message:
        "{wildcards.dataset}: measuring the errors of the training images"
    resources:
        gpu=setting("jobs", "gpus"),
        rows=setting("jobs", "rows_per_batch"),
    shell:
        "{PYTHON} {SCRIPTS}/measure_errors.py --log {log} --threads {threads} {COMPUTE}"
        " --dataset {wildcards.dataset} --model {params.folder} --images {input.images}"
        " --settings {params.settings:q} --rows {resources.rows} --output {output}"
