"""Projected per-image gradients, in shards.

Needs results/{dataset}/model/ and images/{split}.h5, or latents/{split}.h5; and preconditioners/ where features
have one.
Makes results/{dataset}/gradients/{features}{variant}/{split}/shard-000.h5 and on.
The variant says of which model: none of the model itself, @checkpoint-25 of one within its training,
@seed-43 of one trained with another seed; needs model/checkpoints/25/ or model/seeds/43/.
Makes results/{dataset}/gradients/{features}@journey/gen/ in the same form, of the generated images' way.

A job makes all features of a shard that a command asks for and that see the same rows. Snakemake notes what decides
the files of a job for all of them at once; so they take their place one by one, and each is made again for its own
reasons, in whatever company.
"""

for job in passes.passes(PLAN, sys.argv[1:] + DEMO * ("demo" in sys.argv)):

    rule:
        name:
            job.rule
        input:
            model=planned(models.variant_files),
            inputs=planned(shards.inputs, "{split}"),
            preconditioner=planned(passes.preconditioner, job.features),
            launcher=LAUNCHER,
            script=script_file("project_gradients.py"),
        output:
            temp(job.files),
        log:
            f"logs/{{dataset}}/{job.log}.log",
        benchmark:
            f"logs/{{dataset}}/{job.log}.tsv"
        wildcard_constraints:
            **job.only,
        conda:
            ENVIRONMENT
        threads: planned(setting, "jobs", "threads")
        resources:
            **on_device("gradients", 1, job.features),
            **ROWS,
        params:
            code=code_of("project_gradients.py"),
            folder=lambda wildcards, input: os.path.dirname(input.model[0]),
            # A hash of these is in the names of the outputs.
            settings=unwatched(passes.pass_json, job.features),
            images_per_shard=unwatched(setting, "jobs", "images_per_shard"),
            preconditioner=lambda wildcards, input: (
                f"--preconditioner {input.preconditioner}" if input.preconditioner else ""
            ),
        message:
            f"{{wildcards.dataset}}: projecting gradients, {' '.join(job.features) or '{wildcards.features}'}{{wildcards.variant}} of {{wildcards.split}}, shard {{wildcards.shard}}"
        shell:
            "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
            " --threads {threads} --device {resources.device}"
            " --dataset {wildcards.dataset} --model {params.folder} --inputs {input.inputs}"
            " --split {wildcards.split} --settings {params.settings:q} --shard {wildcards.shard}"
            " --images-per-shard {params.images_per_shard} --rows {resources.rows}"
            " {params.preconditioner} --output {output}"

    if job.features:
        workflow.ruleorder(job.rule, passes.RULE)


rule place_gradients:
    input:
        projected=planned(passes.unplaced),
        # Of that, which is gone by the next call: what it is made from.
        model=planned(models.variant_files),
        inputs=planned(shards.inputs, "{split}"),
        preconditioner=planned(passes.preconditioner),
        script=script_file("project_gradients.py"),
    output:
        passes.SHARD,
    log:
        "logs/{dataset}/place_gradients/{features}{variant}_{split}_{shard}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code_of("project_gradients.py"),
    message:
        "{wildcards.dataset}: gradients are projected, {wildcards.features}{wildcards.variant} of {wildcards.split}, shard {wildcards.shard}"
    shell:
        "mv {input.projected} {output} 2> {log}"


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
