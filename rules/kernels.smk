"""What kernels are made of: the features' own Gram matrix, or that of Gauss-Newton.

Needs results/{dataset}/gradients/, model/ and images/train.h5, or latents/train.h5.
Makes results/{dataset}/grams/{features}{variant}.h5, where there are more images than numbers in a feature; and
kernels/{kernel}{variant}.h5, from shards in a folder of that name; the variant as in rules/gradients.smk.
"""


rule sum_gram:
    input:
        features=planned(shards.gram_shards),
        script=script_file("sum_gram.py"),
    output:
        "results/{dataset}/grams/{features}{variant}.h5",
    log:
        "logs/{dataset}/sum_gram/{features}{variant}.log",
    conda:
        ENVIRONMENT
    resources:
        **in_memory("gram"),
    params:
        code=code_of("sum_gram.py"),
    message:
        "{wildcards.dataset}: summing up the Gram matrix of {wildcards.features}{wildcards.variant}"
    shell:
        "python {input.script:q} --log {log} --threads {threads} --features {input.features} --output {output}"


rule sketch_kernel:
    input:
        model=planned(models.variant_files),
        inputs=planned(shards.inputs, "train"),
        launcher=LAUNCHER,
        script=script_file("sketch_kernel.py"),
    output:
        "results/{dataset}/kernels/{kernel}{variant}/shard-{shard}.h5",
    log:
        "logs/{dataset}/sketch_kernel/{kernel}{variant}_{shard}.log",
    benchmark:
        "logs/{dataset}/sketch_kernel/{kernel}{variant}_{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: planned(setting, "jobs", "threads")
    resources:
        **on_device("kernel"),
        **ROWS,
        **SAVING,
    params:
        code=code_of("sketch_kernel.py"),
        folder=lambda wildcards, input: os.path.dirname(input.model[0]),
        settings=planned(shards.gradient_settings_json),
        images_per_shard=planned(setting, "jobs", "images_per_shard"),
    message:
        "{wildcards.dataset}: sketching the kernel {wildcards.kernel}{wildcards.variant}, shard {wildcards.shard}"
    shell:
        "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
        " --threads {threads} --device {resources.device}"
        " --checkpoint-seconds {resources.checkpoint_seconds} --dataset {wildcards.dataset}"
        " --model {params.folder} --inputs {input.inputs} --kernel {wildcards.kernel}"
        " --settings {params.settings:q} --shard {wildcards.shard}"
        " --images-per-shard {params.images_per_shard} --rows {resources.rows} --output {output}"


rule join_kernel:
    input:
        shards=planned(shards.kernel_shards),
        script=script_file("join_kernel.py"),
    output:
        "results/{dataset}/kernels/{kernel}{variant}.h5",
    log:
        "logs/{dataset}/join_kernel/{kernel}{variant}.log",
    conda:
        ENVIRONMENT
    resources:
        **in_memory("join_kernel"),
    params:
        code=code_of("join_kernel.py"),
    message:
        "{wildcards.dataset}: joining the kernel {wildcards.kernel}{wildcards.variant}"
    shell:
        "python {input.script:q} --log {log} --shards {input.shards} --output {output}"
