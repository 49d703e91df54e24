"""CLIP's embeddings of images, for the methods that compare them.

Needs results/{dataset}/images/{split}.h5, and the CLIP model that config/config.yaml names.
Makes results/{dataset}/embeddings/clip/{split}.h5.
"""


rule embed_images:
    input:
        images="results/{dataset}/images/{split}.h5",
        clip=clip_model,
        script=lib("embed_images.py"),
        code=lib("das/clip.py"),
    output:
        "results/{dataset}/embeddings/clip/{split}.h5",
    log:
        "logs/{dataset}/embed_images/{split}.log",
    benchmark:
        "logs/{dataset}/embed_images/{split}.tsv"
    conda:
        "../envs/das.yaml"
    resources:
        gpu=setting("jobs", "gpus"),
        device=config["execution"]["device"],
    params:
        folder=lambda wildcards, input: os.path.dirname(input.clip[0]),
    message:
        "{wildcards.dataset}: embedding the {wildcards.split} images with CLIP"
    shell:
        "python {input.script} --log {log} --threads {threads} --device {resources.device}"
        " --dataset {wildcards.dataset} --clip {params.folder:q} --images {input.images} --output {output}"
