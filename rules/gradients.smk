"""Projected per-image gradients, in shards.

Needs results/{dataset}/model/ and images/{split}.h5, or latents/{split}.h5.
Makes results/{dataset}/gradients/{features}{variant}/{split}/shard-000.h5 and on.
The variant says of which model: none of the model itself, @checkpoint-25 of one within its training,
@seed-43 of one trained with another seed; needs model/checkpoints/25/ or model/seeds/43/.
Makes results/{dataset}/gradients/{features}@journey/gen/ in the same form, of the generated images' way.
"""


rule project_gradients:
    input:
        model=planned(models.variant_files),
        inputs=planned(shards.inputs, "{split}"),
        launcher=LAUNCHER,
        script=script_file("project_gradients.py"),
    output:
        "results/{dataset}/gradients/{features}{variant}/{split}/shard-{shard}.h5",
    log:
        "logs/{dataset}/project_gradients/{features}{variant}_{split}_{shard}.log",
    benchmark:
        "logs/{dataset}/project_gradients/{features}{variant}_{split}_{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: planned(setting, "jobs", "threads")
    resources:
        **on_device("gradients"),
        **ROWS,
    params:
        code=code_of("project_gradients.py"),
        folder=lambda wildcards, input: os.path.dirname(input.model[0]),
        settings=planned(shards.pass_json),
        images_per_shard=planned(setting, "jobs", "images_per_shard"),
    message:
        "{wildcards.dataset}: projecting gradients, {wildcards.features}{wildcards.variant} of {wildcards.split}, shard {wildcards.shard}"
    shell:
        "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
        " --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --model {params.folder} --inputs {input.inputs}"
        " --split {wildcards.split} --settings {params.settings:q} --shard {wildcards.shard}"
        " --images-per-shard {params.images_per_shard} --rows {resources.rows} --output {output}"


rule project_journeys:
    input:
        model=planned(models.model_files),
        inputs=planned(shards.inputs, "gen"),
        launcher=LAUNCHER,
        script=script_file("project_journeys.py"),
    output:
        "results/{dataset}/gradients/{features}@journey/gen/shard-{shard}.h5",
    log:
        "logs/{dataset}/project_journeys/{features}_{shard}.log",
    benchmark:
        "logs/{dataset}/project_journeys/{features}_{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: planned(setting, "jobs", "threads")
    resources:
        **on_device("journeys"),
        **ROWS,
    params:
        code=code_of("project_journeys.py"),
        folder=lambda wildcards, input: os.path.dirname(input.model[0]),
        settings=planned(shards.gradient_settings_json),
        generation=planned(section, "generate"),
        images_per_shard=planned(setting, "jobs", "images_per_shard"),
    message:
        "{wildcards.dataset}: projecting gradients along the sampling, {wildcards.features}, shard {wildcards.shard}"
    shell:
        "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
        " --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --model {params.folder} --inputs {input.inputs}"
        " --features {wildcards.features} --settings {params.settings:q} --generation {params.generation:q}"
        " --shard {wildcards.shard} --images-per-shard {params.images_per_shard} --rows {resources.rows}"
        " --output {output}"
