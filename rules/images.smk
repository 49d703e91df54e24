"""Images and the subsets of them on which models are retrained.

Needs published files (in data/, or where the user says), a folder of images, or nothing for embedded ones.
Makes results/{dataset}/images/train.h5, val.h5, subsets.h5 and retrain/subsets.h5.
"""


rule fetch_file:
    input:
        # Ancient: an edit of these, or a file that was placed here with an old date, fetches nothing again.
        script=ancient(script_file("fetch_file.py")),
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
        files=planned(sources.published_overrides),
    message:
        "Downloading {output}"
    shell:
        "python {input.script:q} --log {log} --files {params.files:q} --output {output}"


rule prepare_images:
    input:
        files=planned(sources.source_files),
        script=script_file("prepare_images.py"),
    output:
        train=temp("results/{dataset}/images/train.{request}.h5"),
        val=temp("results/{dataset}/images/val.{request}.h5"),
    log:
        "logs/{dataset}/prepare_images/{request}.log",
    conda:
        ENVIRONMENT
    params:
        code=code_of("prepare_images.py"),
        source=planned(section, "source", "path"),
        split=planned(section, "split"),
        content=planned(sources.source_content),
        options=planned(sources.source_options),
    message:
        "{wildcards.dataset}: preparing images"
    shell:
        "python {input.script:q} --log {log} --dataset {wildcards.dataset}"
        " --source {params.source:q} --split {params.split:q} {params.options}"
        " --train {output.train} --val {output.val}"


# What cannot be prepared costs nothing of what was made before: these stay until their successors are whole.
rule place_images:
    input:
        train=planned(sources.prepared_images, "train"),
        val=planned(sources.prepared_images, "val"),
        # Of those two, which are gone by the next call: what they are made from.
        files=planned(sources.source_files),
        script=rules.prepare_images.input.script,
    output:
        train="results/{dataset}/images/train.h5",
        val="results/{dataset}/images/val.h5",
    log:
        "logs/{dataset}/place_images.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code_of("prepare_images.py"),
    message:
        "{wildcards.dataset}: images are prepared"
    shell:
        "(mv {input.train} {output.train} && mv {input.val} {output.val}) 2> {log}"


for pool in pools.DRAWN:

    rule:
        name:
            pool.draw
        input:
            images="results/{dataset}/images/train.h5",
            script=script_file("draw_subsets.py"),
        output:
            pool.subsets,
        log:
            f"logs/{{dataset}}/{pool.draw}.log",
        conda:
            ENVIRONMENT
        params:
            code=code_of("draw_subsets.py"),
            subsets=planned(setting, pool.name, "subsets"),
            fraction=planned(setting, "lds", "fraction"),
            seed=planned(setting, pool.name, "seed"),
            seed_step=planned(setting, pool.name, "seed_step"),
            stratify=planned(pools.stratify_option),
            published=planned(pools.published_indices, pool.name),
            pool=pool.name,
        message:
            "{wildcards.dataset}: drawing {params.subsets} subsets for {params.pool}"
        shell:
            "python {input.script:q} --log {log} --dataset {wildcards.dataset} --pool {params.pool}"
            " --images {input.images} --count {params.subsets} --fraction {params.fraction}"
            " --seed {params.seed} --seed-step {params.seed_step} {params.stratify}"
            " --published-indices {params.published:q} --output {output}"
