"""Patches of noised queries compared with those of the training images, for the methods nda and nda_two_scales.

Needs results/{dataset}/images/{split}.h5, or latents/{split}.h5, and the noise schedule of results/{dataset}/model/.
Makes results/{dataset}/patches/{patches}/{split}.h5.
"""


rule compare_patches:
    input:
        train=planned(shards.inputs, "train"),
        queries=planned(shards.inputs, "{split}"),
        schedule="results/{dataset}/model/scheduler/scheduler_config.json",
        launcher=LAUNCHER,
        script=script_file("compare_patches.py"),
    output:
        "results/{dataset}/patches/{patches}/{split}.h5",
    log:
        "logs/{dataset}/compare_patches/{patches}_{split}.log",
    benchmark:
        "logs/{dataset}/compare_patches/{patches}_{split}.tsv"
    wildcard_constraints:
        split="val|gen",
    conda:
        ENVIRONMENT
    threads: planned(setting, "jobs", "threads")
    resources:
        **on_device("patches"),
    params:
        code=code_of("compare_patches.py"),
        settings=planned(shards.patch_settings_json),
    message:
        "{wildcards.dataset}: comparing patches, {wildcards.patches} of the {wildcards.split} images"
    shell:
        "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
        " --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --train {input.train} --queries {input.queries}"
        " --split {wildcards.split} --schedule {input.schedule} --settings {params.settings:q} --output {output}"
