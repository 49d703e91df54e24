"""Images and the subsets of them on which models are retrained.

Needs an archive (data/, or the path that the user sets) or nothing, for embedded data sets.
Makes results/{dataset}/images/train.h5, val.h5 and subsets.h5.
"""


rule fetch_cifar10:
    input:
        script=lib("fetch_cifar10.py"),
        code=lib("das/download.py"),
    output:
        CIFAR10,
    log:
        "logs/fetch_cifar10.log",
    localrule: True
    conda:
        "../envs/das.yaml"
    message:
        "Downloading CIFAR-10 to {output}"
    shell:
        "python {input.script} --log {log} --output {output}"


rule prepare_images:
    input:
        archive=archive,
        script=lib("prepare_images.py"),
        code=lib(
            "das/images.py",
            "das/sources/__init__.py",
            "das/sources/digits.py",
            "das/sources/cifar10.py",
        ),
    output:
        train="results/{dataset}/images/train.h5",
        val="results/{dataset}/images/val.h5",
    log:
        "logs/{dataset}/prepare_images.log",
    conda:
        "../envs/das.yaml"
    params:
        source=section("source", "path"),
        split=section("split"),
        archive=lambda wildcards, input: (f"--archive {input.archive}" if input.archive else ""),
    message:
        "{wildcards.dataset}: preparing images"
    shell:
        "python {input.script} --log {log} --dataset {wildcards.dataset}"
        " --source {params.source:q} --split {params.split:q} {params.archive}"
        " --train {output.train} --val {output.val}"


rule draw_subsets:
    input:
        images="results/{dataset}/images/train.h5",
        script=lib("draw_subsets.py"),
        code=lib("das/subsets.py"),
    output:
        "results/{dataset}/subsets.h5",
    log:
        "logs/{dataset}/draw_subsets.log",
    conda:
        "../envs/das.yaml"
    params:
        subsets=setting("lds", "subsets"),
        fraction=setting("lds", "fraction"),
        seed=setting("lds", "seed"),
        seed_step=setting("lds", "seed_step"),
    message:
        "{wildcards.dataset}: drawing {params.subsets} subsets"
    shell:
        "python {input.script} --log {log} --dataset {wildcards.dataset}"
        " --images {input.images} --count {params.subsets} --fraction {params.fraction}"
        " --seed {params.seed} --seed-step {params.seed_step} --output {output}"
