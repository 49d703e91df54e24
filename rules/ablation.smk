"""A method with one factor changed at a time: what each of its speed-ups costs and saves.

Needs what rules/lds.smk makes of the method and of its changes, which das/plan/ablation.py turns into methods.
Makes results/{dataset}/ablation.csv and ablation.png.
"""


rule summarise_ablation:
    input:
        tables=planned(evaluation.of_ablation, "lds_{method}.csv"),
        statistics=planned(evaluation.of_ablation, "lds/statistics/{method}.h5"),
        script=script_file("summarise_ablation.py"),
    output:
        table=shown("results/{dataset}/ablation.csv", "ablation", "How far to trust it", "ablation"),
        plot=shown("results/{dataset}/ablation.png", "ablation", "How far to trust it", "ablation, plot"),
    log:
        "logs/{dataset}/summarise_ablation.log",
    conda:
        ENVIRONMENT
    params:
        code=code_of("summarise_ablation.py"),
        base=config["ablation"]["base"],
        changes=planned(evaluation.ablation_changes),
    message:
        "{wildcards.dataset}: comparing changes of {params.base}"
    shell:
        "python {input.script:q} --log {log} --base {params.base} --changes {params.changes:q}"
        " --tables {input.tables} --statistics {input.statistics} --output {output.table} --plot {output.plot}"
