"""Counterfactual evaluation: queries generated anew by models that were trained on other images.

Needs results/{dataset}/scores/{method}/gen.h5, images/, model/ and the models of rules/subset_models.smk.
Makes results/{dataset}/counterfactual/{test}/{method}/subsets.h5 and outcomes.h5,
counterfactual.csv, counterfactual_queries.csv and counterfactual.png.
"""


rule choose_removals:
    input:
        scores=planned(pools.removal_scores),
        images="results/{dataset}/images/train.h5",
        script=script_file("choose_removals.py"),
    output:
        "results/{dataset}/counterfactual/{test}/{method}/subsets.h5",
    log:
        "logs/{dataset}/choose_removals/{test}_{method}.log",
    conda:
        ENVIRONMENT
    params:
        code=code_of("choose_removals.py"),
        settings=planned(pools.counterfactual_json),
        scores=lambda wildcards, input: f"--scores {input.scores}" if input.scores else "",
    message:
        "{wildcards.dataset}: choosing the images to {wildcards.test}, {wildcards.method}"
    shell:
        "python {input.script:q} --log {log} --threads {threads} --dataset {wildcards.dataset}"
        " --method {wildcards.method} --test {wildcards.test} {params.scores} --images {input.images}"
        " --settings {params.settings:q} --output {output}"


rule regenerate_images:
    input:
        models=planned(pools.counterfactual_models),
        subsets="results/{dataset}/counterfactual/{test}/{method}/subsets.h5",
        model=planned(models.model_files),
        queries="results/{dataset}/images/gen.h5",
        inputs=planned(shards.inputs, "gen"),
        clip=planned(models.clip_model),
        timesteps=planned(importance.timesteps),
        launcher=LAUNCHER,
        script=script_file("regenerate_images.py"),
    output:
        "results/{dataset}/counterfactual/{test}/{method}/outcomes.h5",
    log:
        "logs/{dataset}/regenerate_images/{test}_{method}.log",
    benchmark:
        "logs/{dataset}/regenerate_images/{test}_{method}.tsv"
    conda:
        ENVIRONMENT
    threads: planned(setting, "jobs", "threads")
    resources:
        **on_device("regenerate"),
        **ROWS,
    params:
        code=code_of("regenerate_images.py"),
        model=lambda wildcards, input: os.path.dirname(input.model[0]),
        models=lambda wildcards, input: os.path.dirname(os.path.dirname(input.models[0])),
        seed=planned(setting, "train", "seed"),
        generation=planned(section, "generate"),
        settings=planned(pools.loss_settings),
        timesteps=unwatched(importance.timesteps_option),
        clip=planned(models.clip_option),
    message:
        "{wildcards.dataset}: generating anew, {wildcards.test} {wildcards.method}"
    shell:
        "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
        " --threads {threads} --device {resources.device} --dataset {wildcards.dataset}"
        " --model {params.model} --models {params.models} --seed {params.seed} --subsets {input.subsets}"
        " --queries {input.queries} --inputs {input.inputs} --generation {params.generation:q}"
        " --settings {params.settings:q} {params.timesteps} --rows {resources.rows} {params.clip} --output {output}"


rule summarise_counterfactual:
    input:
        outcomes=planned(pools.outcomes),
        script=script_file("summarise_counterfactual.py"),
    output:
        table=shown(
            "results/{dataset}/counterfactual.csv", "counterfactual", "How far to trust it", "counterfactual"
        ),
        queries="results/{dataset}/counterfactual_queries.csv",
        plot=shown(
            "results/{dataset}/counterfactual.png",
            "counterfactual",
            "How far to trust it",
            "counterfactual, plot",
        ),
    log:
        "logs/{dataset}/summarise_counterfactual.log",
    conda:
        ENVIRONMENT
    params:
        code=code_of("summarise_counterfactual.py"),
        bootstrap=config["evaluation"]["bootstrap"],
    message:
        "{wildcards.dataset}: what became of generated images without the images that mattered"
    shell:
        "python {input.script:q} --log {log} --outcomes {input.outcomes} --bootstrap {params.bootstrap}"
        " --output {output.table} --queries {output.queries} --plot {output.plot}"
