"""Preconditioners of gradients: a Kronecker-factored Gauss-Newton matrix (EK-FAC).

Needs results/{dataset}/model/ and images/train.h5, or latents/train.h5.
Makes results/{dataset}/preconditioners/{preconditioner}{variant}.h5, which rules/gradients.smk needs for features
with a preconditioner; the variant as there.
"""


rule estimate_preconditioner:
    input:
        model=planned(models.variant_files),
        inputs=planned(shards.inputs, "train"),
        launcher=LAUNCHER,
        script=script_file("estimate_preconditioner.py"),
    output:
        "results/{dataset}/preconditioners/{preconditioner}{variant}.h5",
    log:
        "logs/{dataset}/estimate_preconditioner/{preconditioner}{variant}.log",
    benchmark:
        "logs/{dataset}/estimate_preconditioner/{preconditioner}{variant}.tsv"
    conda:
        ENVIRONMENT
    threads: planned(setting, "jobs", "threads")
    resources:
        **on_device("preconditioner"),
        **ROWS,
        **SAVING,
    params:
        code=code_of("estimate_preconditioner.py"),
        folder=lambda wildcards, input: os.path.dirname(input.model[0]),
        settings=planned(shards.preconditioner_json),
        images=planned(setting, "split", "train"),
    message:
        "{wildcards.dataset}: estimating the preconditioner {wildcards.preconditioner}{wildcards.variant}"
    shell:
        "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
        " --threads {threads} --device {resources.device}"
        " --checkpoint-seconds {resources.checkpoint_seconds} --dataset {wildcards.dataset}"
        " --model {params.folder} --inputs {input.inputs} --preconditioner {wildcards.preconditioner}"
        " --settings {params.settings:q} --shard 0 --images-per-shard {params.images}"
        " --rows {resources.rows} --output {output}"
