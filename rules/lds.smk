"""Scores, and how well they predict the losses of retrained models.

Needs results/{dataset}/gradients/, errors/, images/, subsets.h5 and lds/losses/.
Makes results/{dataset}/predictions/, lds_{method}.csv, lds.csv, lds.png and scores/.
"""

def method(wildcards):
    """The configuration of the method that a path names."""
    if wildcards.method not in config["methods"]:
        fail(f"methods: no {wildcards.method!r}, known are {', '.join(config['methods'])}")
    return config["methods"][wildcards.method]


def features_of(wildcards):
    """The features that a method uses."""
    return method(wildcards)["features"]


def scoring_inputs(wildcards):
    """Files that a method's scores are computed from, by name."""
    score = METHODS[method(wildcards)["score"]]
    folder = f"results/{wildcards.dataset}"
    home = score.score.__module__.replace(".", "/")
    files = {"code": lib("das/scoring.py", "das/kernel.py", f"{home}.py")}
    if "features" in score.inputs:
        files["train_features"] = shards(features_of, "train")(wildcards)
        files["query_features"] = shards(features_of, "{split}")(wildcards)
    if "errors" in score.inputs:
        files["train_errors"] = f"{folder}/errors/train.h5"
    if "images" in score.inputs:
        files["train_images"] = f"{folder}/images/train.h5"
        files["query_images"] = f"{folder}/images/{wildcards.split}.h5"
    return files


def scoring_options(wildcards, input):
    """Command line options for those files."""
    names = ("train_features", "query_features", "train_errors", "train_images", "query_images")
    return " ".join(f"--{n.replace('_', '-')} {input[n]}" for n in names if n in input.keys())


rule predict_losses:
    input:
        unpack(scoring_inputs),
        subsets="results/{dataset}/subsets.h5",
        script=lib("predict_losses.py"),
    output:
        "results/{dataset}/predictions/{method}/{split}.h5",
    params:
        score=lambda wildcards: method(wildcards)["score"],
        dampings=config["evaluation"]["dampings"],
        inputs=scoring_options,
    log:
        "logs/{dataset}/predict_losses/{method}_{split}.log",
    message:
        "{wildcards.dataset}: predicting losses, {wildcards.method} on {wildcards.split}"
    wildcard_constraints:
        split="val|gen",
    shell:
        "{PYTHON} {SCRIPTS}/predict_losses.py --log {log} --threads {threads}"
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
        code=lib("measure_lds.py", "das/lds.py"),
    output:
        "results/{dataset}/lds_{method}.csv",
    params:
        bootstrap=config["evaluation"]["bootstrap"],
    log:
        "logs/{dataset}/measure_lds/{method}.log",
    message:
        "{wildcards.dataset}: linear datamodeling score of {wildcards.method}"
    shell:
        "{PYTHON} {SCRIPTS}/measure_lds.py --log {log} --threads {threads} --method {wildcards.method}"
        " --val {input.val} --gen {input.gen} --losses {input.losses} --bootstrap {params.bootstrap}"
        " --output {output}"


rule summarise_lds:
    input:
        tables=expand("results/{{dataset}}/lds_{method}.csv", method=config["methods"]),
        code=lib("summarise_lds.py", "das/plots.py"),
    output:
        table="results/{dataset}/lds.csv",
        plot="results/{dataset}/lds.png",
    log:
        "logs/{dataset}/summarise_lds.log",
    message:
        "{wildcards.dataset}: comparing all methods"
    shell:
        "{PYTHON} {SCRIPTS}/summarise_lds.py --log {log} --tables {input.tables} --output {output.table}"
        " --plot {output.plot}"


rule score_images:
    input:
        unpack(scoring_inputs),
        table="results/{dataset}/lds_{method}.csv",
        script=lib("score_images.py"),
    output:
        "results/{dataset}/scores/{method}/{split}.h5",
    params:
        score=lambda wildcards: method(wildcards)["score"],
        inputs=scoring_options,
    log:
        "logs/{dataset}/score_images/{method}_{split}.log",
    message:
        "{wildcards.dataset}: scoring training images, {wildcards.method} for {wildcards.split}"
    wildcard_constraints:
        split="val|gen",
    shell:
        "{PYTHON} {SCRIPTS}/score_images.py --log {log} --threads {threads} --score {params.score}"
        " {params.inputs} --table {input.table} --split {wildcards.split} --output {output}"
