"""CLIP's embeddings of images, for the methods that compare them.

Needs results/{dataset}/images/{split}.h5, and the CLIP model that config/config.yaml names.
Makes data/models/ (a CLIP model from the hub) and results/{dataset}/embeddings/clip/{split}.h5.
"""


rule fetch_clip_model:
    input:
        # Ancient: an edit of these, or a model that was placed here by hand, fetches nothing again.
        script=ancient(script_file("fetch_base_model.py")),
    output:
        "data/models/{owner}--{name}/config.json",
    log:
        "logs/fetch_clip_model/{owner}--{name}.log",
    wildcard_constraints:
        owner=r"[\w.-]+?",
        name=r"[\w.-]+",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    message:
        "Downloading the CLIP model {wildcards.owner}/{wildcards.name}"
    shell:
        "python {input.script:q} --log {log} --clip {wildcards.owner}/{wildcards.name}"
        " --output {params.folder}"


rule embed_images:
    input:
        images="results/{dataset}/images/{split}.h5",
        clip=planned(models.clip_model),
        launcher=LAUNCHER,
        script=script_file("embed_images.py"),
    output:
        "results/{dataset}/embeddings/clip/{split}.h5",
    log:
        "logs/{dataset}/embed_images/{split}.log",
    benchmark:
        "logs/{dataset}/embed_images/{split}.tsv"
    conda:
        ENVIRONMENT
    threads: planned(setting, "jobs", "threads")
    resources:
        gpu=planned(setting, "jobs", "gpus"),
        gpu_model=planned(resources.gpu_model),
        device=config["execution"]["device"],
    params:
        code=code_of("embed_images.py"),
        folder=planned(models.clip_folder),
        content=planned(models.clip_content),
    message:
        "{wildcards.dataset}: embedding the {wildcards.split} images with CLIP"
    shell:
        "python {input.launcher:q} {resources.gpu} python {input.script:q} --log {log}"
        " --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --clip={params.folder:q} --images {input.images} --output {output}"
