"""A model and pictures of the user's own, in the place of training and generating.

Needs results/{dataset}/images/train.h5, or latents/train.h5, and what `model.path` and `queries.folder` name.
Makes results/{dataset}/model/, images/gen.h5 and images/gen.png.
"""

for taking in models.takings(PLAN):

    rule:
        name:
            f"take_{taking.kind}"
        input:
            # Ancient here and below: the name of what is made has a hash of what they hold, and dates say less.
            files=ancient(planned(models.own_model_files)),
            base=planned(models.base_model),
            inputs=planned(shards.inputs, "train"),
            script=script_file("take_model.py"),
        output:
            temp(taking.files("results/{dataset}/model.{request}")),
        log:
            f"logs/{{dataset}}/take_{taking.kind}/{{request}}.log",
        wildcard_constraints:
            dataset=taking.datasets,
        conda:
            ENVIRONMENT
        params:
            code=code_of("take_model.py"),
            path=planned(models.own_model),
            base=planned(models.own_model_base),
            folder=lambda wildcards, output: os.path.dirname(output[0]),
        message:
            "{wildcards.dataset}: taking the model in {params.path}"
        shell:
            "python {input.script:q} --log {log} --threads {threads} --dataset {wildcards.dataset}"
            " --model={params.path:q} {params.base} --inputs {input.inputs} --output {params.folder}"

    # As rules/images.smk does with the training images: a model that cannot be taken costs nothing.
    rule:
        name:
            f"place_{taking.kind}"
        input:
            model=planned(models.taken_model),
            # Of these, which are gone by the next call: what they are made from.
            files=ancient(planned(models.own_model_files)),
            base=planned(models.base_model),
            inputs=planned(shards.inputs, "train"),
            script=[script_file("place_model.py"), script_file("take_model.py")],
        output:
            taking.files("results/{dataset}/model"),
        log:
            f"logs/{{dataset}}/place_{taking.kind}.log",
        wildcard_constraints:
            dataset=taking.datasets,
        localrule: True
        conda:
            ENVIRONMENT
        params:
            code=code_of("take_model.py"),
            taken=lambda wildcards, input: os.path.dirname(input.model[0]),
            folder=lambda wildcards, output: os.path.dirname(output[0]),
        message:
            "{wildcards.dataset}: the model is taken"
        shell:
            "python {input.script[0]:q} --log {log} --taken {params.taken} --output {params.folder}"


if OWN_QUERIES := PLAN.named(True, "queries", "folder"):

    rule take_queries:
        input:
            train="results/{dataset}/images/train.h5",
            script=script_file("take_queries.py"),
        output:
            images=temp("results/{dataset}/images/gen.{request}.h5"),
            sheet=temp("results/{dataset}/images/gen.{request}.png"),
        log:
            "logs/{dataset}/take_queries/{request}.log",
        wildcard_constraints:
            dataset=OWN_QUERIES,
        conda:
            ENVIRONMENT
        params:
            code=code_of("take_queries.py"),
            folder=planned(setting, "queries", "folder"),
            content=planned(sources.picture_content),
        message:
            "{wildcards.dataset}: taking the pictures in {params.folder}"
        shell:
            "python {input.script:q} --log {log} --threads {threads} --dataset {wildcards.dataset}"
            " --folder={params.folder:q} --train {input.train}"
            " --output {output.images} --sheet {output.sheet}"

    # As rules/images.smk does with the training images.
    rule place_queries:
        input:
            images=planned(sources.taken_pictures, "h5"),
            sheet=planned(sources.taken_pictures, "png"),
            train="results/{dataset}/images/train.h5",
            script=rules.take_queries.input.script,
        output:
            images="results/{dataset}/images/gen.h5",
            sheet=shown("results/{dataset}/images/gen.png", "generated", "Which images mattered", "pictures"),
        log:
            "logs/{dataset}/place_queries.log",
        wildcard_constraints:
            dataset=OWN_QUERIES,
        localrule: True
        conda:
            ENVIRONMENT
        params:
            code=code_of("take_queries.py"),
        message:
            "{wildcards.dataset}: pictures are taken"
        shell:
            "(mv {input.images} {output.images} && mv {input.sheet} {output.sheet}) 2> {log}"
