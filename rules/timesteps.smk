"""At which timesteps losses are measured: those where retrained models differ, if lds.budget asks for it.

Needs the first models of results/{dataset}/lds/models/ and what they are measured on, images/*.h5 or
latents/*.h5.
Makes results/{dataset}/lds/pilot.h5 and lds/timesteps.h5, by which rules/subset_models.smk and
rules/counterfactual.smk measure losses.
"""


rule measure_pilot:
    input:
        models=planned(importance.pilot_files),
        val=planned(shards.inputs, "val"),
        gen=planned(shards.inputs, "gen"),
        launcher=LAUNCHER,
        script=script_file("measure_pilot.py"),
    output:
        "results/{dataset}/lds/pilot.h5",
    log:
        "logs/{dataset}/measure_pilot.log",
    benchmark:
        "logs/{dataset}/measure_pilot.tsv"
    conda:
        ENVIRONMENT
    threads: planned(setting, "jobs", "threads")
    resources:
        **on_device("pilot"),
        **ROWS,
    params:
        code=code_of("measure_pilot.py"),
        settings=planned(importance.pilot_settings),
        folder=lambda wildcards, input: os.path.dirname(os.path.dirname(input.models[0])),
        models=planned(importance.pilot_models),
    message:
        "{wildcards.dataset}: measuring where retrained models differ"
    shell:
        "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
        " --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --models {params.folder} --names {params.models}"
        " --val {input.val} --gen {input.gen} --settings {params.settings:q} --rows {resources.rows}"
        " --output {output}"


rule choose_timesteps:
    input:
        pilot="results/{dataset}/lds/pilot.h5",
        script=script_file("choose_timesteps.py"),
    output:
        "results/{dataset}/lds/timesteps.h5",
    log:
        "logs/{dataset}/choose_timesteps.log",
    conda:
        ENVIRONMENT
    params:
        code=code_of("choose_timesteps.py"),
        settings=planned(pools.loss_settings),
        costs=unwatched(importance.costs),
    message:
        "{wildcards.dataset}: choosing the timesteps at which losses are measured"
    shell:
        "python {input.script:q} --log {log} --threads {threads} --dataset {wildcards.dataset}"
        " --pilot {input.pilot} --settings {params.settings:q} {params.costs} --output {output}"
