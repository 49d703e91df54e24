"""Hold what jobs ask a scheduler for against what they took, in the files logs/NAME/**/*.tsv of a run.

    python tests/benchmarks/check_needs.py NAME [--directory FOLDER] [--configfile FILE]

A line for each kind of job: the most that one took, what it asks for, and the ratio. Below 1 a scheduler
would have killed it.
"""

import argparse
from pathlib import Path

import pandas as pd

from das.plan import configuration
from das.plan.needs import JobNeeds

ROOT = Path(__file__).parents[2]


def asked(settings, config):
    """Names of benchmark files of each kind of job, and what the jobs ask for."""
    needs = JobNeeds(settings, config["execution"])
    images, jobs = settings["split"]["train"], settings["jobs"]
    half, shard = int(settings["lds"]["fraction"] * images), min(images, jobs["images_per_shard"])
    models, saved = jobs["models_per_job"], 1 + len(settings["train"]["checkpoints"])
    generated = min(settings["generate"]["count"], jobs["generated_per_job"])
    removed = settings["counterfactual"].get("images", 0)
    features = [settings["gradients"] | entry for entry in config["features"].values()]
    kernel = settings["gradients"] | config["kernels"]["gauss_newton"]
    return {
        "train_model.tsv": needs.train(images, saved=saved),
        "train_subset_models/*.tsv": needs.train(half, models),
        "evaluate_subset_models/*.tsv": needs.evaluate(models),
        "train_counterfactual_remove/*/*.tsv": needs.train(images - removed, models),
        "train_counterfactual_keep/*/*.tsv": needs.train(removed, models),
        "regenerate_images/*.tsv": needs.regenerate(settings["counterfactual"]["queries"]),
        "generate_images/*.tsv": needs.generate(generated),
        "measure_errors/*.tsv": needs.errors(shard),
        "project_gradients/*_train_*.tsv": needs.gradients(shard, *features),
        "sketch_kernel/*.tsv": needs.kernel(shard, kernel),
        "estimate_preconditioner/*.tsv": needs.preconditioner(
            settings["gradients"] | config["preconditioners"]["ekfac"]
        ),
    }


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("name")
    options.add_argument("--directory", type=Path, default=ROOT)
    options.add_argument("--configfile", type=Path)
    arguments = options.parse_args()
    config = configuration.load_yaml(ROOT / "config/config.yaml")
    if arguments.configfile:
        config = configuration.merge(config, configuration.load_yaml(arguments.configfile))
    schemas = ROOT / "workflow/schemas"
    config = configuration.validate(config, schemas / "config.schema.yaml", "config/config.yaml")
    found = configuration.load_datasets(
        ROOT / "config/datasets", config["datasets"], schemas / "dataset.schema.yaml"
    )[arguments.name]
    found["model"]["unet"] = str(ROOT / found["model"]["unet"])
    rows = []
    for pattern, need in asked(found, config).items():
        files = sorted((arguments.directory / "logs" / arguments.name).glob(pattern))
        if files:
            took = pd.concat([pd.read_csv(file, sep="\t") for file in files]).max(numeric_only=True)
            memory = took.max_rss * 2**20 / 1e6
            minutes = took.s / 60
            rows.append(
                {
                    "jobs": pattern,
                    "count": len(files),
                    "MB": round(memory),
                    "asked MB": need.mem_mb,
                    "memory ratio": round(need.mem_mb / memory, 2),
                    "minutes": round(minutes, 1),
                    "asked minutes": need.runtime,
                    "time ratio": round(need.runtime / minutes, 1),
                }
            )
    print(pd.DataFrame(rows).to_string(index=False))


main()
