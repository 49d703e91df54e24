"""Where the model errs: the denoising errors of the training images, from which residuals follow.

Needs results/{dataset}/model/ and images/train.h5, or latents/train.h5.
Makes results/{dataset}/errors{variant}/train.h5, from shards in a folder of that name; the variant as in
rules/gradients.smk.
"""


rule measure_errors:
    input:
        model=planned(models.variant_files),
        inputs=planned(shards.inputs, "train"),
        launcher=LAUNCHER,
        script=script_file("measure_errors.py"),
    output:
        "results/{dataset}/errors{variant}/train/shard-{shard}.h5",
    log:
        "logs/{dataset}/measure_errors{variant}/{shard}.log",
    benchmark:
        "logs/{dataset}/measure_errors{variant}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: planned(setting, "jobs", "threads")
    resources:
        **on_device("errors"),
        **ROWS,
    params:
        code=code_of("measure_errors.py"),
        folder=lambda wildcards, input: os.path.dirname(input.model[0]),
        settings=planned(section, "errors"),
        images_per_shard=planned(setting, "jobs", "images_per_shard"),
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
        shards=planned(shards.shards, "errors{variant}", "train"),
        script=script_file("join_errors.py"),
    output:
        "results/{dataset}/errors{variant}/train.h5",
    log:
        "logs/{dataset}/join_errors{variant}.log",
    conda:
        ENVIRONMENT
    params:
        code=code_of("join_errors.py"),
    message:
        "{wildcards.dataset}: joining the errors{wildcards.variant} of the training images"
    shell:
        "python {input.script:q} --log {log} --shards {input.shards} --output {output}"
