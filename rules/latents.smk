"""Base models of text-conditioned data sets, and what they make of images and captions.

Needs results/{dataset}/images/{split}.h5, and the base model that the data set names.
Makes data/models/ (a base model from the hub) and results/{dataset}/latents/{split}.h5.
"""


rule fetch_base_model:
    input:
        # Ancient: an edit of these, or a model that was placed here by hand, fetches nothing again.
        script=ancient(script_file("fetch_base_model.py")),
    output:
        "data/models/{owner}--{name}/model_index.json",
    log:
        "logs/fetch_base_model/{owner}--{name}.log",
    wildcard_constraints:
        owner=r"[\w.-]+?",
        name=r"[\w.-]+",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    message:
        "Downloading the base model {wildcards.owner}/{wildcards.name}"
    shell:
        "python {input.script:q} --log {log} --base {wildcards.owner}/{wildcards.name}"
        " --output {params.folder}"


rule encode_latents:
    input:
        images="results/{dataset}/images/{split}.h5",
        base=planned(models.base_model),
        launcher=LAUNCHER,
        script=script_file("encode_latents.py"),
    output:
        "results/{dataset}/latents/{split}.h5",
    log:
        "logs/{dataset}/encode_latents/{split}.log",
    benchmark:
        "logs/{dataset}/encode_latents/{split}.tsv"
    priority: 10
    conda:
        ENVIRONMENT
    threads: planned(setting, "jobs", "threads")
    resources:
        **on_device("encode"),
    params:
        code=code_of("encode_latents.py"),
        base=planned(setting, "model", "base"),
        content=planned(models.base_model_content),
        flip=planned(models.flip_option),
    message:
        "{wildcards.dataset}: encoding the {wildcards.split} images"
    shell:
        "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
        " --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --base={params.base:q} --images {input.images} {params.flip}"
        " --output {output}"
