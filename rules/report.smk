"""A page to look at: which training images mattered for each picture, and how far to trust that.

Needs results/{dataset}/scores/{method}/gen.h5, images/, where models are retrained, lds_{method}.csv, and where
report.counterfactual asks for it, what rules/counterfactual.smk makes.
Makes results/{dataset}/report.html.
"""


rule write_report:
    input:
        scores=expand("results/{{dataset}}/scores/{method}/gen.h5", method=config["report"]["methods"]),
        train=planned(shards.train_images, "report", "most"),
        queries="results/{dataset}/images/gen.h5",
        model="results/{dataset}/model/provenance.json",
        lds=planned(evaluation.of_report, "lds_{method}.csv"),
        statistics=planned(evaluation.of_report, "lds/statistics/{method}.h5"),
        counterfactual=planned(evaluation.report_counterfactual),
        outcomes=planned(evaluation.report_outcomes),
        script=script_file("write_report.py"),
        page=script_file("das/report/page.html"),
    output:
        shown("results/{dataset}/report.html", "page", "Which images mattered", "page"),
    log:
        "logs/{dataset}/write_report.log",
    conda:
        ENVIRONMENT
    params:
        code=code_of("write_report.py"),
        model=lambda wildcards, input: os.path.dirname(input.model),
        lds=lambda wildcards, input: (
            f"--lds {' '.join(input.lds)} --statistics {' '.join(input.statistics)}" if input.lds else ""
        ),
        counterfactual=lambda wildcards, input: (
            f"--counterfactual {input.counterfactual} --outcomes {input.outcomes}" if input.outcomes else ""
        ),
        queries=config["report"]["queries"],
        most=config["report"]["most"],
    message:
        "{wildcards.dataset}: writing the page of the most influential training images"
    shell:
        "python {input.script:q} --log {log} --threads {threads} --scores {input.scores}"
        " --train-images {input.train} --query-images {input.queries} --model {params.model}"
        " {params.lds}"
        " {params.counterfactual}"
        " --queries {params.queries} --most {params.most} --output {output}"
