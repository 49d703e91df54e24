"""Which training images mattered for each generated one, as a table to read.

Needs results/{dataset}/scores/{method}/gen.h5 and images/.
Makes results/{dataset}/attributions.csv, by the configured method, and attributions_{method}.csv by any.
"""

for rule_name, table, chosen in (
    ("tabulate_attributions", "attributions", config["attributions"]["method"]),
    ("tabulate_attributions_by_method", "attributions_{method}", "{method}"),
):

    rule:
        name:
            rule_name
        input:
            scores=f"results/{{dataset}}/scores/{chosen}/gen.h5",
            train=planned(shards.train_images, "attributions", "count"),
            queries="results/{dataset}/images/gen.h5",
            script=script_file("tabulate_attributions.py"),
        output:
            shown(f"results/{{dataset}}/{table}.csv", "attributions", "Which images mattered", "table"),
        log:
            f"logs/{{dataset}}/{table}.log",
        conda:
            ENVIRONMENT
        params:
            code=code_of("tabulate_attributions.py"),
            most=config["attributions"]["count"],
        message:
            "{wildcards.dataset}: listing the most influential training images"
        shell:
            "python {input.script:q} --log {log} --threads {threads} --scores {input.scores}"
            " --train-images {input.train} --query-images {input.queries} --count {params.most}"
            " --output {output}"
