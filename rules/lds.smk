"""Scores, and how well they predict the losses of retrained models.

Needs results/{dataset}/gradients/, errors/, images/, subsets.h5 and lds/losses/.
Makes results/{dataset}/predictions/, lds_{method}.csv, lds.csv, lds.png and scores/.
"""

LDS_CODE = ["correlation", "resampling", "damping", "reading", "table"]


rule predict_losses:
    input:
        unpack(scoring_inputs),
        subsets="results/{dataset}/subsets.h5",
        script=lib("predict_losses.py"),
    output:
        "results/{dataset}/predictions/{method}/{split}.h5",
    log:
        "logs/{dataset}/predict_losses/{method}_{split}.log",
    wildcard_constraints:
        split="val|gen",
    conda:
        "../envs/das.yaml"
    params:
        score=lambda wildcards: method(wildcards)["score"],
        dampings=config["evaluation"]["dampings"],
        inputs=scoring_options,
    message:
        "{wildcards.dataset}: predicting losses, {wildcards.method} on {wildcards.split}"
    shell:
        "python {input.script} --log {log} --threads {threads}"
        " --score {params.score} {params.inputs} --subsets {input.subsets}"
        " --dampings {params.dampings} --output {output}"


rule measure_lds:
    input:
        val="results/{dataset}/predictions/{method}/val.h5",
        gen="results/{dataset}/predictions/{method}/gen.h5",
        losses=lambda wildcards: [
            f"results/{wildcards.dataset}/lds/losses/{model}.h5"
            for model in subset_model_names(dataset(wildcards))
        ],
        script=lib("measure_lds.py"),
        code=lib(*(f"das/lds/{name}.py" for name in LDS_CODE)),
    output:
        "results/{dataset}/lds_{method}.csv",
    log:
        "logs/{dataset}/measure_lds/{method}.log",
    conda:
        "../envs/das.yaml"
    params:
        bootstrap=config["evaluation"]["bootstrap"],
    message:
        "{wildcards.dataset}: linear datamodeling score of {wildcards.method}"
    shell:
        "python {input.script} --log {log} --threads {threads} --method {wildcards.method}"
        " --val {input.val} --gen {input.gen} --losses {input.losses} --bootstrap {params.bootstrap}"
        " --output {output}"


rule summarise_lds:
    input:
        tables=expand("results/{{dataset}}/lds_{method}.csv", method=config["methods"]),
        script=lib("summarise_lds.py"),
        code=lib("das/plots.py"),
    output:
        table="results/{dataset}/lds.csv",
        plot="results/{dataset}/lds.png",
    log:
        "logs/{dataset}/summarise_lds.log",
    conda:
        "../envs/das.yaml"
    message:
        "{wildcards.dataset}: comparing all methods"
    shell:
        "python {input.script} --log {log} --tables {input.tables} --output {output.table}"
        " --plot {output.plot}"


rule score_images:
    input:
        unpack(scoring_inputs),
        table="results/{dataset}/lds_{method}.csv",
        script=lib("score_images.py"),
    output:
        "results/{dataset}/scores/{method}/{split}.h5",
    log:
        "logs/{dataset}/score_images/{method}_{split}.log",
    wildcard_constraints:
        split="val|gen",
    conda:
        "../envs/das.yaml"
    params:
        score=lambda wildcards: method(wildcards)["score"],
        inputs=scoring_options,
    message:
        "{wildcards.dataset}: scoring training images, {wildcards.method} for {wildcards.split}"
    shell:
        "python {input.script} --log {log} --threads {threads} --score {params.score}"
        " {params.inputs} --table {input.table} --split {wildcards.split} --output {output}"
