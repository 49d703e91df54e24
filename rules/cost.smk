"""What the workflow will cost, before any of it has run, and what it took.

Needs the configuration alone; the benchmark files in logs/ where there are any.
Makes results/{dataset}/cost.csv and docs/cost.md; for that page also cost_das_published.csv and
cost_das_economical.csv, of das alone by the data set's own protocol and by that of config/economical.yaml.
"""

# The data sets of the published protocol, which docs/cost.md describes.
PUBLISHED_DATASETS = (
    "cifar2",
    "cifar10",
    "celeba",
    "artbench2",
    "artbench5",
    "artbench10",
)


rule estimate_cost:
    input:
        unet=planned(models.network_file),
        script=script_file("estimate_cost.py"),
    output:
        shown("results/{dataset}/cost.csv", "cost", "What it takes", "cost"),
    log:
        "logs/{dataset}/estimate_cost.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code_of("estimate_cost.py"),
        settings=planned(resources.settings_json),
        config=planned(resources.costed_json),
        tflops=planned(resources.sustained_tflops),
        modules=unwatched(evaluation.module_options),
        measured=planned(resources.measured),
    message:
        "{wildcards.dataset}: estimating hours, memory and disk"
    shell:
        "python {input.script:q} --log {log} --threads {threads} --dataset {wildcards.dataset}"
        " --settings {params.settings:q} --config {params.config:q}"
        " --tflops {params.tflops:q} {params.modules}"
        " --measured logs/{wildcards.dataset} --output {output}"


use rule estimate_cost as estimate_protocol with:
    output:
        "results/{dataset}/cost_das_{protocol}.csv",
    log:
        "logs/{dataset}/estimate_cost_das_{protocol}.log",
    wildcard_constraints:
        protocol="|".join(resources.PROTOCOLS),
    params:
        code=code_of("estimate_cost.py"),
        settings=planned(resources.protocol_json),
        config=planned(resources.das_json),
        tflops=planned(resources.sustained_tflops),
        modules=unwatched(evaluation.module_options),
        measured=planned(resources.measured),
    message:
        "{wildcards.dataset}: estimating the {wildcards.protocol} protocol of das"


rule describe_costs:
    input:
        tables=expand("results/{dataset}/cost.csv", dataset=PUBLISHED_DATASETS),
        published=expand("results/{dataset}/cost_das_published.csv", dataset=PUBLISHED_DATASETS),
        economical=expand("results/{dataset}/cost_das_economical.csv", dataset=PUBLISHED_DATASETS),
        script=script_file("describe_costs.py"),
    output:
        "docs/cost.md",
    log:
        "logs/describe_costs.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code_of("describe_costs.py"),
    message:
        "Describing the costs of the published data sets"
    shell:
        "python {input.script:q} --log {log} --threads {threads} --tables {input.tables}"
        " --published {input.published} --economical {input.economical} --output {output}"
