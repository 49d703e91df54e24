"""Images and the subsets of them on which models are retrained.

Needs published files (in data/, or where the user says), a folder of images, or nothing for embedded ones.
Makes results/{dataset}/images/train.h5, val.h5, subsets.h5 and retrain/subsets.h5.
"""


rule fetch_file:
    input:
        # Ancient: an edit of these, or a file that was placed here with an old date, fetches nothing again.
        script=ancient(lib("fetch_file.py")),
        code=ancient(lib("das/download.py", "das/sources/published.py")),
    output:
        "data/{name}",
    log:
        "logs/fetch_file/{name}.log",
    wildcard_constraints:
        name="|".join(re.escape(f.name) for files in PUBLISHED.values() for f in files),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        files=published_overrides,
    message:
        "Downloading {output}"
    shell:
        "python {input.script:q} --log {log} --files {params.files:q} --output {output}"


rule prepare_images:
    input:
        files=located,
        script=lib("prepare_images.py"),
        code=lib("das/images.py"),
        source=source_code,
    output:
        train=temp("results/{dataset}/images/train.{request}.h5"),
        val=temp("results/{dataset}/images/val.{request}.h5"),
    log:
        "logs/{dataset}/prepare_images/{request}.log",
    conda:
        ENVIRONMENT
    params:
        source=section("source", "path"),
        split=section("split"),
        files=files_option,
        folder=image_folder,
        listing=listing,
        side=model_side,
    message:
        "{wildcards.dataset}: preparing images"
    shell:
        "python {input.script:q} --log {log} --dataset {wildcards.dataset}"
        " --source {params.source:q} --split {params.split:q} {params.files} {params.folder}"
        " {params.side} --train {output.train} --val {output.val}"


# What cannot be prepared costs nothing of what was made before: these stay until their successors are whole.
rule place_images:
    input:
        train=prepared("train"),
        val=prepared("val"),
        # Of those two, which are gone by the next call: what they are made from.
        files=located,
        script=rules.prepare_images.input.script,
        code=rules.prepare_images.input.code,
        source=source_code,
    output:
        train="results/{dataset}/images/train.h5",
        val="results/{dataset}/images/val.h5",
    log:
        "logs/{dataset}/place_images.log",
    localrule: True
    conda:
        ENVIRONMENT
    message:
        "{wildcards.dataset}: images are prepared"
    shell:
        "(mv {input.train} {output.train} && mv {input.val} {output.val}) 2> {log}"


for pool in DRAWN:

    rule:
        name:
            POOLS[pool].draw
        input:
            images="results/{dataset}/images/train.h5",
            script=lib("draw_subsets.py"),
            code=lib("das/subsets.py"),
        output:
            POOLS[pool].subsets,
        log:
            f"logs/{{dataset}}/{POOLS[pool].draw}.log",
        conda:
            ENVIRONMENT
        params:
            subsets=setting(pool, "subsets"),
            fraction=setting("lds", "fraction"),
            seed=setting(pool, "seed"),
            seed_step=setting(pool, "seed_step"),
            stratify=lambda wildcards: "" if dataset(wildcards)["split"]["stratify"] else "--no-stratify",
            published=lambda wildcards, pool=pool: json.dumps(
                dataset(wildcards)[pool].get("published_indices") or {}
            ),
            pool=pool,
        message:
            "{wildcards.dataset}: drawing {params.subsets} subsets for {params.pool}"
        shell:
            "python {input.script:q} --log {log} --dataset {wildcards.dataset} --pool {params.pool}"
            " --images {input.images} --count {params.subsets} --fraction {params.fraction}"
            " --seed {params.seed} --seed-step {params.seed_step} {params.stratify}"
            " --published-indices {params.published:q} --output {output}"
