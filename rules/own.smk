"""A model and pictures of the user's own, in the place of training and generating.

Needs results/{dataset}/images/train.h5, or latents/train.h5, and what `model.path` and `queries.folder` name.
Makes results/{dataset}/model/, images/gen.h5 and images/gen.png.
"""

for family, kind in (("unet", "model"), ("lora", "adapters")):
    names = [name for name in OWN_MODELS if DATASETS[name]["model"]["family"] == family]
    if not names:
        continue

    rule:
        name:
            f"take_{kind}"
        input:
            # Ancient here and below: the name of what is made has a hash of what they hold, and dates say less.
            files=ancient(own_model_files),
            base=base_model,
            inputs=inputs_of("train"),
            script=lib("take_model.py"),
            code=lib(f"das/models/{family}.py", "das/models/base.py", "das/models/weights.py"),
        output:
            temp(paths.model_paths("results/{dataset}/model.{request}", family)),
        log:
            f"logs/{{dataset}}/take_{kind}/{{request}}.log",
        wildcard_constraints:
            dataset="|".join(names),
        conda:
            ENVIRONMENT
        params:
            path=own_model_path,
            base=base_option,
            folder=lambda wildcards, output: os.path.dirname(output[0]),
        message:
            "{wildcards.dataset}: taking the model in {params.path}"
        shell:
            "python {input.script:q} --log {log} --threads {threads} --dataset {wildcards.dataset}"
            " --model={params.path:q} {params.base} --inputs {input.inputs} --output {params.folder}"

    # As rules/images.smk does with the training images: a model that cannot be taken costs nothing.
    rule:
        name:
            f"place_{kind}"
        input:
            model=taken_model,
            # Of these, which are gone by the next call: what they are made from.
            files=ancient(own_model_files),
            base=base_model,
            inputs=inputs_of("train"),
            script=lib("place_model.py", "take_model.py"),
            code=lib(f"das/models/{family}.py", "das/models/base.py", "das/models/weights.py"),
        output:
            paths.model_paths("results/{dataset}/model", family),
        log:
            f"logs/{{dataset}}/place_{kind}.log",
        wildcard_constraints:
            dataset="|".join(names),
        localrule: True
        conda:
            ENVIRONMENT
        params:
            taken=lambda wildcards, input: os.path.dirname(input.model[0]),
            folder=lambda wildcards, output: os.path.dirname(output[0]),
        message:
            "{wildcards.dataset}: the model is taken"
        shell:
            "python {input.script[0]:q} --log {log} --taken {params.taken} --output {params.folder}"


if OWN_QUERIES:

    rule take_queries:
        input:
            train="results/{dataset}/images/train.h5",
            script=lib("take_queries.py"),
            code=lib("das/images.py", "das/sources/decoding.py", "das/sources/metadata.py", "das/sheet.py"),
        output:
            images=temp("results/{dataset}/images/gen.{request}.h5"),
            sheet=temp("results/{dataset}/images/gen.{request}.png"),
        log:
            "logs/{dataset}/take_queries/{request}.log",
        wildcard_constraints:
            dataset="|".join(OWN_QUERIES),
        conda:
            ENVIRONMENT
        params:
            folder=setting("queries", "folder"),
            listing=lambda wildcards: content_of(dataset(wildcards)["queries"]["folder"]),
        message:
            "{wildcards.dataset}: taking the pictures in {params.folder}"
        shell:
            "python {input.script:q} --log {log} --threads {threads} --dataset {wildcards.dataset}"
            " --folder={params.folder:q} --train {input.train}"
            " --output {output.images} --sheet {output.sheet}"

    # As rules/images.smk does with the training images.
    rule place_queries:
        input:
            images=taken("h5"),
            sheet=taken("png"),
            train="results/{dataset}/images/train.h5",
            script=rules.take_queries.input.script,
            code=rules.take_queries.input.code,
        output:
            images="results/{dataset}/images/gen.h5",
            sheet=shown("results/{dataset}/images/gen.png", "generated", "Which images mattered", "pictures"),
        log:
            "logs/{dataset}/place_queries.log",
        wildcard_constraints:
            dataset="|".join(OWN_QUERIES),
        localrule: True
        conda:
            ENVIRONMENT
        message:
            "{wildcards.dataset}: pictures are taken"
        shell:
            "(mv {input.images} {output.images} && mv {input.sheet} {output.sheet}) 2> {log}"
