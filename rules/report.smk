"""A page to look at: which training images mattered for each picture, and how far to trust that.

Needs results/{dataset}/scores/{method}/gen.h5, images/ and, where models are retrained, lds_{method}.csv.
Makes results/{dataset}/report.html.
"""


rule write_report:
    input:
        scores=expand("results/{{dataset}}/scores/{method}/gen.h5", method=config["report"]["methods"]),
        train="results/{dataset}/images/train.h5",
        queries="results/{dataset}/images/gen.h5",
        lds=report_tables,
        script=lib("write_report.py"),
        code=lib("das/report.py", "das/report.html", "das/attributions.py", "das/plots.py"),
    output:
        "results/{dataset}/report.html",
    log:
        "logs/{dataset}/write_report.log",
    conda:
        "../envs/das.yaml"
    params:
        lds=lambda wildcards, input: f"--lds {' '.join(input.lds)}" if input.lds else "",
        queries=config["report"]["queries"],
        most=config["report"]["most"],
    message:
        "{wildcards.dataset}: writing the page of the most influential training images"
    shell:
        "python {input.script} --log {log} --threads {threads} --scores {input.scores}"
        " --train-images {input.train} --query-images {input.queries} {params.lds}"
        " --queries {params.queries} --most {params.most} --output {output}"
