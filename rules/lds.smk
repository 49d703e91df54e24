"""Scores, and how well they predict the losses of retrained models.

Needs results/{dataset}/gradients/, errors/, images/, patches/, subsets.h5 and lds/losses/.
Makes results/{dataset}/predictions/, lds_{method}.csv, lds/statistics/, lds.csv, lds.png, lds_queries.csv,
lds_pairs.csv, lds_subsets.csv, lds_subsets.png and scores/.
"""


rule predict_losses:
    input:
        unpack(planned(evaluation.scoring_files)),
        subsets="results/{dataset}/subsets.h5",
        script=script_file("predict_losses.py"),
    output:
        "results/{dataset}/predictions/{method}/{split}.h5",
    log:
        "logs/{dataset}/predict_losses/{method}_{split}.log",
    wildcard_constraints:
        split="val|gen",
    conda:
        ENVIRONMENT
    resources:
        **in_memory("score"),
    params:
        code=code_of("predict_losses.py"),
        dampings=planned(evaluation.dampings),
        method=planned(evaluation.method_options),
        rule=planned(evaluation.rule_code),
        files=planned(evaluation.scoring_options),
        modules=unwatched(evaluation.module_options),
    message:
        "{wildcards.dataset}: predicting losses, {wildcards.method} on {wildcards.split}"
    shell:
        "python {input.script:q} --log {log} --threads {threads}"
        " {params.method} {params.modules} {params.files} --subsets {input.subsets}"
        " --dampings {params.dampings} --output {output}"


rule measure_lds:
    input:
        unpack(planned(evaluation.predictions)),
        losses=planned(pools.losses),
        script=script_file("measure_lds.py"),
    output:
        table="results/{dataset}/lds_{method}.csv",
        statistics="results/{dataset}/lds/statistics/{method}.h5",
    log:
        "logs/{dataset}/measure_lds/{method}.log",
    wildcard_constraints:
        method=r"(?!(?:pairs|queries|subsets)\.)\w+",  # lds_pairs.csv and its like are no method's
    conda:
        ENVIRONMENT
    params:
        code=code_of("measure_lds.py"),
        bootstrap=config["evaluation"]["bootstrap"],
        predictions=lambda wildcards, input: " ".join(
            f"--{split} {input[split]}" for split in ("val", "gen") if split in input.keys()
        ),
    message:
        "{wildcards.dataset}: linear datamodeling score of {wildcards.method}"
    shell:
        "python {input.script:q} --log {log} --threads {threads} --method {wildcards.method}"
        " {params.predictions} --losses {input.losses} --bootstrap {params.bootstrap}"
        " --output {output.table} --statistics {output.statistics}"


rule summarise_lds:
    input:
        tables=planned(evaluation.of_evaluated, "lds_{method}.csv"),
        script=script_file("summarise_lds.py"),
    output:
        table=shown("results/{dataset}/lds.csv", "lds", "How far to trust it", "LDS"),
        plot=shown("results/{dataset}/lds.png", "lds", "How far to trust it", "LDS, plot"),
    log:
        "logs/{dataset}/summarise_lds.log",
    conda:
        ENVIRONMENT
    params:
        code=code_of("summarise_lds.py"),
    message:
        "{wildcards.dataset}: LDS of all methods"
    shell:
        "python {input.script:q} --log {log} --tables {input.tables} --output {output.table}"
        " --plot {output.plot}"


rule compare_methods:
    input:
        statistics=planned(evaluation.of_evaluated, "lds/statistics/{method}.h5"),
        script=script_file("compare_methods.py"),
    output:
        queries="results/{dataset}/lds_queries.csv",
        pairs=shown("results/{dataset}/lds_pairs.csv", "lds_pairs", "How far to trust it", "pairs of methods"),
        subsets="results/{dataset}/lds_subsets.csv",
        plot=shown(
            "results/{dataset}/lds_subsets.png", "lds_subsets", "How far to trust it", "LDS by subsets"
        ),
    log:
        "logs/{dataset}/compare_methods.log",
    conda:
        ENVIRONMENT
    params:
        code=code_of("compare_methods.py"),
    message:
        "{wildcards.dataset}: comparing methods per query and in pairs"
    shell:
        "python {input.script:q} --log {log} --statistics {input.statistics} --queries {output.queries}"
        " --pairs {output.pairs} --subsets {output.subsets} --plot {output.plot}"


rule score_images:
    input:
        unpack(planned(evaluation.scoring_files)),
        table=planned(evaluation.damping_table),
        script=script_file("score_images.py"),
    output:
        "results/{dataset}/scores/{method}/{split}.h5",
    log:
        "logs/{dataset}/score_images/{method}_{split}.log",
    wildcard_constraints:
        split="val|gen",
    conda:
        ENVIRONMENT
    resources:
        **in_memory("score"),
    params:
        code=code_of("score_images.py"),
        method=planned(evaluation.method_options),
        rule=planned(evaluation.rule_code),
        files=planned(evaluation.scoring_options),
        modules=unwatched(evaluation.module_options),
        damping=planned(evaluation.score_damping),
        dampings=planned(evaluation.score_dampings),
        table=lambda wildcards, input: f"--table {input.table[0]}" if input.table else "",
        top=config["scores"]["top"],
    message:
        "{wildcards.dataset}: scoring training images, {wildcards.method} for {wildcards.split}"
    shell:
        "python {input.script:q} --log {log} --threads {threads} {params.method} {params.modules} {params.files}"
        " --damping {params.damping} --dampings {params.dampings} {params.table} --top {params.top} --output {output}"
