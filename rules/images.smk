"""Images and the subsets of them on which models are retrained.

Needs an archive (data/, or the path that the user sets) or nothing, for embedded data sets.
Makes results/{dataset}/images/train.h5, val.h5 and subsets.h5.
"""

CIFAR10 = "data/cifar-10-binary.tar.gz"


def archive(wildcards):
    """The archive that a data set is read from; none for an embedded one."""
    source = dataset(wildcards)["source"]
    if source["kind"] == "digits":
        return []
    if "path" in source and not os.path.exists(source["path"]):
        fail(f"{wildcards.dataset}: source.path: no file {source['path']!r}, expected cifar-10-binary.tar.gz")
    return source.get("path", CIFAR10)


rule fetch_cifar10:
    input:
        code=lib("fetch_cifar10.py"),
    output:
        CIFAR10,
    log:
        "logs/fetch_cifar10.log",
    message:
        "Downloading CIFAR-10 to {output}"
    localrule: True
    shell:
        "{PYTHON} {SCRIPTS}/fetch_cifar10.py --log {log} --output {output}"


rule prepare_images:
    input:
        archive=archive,
        code=lib("prepare_images.py", "das/images.py", "das/sources/digits.py", "das/sources/cifar10.py"),
    output:
        train="results/{dataset}/images/train.h5",
        val="results/{dataset}/images/val.h5",
    params:
        source=section("source", "path"),
        split=section("split"),
        archive=lambda wildcards, input: f"--archive {input.archive}" if input.archive else "",
    log:
        "logs/{dataset}/prepare_images.log",
    message:
        "{wildcards.dataset}: preparing images"
    shell:
        "{PYTHON} {SCRIPTS}/prepare_images.py --log {log} --dataset {wildcards.dataset}"
        " --source {params.source:q} --split {params.split:q} {params.archive}"
        " --train {output.train} --val {output.val}"


rule draw_subsets:
    input:
        images="results/{dataset}/images/train.h5",
        code=lib("draw_subsets.py", "das/subsets.py"),
    output:
        "results/{dataset}/subsets.h5",
    params:
        subsets=setting("lds", "subsets"),
        fraction=setting("lds", "fraction"),
        seed=setting("lds", "seed"),
        seed_step=setting("lds", "seed_step"),
    log:
        "logs/{dataset}/draw_subsets.log",
    message:
        "{wildcards.dataset}: drawing {params.subsets} subsets"
    shell:
        "{PYTHON} {SCRIPTS}/draw_subsets.py --log {log} --dataset {wildcards.dataset}"
        " --images {input.images} --count {params.subsets} --fraction {params.fraction}"
        " --seed {params.seed} --seed-step {params.seed_step} --output {output}"
