"""Projected per-image gradients, in shards.

Needs results/{dataset}/model/ and images/{split}.h5, or latents/{split}.h5.
Makes results/{dataset}/gradients/{features}/{split}/shard-000.h5 and on.
"""


rule project_gradients:
    input:
        model=model_files("results/{dataset}/model"),
        inputs=inputs_of("{split}"),
        script=lib("project_gradients.py"),
        code=code("gradients"),
    output:
        "results/{dataset}/gradients/{features}/{split}/shard-{shard}.h5",
    log:
        "logs/{dataset}/project_gradients/{features}_{split}_{shard}.log",
    benchmark:
        "logs/{dataset}/project_gradients/{features}_{split}_{shard}.tsv"
    conda:
        "../envs/das.yaml"
    resources:
        gpu=setting("jobs", "gpus"),
        device=config["execution"]["device"],
        rows=setting("jobs", "rows_per_batch"),
    params:
        folder=lambda wildcards, input: os.path.dirname(input.model[0]),
        settings=feature_settings,
        images_per_shard=setting("jobs", "images_per_shard"),
    message:
        "{wildcards.dataset}: projecting gradients, {wildcards.features} of {wildcards.split}, shard {wildcards.shard}"
    shell:
        "python {input.script} --log {log} --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --model {params.folder} --inputs {input.inputs}"
        " --split {wildcards.split} --settings {params.settings:q} --shard {wildcards.shard}"
        " --images-per-shard {params.images_per_shard} --rows {resources.rows} --output {output}"
