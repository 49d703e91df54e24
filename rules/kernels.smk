"""Kernels that are not the features' own Gram matrix: Gauss-Newton.

Needs results/{dataset}/model/ and images/train.h5, or latents/train.h5.
Makes results/{dataset}/kernels/{kernel}{variant}.h5, from shards in a folder of that name; the variant as in
rules/gradients.smk.
"""


rule sketch_kernel:
    input:
        model=variant_files,
        inputs=inputs_of("train"),
        launcher=LAUNCHER,
        script=lib("sketch_kernel.py"),
        code=code("kernels"),
    output:
        "results/{dataset}/kernels/{kernel}{variant}/shard-{shard}.h5",
    log:
        "logs/{dataset}/sketch_kernel/{kernel}{variant}_{shard}.log",
    benchmark:
        "logs/{dataset}/sketch_kernel/{kernel}{variant}_{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: setting("jobs", "threads")
    resources:
        gpu=setting("jobs", "gpus"),
        gpu_model=gpu_model,
        mem_mb=ask("mem_mb", kernel_needs),
        runtime=ask("runtime", kernel_needs),
        disk_mb=ask("disk_mb", kernel_needs),
        device=config["execution"]["device"],
        rows=setting("jobs", "rows_per_batch"),
        checkpoint_seconds=str(config["execution"]["checkpoint_seconds"]),
    params:
        folder=lambda wildcards, input: os.path.dirname(input.model[0]),
        settings=kernel_settings,
        images_per_shard=setting("jobs", "images_per_shard"),
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
        shards=kernel_shards,
        script=lib("join_kernel.py"),
        code=lib("das/shards.py"),
    output:
        "results/{dataset}/kernels/{kernel}{variant}.h5",
    log:
        "logs/{dataset}/join_kernel/{kernel}{variant}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=ask("mem_mb", joining_needs),
        runtime=ask("runtime", joining_needs),
    message:
        "{wildcards.dataset}: joining the kernel {wildcards.kernel}{wildcards.variant}"
    shell:
        "python {input.script:q} --log {log} --shards {input.shards} --output {output}"
